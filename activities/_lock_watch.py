"""What keeps a backup from going on, its replica out of the cluster's flow, or clients waiting."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from activities._heartbeat import in_thread, pause
from galera_backup.errors import BackupBlocked, GaleraBackupError
from galera_backup.models.blocked import BackupWait
from galera_backup.models.cluster import WsrepStatus
from galera_backup.mysql.gateway import Endpoint, MysqlGateway
from galera_backup.rules.blocked import blocked, falls_behind, stalled, writes_wait
from galera_backup.rules.health import SMALL_QUEUE

GROWS = 6
"""Multiples of the limit in which the queue may grow: a long ALTER TABLE or a large transaction ends by itself."""
_LOOK_SECONDS = 2.0


class LockWatch:
    """Looks at the statements and the appliers of one server while a backup of it runs."""

    def __init__(self, mysql: MysqlGateway) -> None:
        self._mysql = mysql

    async def watch(self, server: Endpoint, limit: timedelta, of_writes: timedelta | None = None) -> BackupBlocked:
        """Look until something has lasted too long; returns the error that says what holds the replica up.

        `limit`: of a wait for a lock, and of appliers that stand still. `of_writes`: the server serves, and its clients
        may wait for so long. That the server does not answer is no reason to give a backup up; but what it was seen in
        goes on meanwhile, for it may be why nobody can log in any more.
        """
        seen, queue, waits = _Seen(limit), 0, None
        while True:
            with suppress(GaleraBackupError):
                status, waits = await in_thread(self._look, server)
                seen.note(status)
                queue = status.recv_queue
            if waits is not None and waits.seconds >= limit.total_seconds():
                return BackupBlocked(blocked(server.pod, waits, limit, serves=of_writes is not None))
            if of_writes is not None and seen.held.seconds >= of_writes.total_seconds():
                return BackupBlocked(writes_wait(server.pod, of_writes))
            if seen.stalled.seconds >= limit.total_seconds():
                return BackupBlocked(stalled(server.pod, queue, limit))
            if seen.growing.seconds >= (GROWS * limit).total_seconds():
                return BackupBlocked(falls_behind(server.pod, queue, GROWS * limit))
            text = f"mariadb-backup waits for a lock for {waits.seconds} s" if waits is not None else ""
            await pause(_LOOK_SECONDS, *([text] if text else []))

    def _look(self, server: Endpoint) -> tuple[WsrepStatus, BackupWait | None]:
        return self._mysql.wsrep_status(server), self._mysql.backup_wait(server)


class _Seen:
    """What has lasted, look after look."""

    def __init__(self, window: timedelta) -> None:
        self.held, self.stalled, self.growing = _Lasting(), _Lasting(), _Lasting()
        self._committed = -1
        self._window = window.total_seconds()
        self._window_ends = time.monotonic() + self._window
        self._shortest: int | None = None
        """The queue in this window. One that grows is longer, even at its shortest, than it was in the one before."""
        self._shortest_before = SMALL_QUEUE

    def note(self, status: WsrepStatus) -> None:
        """Of one look."""
        # Our own desync is counted, too; BACKUP STAGE counts from BLOCK_DDL on, and pauses the provider.
        held = status.desync_count > int(status.desync)
        applied = status.last_committed != self._committed
        self._committed = status.last_committed
        self.held.note(held)
        self.stalled.note(held and status.recv_queue > 0 and not applied)
        self._note_queue(status.recv_queue)

    def _note_queue(self, queue: int) -> None:
        self._shortest = queue if self._shortest is None else min(queue, self._shortest)
        if self._shortest <= self._shortest_before:
            self.growing.note(False)
        if time.monotonic() >= self._window_ends:
            self.growing.note(self._shortest > self._shortest_before, self._window)
            self._shortest_before = max(self._shortest, SMALL_QUEUE)
            self._shortest, self._window_ends = None, time.monotonic() + self._window


@dataclass
class _Lasting:
    """Since when something is so."""

    _since: float | None = None

    def note(self, holds: bool, already: float = 0) -> None:
        """`already`: for so many seconds, when it is new."""
        if not holds:
            self._since = None
        elif self._since is None:
            self._since = time.monotonic() - already

    @property
    def seconds(self) -> float:
        """0: it is not so."""
        return time.monotonic() - self._since if self._since is not None else 0
