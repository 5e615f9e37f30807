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


def status(queue: int, committed: int, count: int = 2, *, desync: bool = True) -> WsrepStatus:
    """`count`: more than our own desync, because the tool holds the provider."""
    return WsrepStatus(
        ready=True,
        connected=True,
        cluster_status="Primary",
        local_state=2,
        local_state_comment="Donor/Desynced",
        cluster_size=3,
        cluster_state_uuid="u",
        cluster_conf_id=1,
        desync=desync,
        desync_count=count,
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


async def watched(monkeypatch: pytest.MonkeyPatch, *looks: Any, of_writes: timedelta | None = None) -> tuple[str, int]:
    """The message with which the backup is given up, and after how many looks; the last look is repeated."""
    server = Server(chain(looks, repeat(looks[-1])))

    async def no_pause(*arguments: object) -> None:
        await asyncio.sleep(0)

    async def here(function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(_lock_watch, "pause", no_pause)
    monkeypatch.setattr(_lock_watch, "in_thread", here)
    monkeypatch.setattr(_lock_watch, "time", SimpleNamespace(monotonic=lambda: server.looks * 10.0))
    error = await asyncio.wait_for(LockWatch(server).watch(SERVER, LIMIT, of_writes), 5)  # type: ignore[arg-type]
    return error.message, server.looks


async def test_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = [BackupWait(seconds=seconds, state="Waiting for backup lock") for seconds in (58, 60)]
    message, looks = await watched(monkeypatch, (status(0, 1), None), *((status(0, 1), each) for each in waits))
    assert "it has waited 60 s" in message
    assert "The replica was given back" in message
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
    assert looks == 13 + 7


async def test_appliers_that_somebody_else_holds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ALTER TABLE, or a large transaction: the replica would wait for it without a backup, too."""
    message, looks = await watched(
        monkeypatch,
        *[(status(5, 1, 1), None)] * 20,
        *[(status(0, 2, 1), None)] * 10,
        (status(5, 2), None),  # now the tool
    )
    assert "applied none for 0:01:00" in message
    assert looks == 30 + 7


async def test_a_queue_that_only_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = [(status(500, number, 1), None) for number in range(60)]  # behind, but no more than it was
    growing = [(status(500 + number, 60 + number, 1), None) for number in range(100)]
    message, looks = await watched(monkeypatch, *steady, *growing)
    assert "the queue of its write-sets has grown for 0:06:00" in message
    assert "It was given back" in message
    assert 60 + 36 <= looks <= 60 + 36 + 12


@pytest.mark.parametrize("waits", [False, True])
async def test_clients_that_wait_for_the_tool(monkeypatch: pytest.MonkeyPatch, waits: bool) -> None:
    """Of a server that serves, whether the tool works or waits itself."""
    lock = BackupWait(seconds=1, state="Waiting for backup lock") if waits else None
    held = [(status(3, number, 1, desync=False), lock) for number in range(20)]
    free = (status(0, 0, 0, desync=False), None)
    message, looks = await watched(monkeypatch, free, *held[:2], None, free, *held, of_writes=timedelta(seconds=30))
    assert "clients' writes there have waited" in message
    assert "given back" not in message
    assert looks == 5 + 4


async def test_a_lock_where_the_replica_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = BackupWait(seconds=60, state="Waiting for backup lock")
    look = (status(0, 1, 0, desync=False), wait)
    message, _ = await watched(monkeypatch, look, of_writes=timedelta(seconds=30))
    assert "The backup was given up; start the backup again" in message


async def test_nobody_can_log_in_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients whose writes wait have all connections: that was begun by what was seen last."""
    held = (status(3, 1, 1, desync=False), None)
    message, looks = await watched(monkeypatch, held, None, of_writes=timedelta(seconds=30))
    assert "clients' writes there have waited" in message
    assert looks == 1 + 3
