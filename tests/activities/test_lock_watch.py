"""What keeps a backup from going on: waits for locks, appliers that stand still."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from itertools import chain, repeat
from types import SimpleNamespace
from typing import Any

import pytest

from activities import _lock_watch
from activities._lock_watch import LockWatch
from galera_backup.credentials import Credentials
from galera_backup.errors import DatabaseUnavailable
from galera_backup.models.blocked import BackupWait
from galera_backup.models.cluster import WsrepStatus
from galera_backup.mysql.gateway import Endpoint

SERVER = Endpoint("openstack", "mariadb-server-2", "10.0.0.1", Credentials("backup", "secret"))
LIMIT = timedelta(seconds=60)


def status(queue: int, committed: int) -> WsrepStatus:
    return WsrepStatus(
        ready=True,
        connected=True,
        cluster_status="Primary",
        local_state=2,
        local_state_comment="Donor/Desynced",
        cluster_size=3,
        cluster_state_uuid="u",
        cluster_conf_id=1,
        desync=True,
        desync_count=1,
        recv_queue=queue,
        last_committed=committed,
        pending_desync=False,
    )


class Server:
    """Answers one look after the other; each takes ten seconds of the clock."""

    def __init__(self, looks: Iterator[tuple[WsrepStatus, BackupWait | None] | None]) -> None:
        self.looks = 0
        self._looks = looks
        self._waits: BackupWait | None = None

    def wsrep_status(self, server: Endpoint) -> WsrepStatus:
        self.looks += 1
        look = next(self._looks)
        if look is None:
            raise DatabaseUnavailable("no answer")
        seen, self._waits = look
        return seen

    def backup_wait(self, server: Endpoint) -> BackupWait | None:
        return self._waits


async def watched(monkeypatch: pytest.MonkeyPatch, *looks: Any) -> tuple[str, int]:
    """The message with which the backup is given up, and after how many looks; the last look is repeated."""
    server = Server(chain(looks, repeat(looks[-1])))

    async def no_pause(*arguments: object) -> None:
        await asyncio.sleep(0)

    async def here(function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(_lock_watch, "pause", no_pause)
    monkeypatch.setattr(_lock_watch, "in_thread", here)
    monkeypatch.setattr(_lock_watch, "time", SimpleNamespace(monotonic=lambda: server.looks * 10.0))
    error = await asyncio.wait_for(LockWatch(server).watch(SERVER, LIMIT), 5)  # type: ignore[arg-type]
    return error.message, server.looks


async def test_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = [BackupWait(seconds=seconds, state="Waiting for backup lock") for seconds in (58, 60)]
    message, looks = await watched(monkeypatch, (status(0, 1), None), *((status(0, 1), each) for each in waits))
    assert "it has waited 60 s" in message
    assert looks == 3


async def test_appliers_that_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    message, looks = await watched(
        monkeypatch,
        *[(status(5, 1), None)] * 6,  # 50 s
        (status(9, 2), None),  # one was applied
        *[(status(9, 2), None)] * 4,
        None,
        (status(0, 2), None),  # nothing to do
        (status(7, 2), None),
    )
    assert "applied none for 0:01:00 and 7 wait" in message
    assert looks == 13 + 6
