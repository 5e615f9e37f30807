"""mariadb-backup waits for a lock that somebody holds: its replica is out of the cluster's flow as long as it waits."""

from __future__ import annotations

from datetime import timedelta

from activities._heartbeat import in_thread, pause
from galera_backup.errors import BackupBlocked, GaleraBackupError
from galera_backup.mysql.gateway import Endpoint, MysqlGateway
from galera_backup.rules.blocked import blocked

_LOOK_SECONDS = 2.0


class LockWatch:
    """Looks at the statements of one server while a backup of it runs."""

    def __init__(self, mysql: MysqlGateway) -> None:
        self._mysql = mysql

    async def watch(self, server: Endpoint, limit: timedelta) -> BackupBlocked:
        """Look until the tool has waited longer than `limit`; returns the error that names what it waits for.

        What cannot be known, because the server does not answer, is no reason to give up a backup.
        """
        while True:
            try:
                seen = await in_thread(self._mysql.backup_wait, server)
            except GaleraBackupError:
                await pause(_LOOK_SECONDS)
                continue
            if seen is not None and seen.seconds >= limit.total_seconds():
                return BackupBlocked(blocked(server.pod, seen, limit))
            waits = f"mariadb-backup waits for a lock for {seen.seconds} s" if seen is not None else ""
            await pause(_LOOK_SECONDS, *([waits] if waits else []))
