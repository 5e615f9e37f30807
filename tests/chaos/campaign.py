"""Many cases on several lanes: those that strike one lane beside each other, those that strike all in waves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from dev.stack.console import say
from tests.chaos.engine import Engine
from tests.chaos.faults import FAULTS
from tests.chaos.lane import Lane
from tests.chaos.record import Case, Record


class Campaign:
    """Runs cases and hands each record on as soon as it is there."""

    def __init__(self, engine: Engine, keep: Callable[[Record], None]) -> None:
        self._engine = engine
        self._keep = keep
        self._done = 0
        self._count = 0

    async def run(self, cases: Sequence[Case]) -> list[Record]:
        """All of them, whatever comes out."""
        self._count = len(cases)
        alone = [case for case in cases if not FAULTS[case.fault].shared]
        shared = [case for case in cases if FAULTS[case.fault].shared]
        # Long ones first, so that no lane waits for one at the end.
        queue = sorted(alone, key=lambda case: (not FAULTS[case.fault].slow, case.operation == "backup"))
        records: list[Record] = []
        await asyncio.gather(*(self._lane(lane, queue, records) for lane in self._engine.lanes))
        for fault in sorted({case.fault for case in shared}):
            of_fault = [case for case in shared if case.fault == fault]
            while of_fault:
                wave, of_fault = of_fault[: len(self._engine.lanes)], of_fault[len(self._engine.lanes) :]
                records += await self._wave(wave)
        return records

    async def _lane(self, lane: Lane, queue: list[Case], records: list[Record]) -> None:
        while queue:
            case = queue.pop(0)
            records.append(self._seen(await self._engine.run(lane, case)))

    async def _wave(self, cases: Sequence[Case]) -> list[Record]:
        barrier = asyncio.Barrier(len(cases))
        runs = [self._engine.run(lane, case, barrier) for lane, case in zip(self._engine.lanes, cases, strict=False)]
        return [self._seen(record) for record in await asyncio.gather(*runs)]

    def _seen(self, record: Record) -> Record:
        self._done += 1
        self._keep(record)
        verdict = "ok" if not record.violations else f"VIOLATION: {record.violations[0][:200]}"
        took = f"{record.seconds:.0f} s, desynced {record.desynced:.0f} s, outage {record.outage:.0f} s"
        say(f"{self._done}/{self._count}", f"{record.case}: {record.outcome}, {took}: {verdict}")
        return record


def stopwatch() -> Callable[[], str]:
    """Minutes and seconds since now."""
    began = time.monotonic()
    return lambda: "{} min {:02d} s".format(*divmod(int(time.monotonic() - began), 60))
