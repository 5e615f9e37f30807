"""One faulted run: bring an operation to a point, strike, mend, wait until all is settled, and judge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from galera_backup import names
from tests.chaos import invariants
from tests.chaos.fault import Run
from tests.chaos.faults import FAULTS
from tests.chaos.judge import State, Times, compare_rows, measure, outcome_of
from tests.chaos.lane import Lane
from tests.chaos.lanes import fresh
from tests.chaos.points import Point, points_of
from tests.chaos.record import Case, Record
from tests.chaos.watch import Watch
from tests.support.eventually import NotSeen, eventually

Handle = WorkflowHandle[Any, Any]

SETTLED_WITHIN = 420
"""Seconds from the mended fault to the end of the operation and its lease; slow faults have pods that never start."""
SETTLING = 10
"""Seconds for endpoints to follow readiness after the lease has ended."""
STATE_TRANSFER = 90
"""The same, where a server was hit: it may join by a full copy from another one, which is Not Ready meanwhile."""
KEEP = 30
EXECUTION_MARGIN = timedelta(seconds=10)
"""Beyond the time at which the point was reached without a fault."""
_JANITORS, _BETWEEN_JANITORS = 20, 5
"""Runs at most, and seconds: what still starts, or is on its way out, is for the next run, as on its schedule."""
_STRATEGIES = {"restore": "in_place", "staged": "staged", "rolling": "rolling"}
_OPERATIONS = ("backup", *_STRATEGIES, "rollback")
_KEEP_SECONDS = 3600
"""Of what a restore has kept that is to be rolled back."""
_LEAVE_COPIES = ("operation and lease terminated", "lease terminated", "Temporal's database lost")
"""Nobody is left who would remove what was staged: the next staged restore does."""


class Engine:
    """Runs cases on lanes."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes = lanes
        self._states: dict[str, State] = {}
        self._number = 0

    # --- fault-free runs

    async def baseline(self) -> dict[str, list[Point]]:
        """A backup, a restore of each strategy and a rollback, without a fault: where faults can strike.

        Beside each other, the longest first. The plan takes them in the order of `_OPERATIONS`.
        """
        found: dict[str, list[Point]] = {}
        left = list(_OPERATIONS)

        async def work(lane: Lane) -> None:
            while left:
                operation = left.pop()
                found[operation] = await self._points(lane, operation)

        await asyncio.gather(*(work(lane) for lane in self.lanes))
        return {operation: found[operation] for operation in _OPERATIONS}

    async def _points(self, lane: Lane, operation: str) -> list[Point]:
        if operation == "rollback":
            await self._restore_and_keep(lane)
        handle = await self._without_fault(lane, operation)
        points = await points_of(lane.client, (handle.id, None), (lane.site.lease_id, None))
        if operation == "rollback":
            await self._no_tidy(lane)
        return points

    async def _without_fault(self, lane: Lane, operation: str, **fields: Any) -> Handle:
        began = time.time()
        handle = await self._start(lane, operation, **fields)
        await self._settled(lane, handle)
        if operation != "backup":
            state, rows = self._states[lane.site.namespace], lane.watch.writer.rows
            state.now = state.brought_back(operation)[0].then(rows.resumed_after(began, time.time()))
        return handle

    async def _restore_and_keep(self, lane: Lane) -> None:
        state = self._states[lane.site.namespace]
        kept = state.now.until(time.time())
        handle = await self._without_fault(lane, "staged", keep_previous_for=_KEEP_SECONDS)
        state.restore_id = (await handle.result())["restore_id"]
        state.kept, state.kept_until = kept, state.now.spans[-1][0]

    async def _no_tidy(self, lane: Lane) -> None:
        """What would remove the kept data has nothing to do any more."""
        restore_id = self._states[lane.site.namespace].restore_id
        with suppress(RPCError):  # Temporal's database was lost
            await lane.client.get_workflow_handle(names.tidy_id(lane.site.cluster, restore_id)).terminate()

    async def _tidy(self, lane: Lane) -> None:
        """As when the time of the kept data is over."""
        request = {
            "cluster": lane.site.cluster.model_dump(),
            "restore_id": self._states[lane.site.namespace].restore_id,
            "until": datetime.now(UTC).isoformat(),
        }
        self._number += 1
        tidy = await lane.client.start_workflow(
            "GaleraTidy", request, id=f"{lane.queue}-tidy-{self._number}", task_queue=lane.queue
        )
        await asyncio.wait_for(tidy.result(), 120)

    async def first_backup(self, lane: Lane) -> None:
        """A restore needs one."""
        wrong = await self._following_backup(lane)
        if wrong:
            raise NotSeen(f"a backup without a fault failed on {lane.site.namespace}: {wrong}")

    # --- one case

    async def run(self, lane: Lane, case: Case, wave: asyncio.Barrier | None = None) -> Record:
        """Run it; never raises for what the product does."""
        record = Record(case.name, case.operation, case.fault, str(case.point))
        began = time.time()
        try:
            await self._run(lane, case, record, wave)
        except asyncio.BrokenBarrierError:
            record.violations.append("not judged: another lane of the wave failed")
        except Exception as error:  # whatever it is, the other runs go on
            record.violations.append(f"{type(error).__name__}: {error}")
            if wave is not None:
                await wave.abort()
        # Not when the harness is cancelled: it ends the workers then, and would miss one that starts meanwhile.
        lane.hold(None)
        lane.api.mode = lane.database.mode = "pass"
        await lane.ensure_worker()
        record.seconds = round(time.time() - began, 1)
        if record.violations:
            await self._make_anew(lane)
        return record

    async def _make_anew(self, lane: Lane) -> None:
        """What a broken promise has left must not count against the next run."""
        await asyncio.to_thread(lane.watch.stop)
        await fresh(lane.client, lane.site, anew=True)
        lane.watch = Watch(lane.site)
        await asyncio.to_thread(lane.watch.start)
        self._states.pop(lane.site.namespace, None)
        await self.first_backup(lane)

    async def _run(self, lane: Lane, case: Case, record: Record, wave: asyncio.Barrier | None) -> None:
        fault = FAULTS[case.fault]
        if case.operation == "rollback":
            await self._restore_and_keep(lane)
        lane.hold(case.point)
        started_at = time.time()
        timeout = timedelta(seconds=case.point.seconds * 1.5) + EXECUTION_MARGIN if fault.execution_timeout else None
        handle = await self._start(lane, case.operation, timeout)
        within = 150 + 2 * case.point.seconds  # which took longer on a slow machine without a fault, too
        await eventually(lambda: lane.reached, within, lambda: f"{case.point} is reached", every=0.02)
        run = Run(
            lane=lane,
            point=case.point,
            handle=handle,
            settled=lambda: self._settled(lane, handle),
            second=lambda: self._second(lane, case.operation),
        )
        if wave is None:
            await fault.strike(run)
        else:
            # All lanes stand at their points; one of them strikes for all.
            if await wave.wait() == 0:
                await fault.strike(run)
            await wave.wait()
            run.back()
        if fault.janitor:
            run.notes.append(f"the janitor: {'; '.join(await self._janitor(lane)) or 'nothing to mend'}")
        await self._settled(lane, handle)
        ended_at = time.time()
        record.notes += run.notes
        record.violations += run.violations
        await self._judge(lane, record, handle, case, (started_at, run.back_at, ended_at))

    async def _judge(self, lane: Lane, record: Record, handle: Handle, case: Case, times: Times) -> None:
        started_at = times[0]
        site = lane.site
        record.outcome, told = await outcome_of(handle, FAULTS[case.fault])
        measure(lane, record, case, times)
        record.violations += told
        within = STATE_TRANSFER if FAULTS[case.fault].hits_server else SETTLING
        record.violations += await asyncio.to_thread(invariants.settle, site, within)
        record.violations += await invariants.open_leases(lane.client, site)
        if record.operation == "rollback":
            await self._no_tidy(lane)
            if record.outcome != "COMPLETED":
                await self._tidy(lane)
        # A backup makes no copies: what the case before has left, the next restore removes.
        if record.fault not in _LEAVE_COPIES and record.operation != "backup":
            record.violations += await asyncio.to_thread(invariants.copies_left, site)
        record.violations += await asyncio.to_thread(compare_rows, lane, record, self._states[site.namespace], times)
        record.violations += await asyncio.to_thread(invariants.damaged_backups, site, started_at)
        if record.operation == "backup" and record.outcome == "COMPLETED":
            backup_id = (await handle.result())["manifest"]["backup_id"]
            must = self._states[site.namespace].now.until(started_at).rows(lane.watch.writer.rows)
            record.violations += await asyncio.to_thread(invariants.does_not_restore, site, backup_id, must)
        record.violations += await self._following_backup(lane)

    # --- operations

    async def _start(self, lane: Lane, operation: str, timeout: timedelta | None = None, **fields: Any) -> Handle:
        cluster, state = lane.site.cluster, self._states.get(lane.site.namespace, State())
        request: dict[str, Any] = {"cluster": cluster.model_dump(), **fields}
        if operation == "backup":
            kind = "GaleraBackup"
            request |= {"backups_to_keep": KEEP, "drain_timeout": 30}
        elif operation == "rollback":
            kind = "GaleraRollback"
            request |= {"restore_id": state.restore_id, "confirm": str(cluster)}
        else:
            kind = "GaleraRestore"
            request |= {"backup_id": state.base_id, "confirm": str(cluster), "strategy": _STRATEGIES[operation]}
        self._number += 1
        started = await lane.client.start_workflow(
            kind,
            request,
            id=f"{lane.queue}-{operation}-{self._number}",
            task_queue=lane.queue,
            execution_timeout=timeout,
        )
        return lane.client.get_workflow_handle(started.id)  # not of this run: it may be reset

    async def _second(self, lane: Lane, operation: str) -> str:
        handle = await self._start(lane, operation)
        try:
            await handle.result()
        except WorkflowFailureError as error:
            return str(getattr(error.cause, "type", error.cause))
        return "succeeded"

    async def _janitor(self, lane: Lane) -> list[str]:
        """A janitor that has something to mend finds the cluster free in a moment: its schedule starts it again."""
        request = {"cluster": lane.site.cluster.model_dump()}
        mended: list[str] = []
        for _ in range(_JANITORS):
            self._number += 1
            handle = await lane.client.start_workflow(
                "GaleraJanitor", request, id=f"{lane.queue}-janitor-{self._number}", task_queue=lane.queue
            )
            result = await asyncio.wait_for(handle.result(), 240)
            mended += [f"{each['name']} {each['text']}" for each in result["mended"]]
            if not (result["mended"] or result["left_alone"] or result["busy"]):
                break
            await asyncio.sleep(_BETWEEN_JANITORS)
        return mended

    async def _following_backup(self, lane: Lane) -> list[str]:
        """A backup succeeds without anyone's help; the next restore restores it."""
        state = self._states.setdefault(lane.site.namespace, State())
        began = time.time()
        handle = await self._start(lane, "backup")
        try:
            result = await asyncio.wait_for(handle.result(), 120)
        except (WorkflowFailureError, TimeoutError) as error:
            return [f"a following backup failed: {error!r} {getattr(error, 'cause', None)!r}"]
        state.base_id = result["manifest"]["backup_id"]
        state.base, state.base_ended_at = state.now.until(began), time.time()
        return []

    async def _settled(self, lane: Lane, handle: Handle) -> None:
        await eventually(lambda: self._is_closed(handle), SETTLED_WITHIN, f"{handle.id} is closed", every=0.5)
        lease = lane.client.get_workflow_handle(lane.site.lease_id)
        await eventually(lambda: self._is_closed(lease), SETTLED_WITHIN, f"{lease.id} is closed", every=0.5)

    async def _is_closed(self, handle: Handle) -> bool:
        try:
            return (await handle.describe()).status != WorkflowExecutionStatus.RUNNING
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return True
            if error.status == RPCStatusCode.UNAVAILABLE:
                return False
            raise
