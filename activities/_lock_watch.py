"""What keeps a backup from going on, and its replica out of the cluster's flow: locks, appliers that stand still."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from activities._heartbeat import in_thread, pause
from galera_backup.errors import BackupBlocked, GaleraBackupError
from galera_backup.models.blocked import BackupWait
from galera_backup.models.cluster import WsrepStatus
from galera_backup.mysql.gateway import Endpoint, MysqlGateway
from galera_backup.rules.blocked import blocked, stalled

_LOOK_SECONDS = 2.0


class LockWatch:
    """Looks at the statements and the appliers of one server while a backup of it runs."""

    def __init__(self, mysql: MysqlGateway) -> None:
        self._mysql = mysql

    async def watch(self, server: Endpoint, limit: timedelta) -> BackupBlocked:
        """Look until either has lasted longer than `limit`; returns the error that names what holds the replica up.

        What cannot be known, because the server does not answer, is no reason to give up a backup.
        """
        appliers = _Appliers()
        while True:
            try:
                status, waits = await in_thread(self._look, server)
            except GaleraBackupError:
                await pause(_LOOK_SECONDS)
                continue
            if waits is not None and waits.seconds >= limit.total_seconds():
                return BackupBlocked(blocked(server.pod, waits, limit))
            if appliers.stalled(status) >= limit.total_seconds():
                return BackupBlocked(stalled(server.pod, status.recv_queue, limit))
            text = f"mariadb-backup waits for a lock for {waits.seconds} s" if waits is not None else ""
            await pause(_LOOK_SECONDS, *([text] if text else []))

    def _look(self, server: Endpoint) -> tuple[WsrepStatus, BackupWait | None]:
        return self._mysql.wsrep_status(server), self._mysql.backup_wait(server)


@dataclass
class _Appliers:
    """When they last had nothing to do, or did something."""

    _committed: int = -1
    _at: float = 0

    def stalled(self, status: WsrepStatus) -> float:
        """For how many seconds write-sets have waited and none was applied."""
        if status.recv_queue == 0 or status.last_committed != self._committed:
            self._committed, self._at = status.last_committed, time.monotonic()
        return time.monotonic() - self._at
