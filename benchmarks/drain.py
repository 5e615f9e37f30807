#!/usr/bin/env python3
"""What the drain before `wsrep_desync=OFF` is worth: commits on another replica when one rejoins with a long queue.

Run it on the stack of dev/up, with nothing else at work: `PYTHONPATH=. python benchmarks/drain.py`.
sysbench writes to replica 0. The last replica stands still for some seconds under a lock, so that write-sets queue up
there, in three ways that alternate: in flow control all the time; desynced by a real GaleraLease and put back at once;
desynced by a real GaleraLease and put back when its queue is drained.

`--lock tables` is FLUSH TABLES of the load's tables WITH READ LOCK: the appliers wait, and the provider does not know.
`--lock global` is FLUSH TABLES WITH READ LOCK: the server itself leaves flow control for as long as it holds it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor
from temporalio.client import Client, WorkflowHandle

from benchmarks import _load
from benchmarks._load import CLUSTER, TARGET, WRITER, Sysbench, wsrep
from galera_backup import names
from galera_backup.models.lease import DesyncCommand, LeaseRequest, LeaseResult, LeaseStatus
from galera_backup.models.site import Site

OWNER = "benchmark"
SETTLE, BEFORE, AFTER = 3, 6, 5
"""Seconds: between rounds, of the load before the lock, of the load after the replica is back."""
EARLY = "the resync is ordered so long before the lock ends: the replica still stands still (%(default)s)"
NOT_NOW = (1205, 1317)
"""Lock wait timeout; interrupted, by an applier that needs the table."""
SCENARIOS: dict[str, timedelta | None] = {
    "no desync": None,
    "desync, OFF at once": timedelta(0),
    "desync, drain, OFF": timedelta(minutes=5),
}
"""With the `drain_timeout` of the lease; None: without a lease."""


@dataclass(frozen=True)
class Look:
    """The target at one moment."""

    at: float
    desync: bool
    in_sync: bool
    queue: int


class Watch:
    """Looks at the target ten times a second: when it is OFF, when it is in sync, how long its queue is."""

    def __init__(self) -> None:
        self.looks: list[Look] = []
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the block runs."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(60)

    def _run(self) -> None:
        with contextlib.closing(_load.connection(TARGET)) as server:
            while not self._stop.wait(0.1):
                seen = wsrep(server, "desync_count", "local_state_comment", "local_recv_queue")
                in_sync = _load.is_in_sync(seen)
                self.looks.append(Look(time.time(), seen["desync"] == "1", in_sync, int(seen["local_recv_queue"])))

    def queue_at(self, moment: float) -> int:
        """The last one seen before then."""
        return [look.queue for look in self.looks if look.at < moment][-1]


async def measure(load: Sysbench, lease: Lease | None, lock: str, stand: float, early: float) -> dict[str, float]:
    """One round; the figures of the table. `early`: the lock ends so many seconds after the order to resync."""
    watch = Watch()
    with (
        watch.running(),
        contextlib.closing(_load.connection(WRITER)) as writer,
        contextlib.closing(_load.connection(TARGET)) as locker,
    ):
        if lease is not None:
            await lease.desync()
        begun = time.time()
        await asyncio.sleep(BEFORE)
        with locker.cursor() as cursor:
            take(cursor, lock)
            locked, paused_before = time.time(), paused_ms(writer)
            await asyncio.sleep(stand - early)
            if early and lease is not None:
                await lease.resync()
            ordered, paused_during = time.time(), paused_ms(writer)
            await asyncio.sleep(early)
            cursor.execute("UNLOCK TABLES")
        if not early and lease is not None:
            await lease.resync()
        off, back = await returned(watch, time.time(), ordered if lease is not None else None)
        until = back + AFTER
        await asyncio.sleep(until - time.time() + 0.2)
        paused_after = paused_ms(writer)
        before, during = mean(load.tps(begun, locked)), mean(load.tps(locked, ordered))
        after, after_off = load.tps(ordered, until), mean(load.tps(off, off + AFTER))
        first = mean(after[:AFTER])
        return {
            "TPS before": before,
            "TPS while it stands still": during,
            f"TPS in the {AFTER} s from the order": first,
            f"TPS in the {AFTER} s from OFF": after_off,
            "worst second from the order, TPS": min(after),
            "flow control pause while it stands still, ms": paused_during - paused_before,
            "flow control pause from the order, ms": paused_after - paused_during,
            "write-sets queued at the order": watch.queue_at(ordered),
            "write-sets queued at OFF": watch.queue_at(off),
            "order to OFF, s": off - ordered,
            "order to in sync, s": back - ordered,
            "while it stands still / before": during / before,
            f"{AFTER} s from the order / before": first / before,
            f"{AFTER} s from OFF / before": after_off / before,
            "worst second / before": min(after) / before,
        }


async def returned(watch: Watch, unlocked: float, ordered: float | None) -> tuple[float, float]:
    """When the target's OFF was seen (without an order: the lock's end), and when it was in sync after the lock."""
    while True:
        looks = list(watch.looks)
        back = next((look.at for look in looks if look.in_sync and look.at > unlocked), None)
        if back is not None:
            off = unlocked if ordered is None else next(x.at for x in looks if x.at > ordered and not x.desync)
            return off, back
        await asyncio.sleep(0.1)


def take(cursor: Cursor, lock: str) -> None:
    """Take the lock, in short tries: appliers that commit in order may wait for one another around a waiting one."""
    cursor.execute("SET SESSION lock_wait_timeout = 1")
    for _ in range(20):
        try:
            cursor.execute(lock)
            return
        except pymysql.err.OperationalError as error:
            if error.args[0] not in NOT_NOW:
                raise
        time.sleep(0.2)
    raise SystemExit(f"not taken in 20 tries: {lock}")


def paused_ms(writer: Connection[Any]) -> float:
    """How long flow control has held this replica's commits since its start."""
    return int(wsrep(writer, "flow_control_paused_ns")["flow_control_paused_ns"]) / 1e6


def mean(values: list[float]) -> float:
    """Of TPS: the transactions of the seconds by their number."""
    return sum(values) / len(values)


class Lease:
    """A real GaleraLease, ordered as an operation orders it."""

    def __init__(self, handle: WorkflowHandle[Any, LeaseResult], drain_timeout: timedelta) -> None:
        self._handle = handle
        self._drain_timeout = drain_timeout

    async def desync(self) -> None:
        """Until the replica is out of flow control and out of the Services."""
        order = DesyncCommand(pod=TARGET, drain_timeout=self._drain_timeout, others_in_sync=2)
        await self._handle.signal("desync", order)
        await self._shows(f"{TARGET} is desynced")

    async def resync(self) -> None:
        """Only order it."""
        await self._handle.signal("resync")

    async def _shows(self, phase: str) -> None:
        async with asyncio.timeout(120):
            while True:
                status = await self._handle.query("status", result_type=LeaseStatus)
                if status.phase == phase:
                    return
                await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def held(client: Client, queue: str, drain_timeout: timedelta) -> AsyncIterator[Lease]:
    """A lease of the cluster; it is closed, and the replica back, when the block has ended."""
    request = LeaseRequest(
        site=Site(cluster=CLUSTER),
        operation="backup",
        owner=OWNER,
        ttl=timedelta(minutes=10),
    )
    handle = await client.start_workflow(
        "GaleraLease",
        request,
        id=names.lease_id(CLUSTER),
        task_queue=names.lease_queue(queue),
        result_type=LeaseResult,
    )
    try:
        yield Lease(handle, drain_timeout)
    finally:
        await handle.signal("release", OWNER)
        await handle.result()


async def main() -> None:
    """Alternate the three and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each (%(default)s)")
    parser.add_argument("--stand", type=float, default=8, metavar="SECONDS", help="under the lock (%(default)s)")
    parser.add_argument("--early", type=float, default=0, metavar="SECONDS", help=EARLY)
    parser.add_argument("--lock", choices=("tables", "global"), default="tables", help="which one (%(default)s)")
    parser.add_argument("--threads", type=int, default=8, help="of sysbench (%(default)s)")
    parser.add_argument("--tables", type=int, default=4, help="of sysbench (%(default)s)")
    parser.add_argument("--rows", type=int, default=20_000, help="of each table (%(default)s)")
    arguments = parser.parse_args()
    client = await _load.temporal()
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in SCENARIOS}
    with _load.worker() as queue, _load.database():
        load = Sysbench(arguments.threads, arguments.tables, arguments.rows)
        which = ", ".join(load.tables) if arguments.lock == "tables" else ""
        with load.running():
            for number in range(1, arguments.rounds + 1):
                for name, drain_timeout in SCENARIOS.items():
                    _load.wait_in_sync()
                    await asyncio.sleep(SETTLE)
                    lock = f"FLUSH TABLES {which} WITH READ LOCK"
                    if drain_timeout is None:
                        found = await measure(load, None, lock, arguments.stand, arguments.early)
                    else:
                        async with held(client, queue, drain_timeout) as lease:
                            found = await measure(load, lease, lock, arguments.stand, arguments.early)
                    figures[name].append(found)
                    print(number, name, {key: round(value, 2) for key, value in found.items()}, flush=True)
        _load.wait_in_sync()
    rows = {row: [[each[row] for each in rounds] for rounds in figures.values()] for row in figures["no desync"][0]}
    print("\n" + _load.table(f"median of {arguments.rounds} rounds (range)", list(figures), rows))


if __name__ == "__main__":
    asyncio.run(main())
