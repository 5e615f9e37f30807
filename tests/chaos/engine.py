"""One faulted run: bring an operation to a point, strike, mend, wait until all is settled, and judge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from kubernetes.client import ApiException
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.service import RPCError, RPCStatusCode

from galera_backup import names
from tests.chaos import invariants
from tests.chaos.faults import EXECUTION_MARGIN, FAULTS, Fault, Run
from tests.chaos.invariants import Expected
from tests.chaos.lane import Lane
from tests.chaos.points import Point, points_of
from tests.chaos.site import TARGET, Site
from tests.chaos.watch import History, Watch
from tests.support.eventually import NotSeen, eventually

Handle = WorkflowHandle[Any, Any]

SETTLED_WITHIN = 420
"""Seconds from the mended fault to the end of the operation and its lease; slow faults have pods that never start."""
SETTLING = 10
"""Seconds for endpoints to follow readiness after the lease has ended."""
STATE_TRANSFER = 90
"""The same, where a server was hit: it may join by a full copy from another one, which is Not Ready meanwhile."""
KEEP = 30
_JANITORS, _BETWEEN_JANITORS = 20, 5
"""Runs at most, and seconds: what still starts, or is on its way out, is for the next run, as on its schedule."""
RESYNC_WITHIN = 10
"""Seconds from `all is back` to the first step of a resync that is due."""
UNDO = {"revoke_replica", "remove_runners", "resync", "wait_in_service", "take_back_primary", "unmark_replica"}
CLUSTER_ATTRIBUTE = "GaleraCluster"
_STRATEGIES = {"restore": "in_place", "staged": "staged", "rolling": "rolling"}
_OPERATIONS = ("backup", *_STRATEGIES, "rollback")
_KEEP_SECONDS = 3600
"""Of what a restore has kept that is to be rolled back."""
_LEAVE_COPIES = ("operation and lease terminated", "lease terminated", "Temporal's database lost")
"""Nobody is left who would remove what was staged: the next staged restore does."""


@dataclass(frozen=True)
class Case:
    """One fault at one point of one operation."""

    operation: str
    point: Point
    fault: str

    @property
    def name(self) -> str:
        """As `--only` takes it."""
        return f"{self.operation}/{self.point}/{self.fault}"


@dataclass
class Record:
    """What one run was and what was seen; times in seconds."""

    case: str
    operation: str
    fault: str
    point: str
    outcome: str = ""
    seconds: float = 0
    """Of the whole run, with its checks."""
    resumed: float | None = None
    """From `all is back` to the first activity of the operation or its lease."""
    resync_begun: float | None = None
    """From `all is back` to the first step of the resync, where one was due: the replica was desynced, and the backup
    failed or was in its resync already."""
    in_sync: float | None = None
    """From `all is back` to the target in sync, if it was not then."""
    desynced: float = 0
    """wsrep_desync=ON on the target, from the start of the operation to its end."""
    outage: float = 0
    """The longest time without a committed write."""
    notes: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON."""
        return asdict(self)


@dataclass
class State:
    """What the rows of a site must be."""

    now: History = field(default_factory=History)
    base_id: str = ""
    """The newest backup that was made without a fault."""
    base: History = field(default_factory=History)
    """What it has for certain: what was committed before it began."""
    base_ended_at: float = 0
    restore_id: str = ""
    """The last restore that has kept its previous data."""
    kept: History = field(default_factory=History)
    """What that data has for certain."""
    kept_until: float = 0

    def brought_back(self, operation: str) -> tuple[History, float]:
        """What the data has that this operation puts in place, and the end of the time of which it may have more."""
        return (self.kept, self.kept_until) if operation == "rollback" else (self.base, self.base_ended_at)


class Engine:
    """Runs cases on lanes."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes = lanes
        self._states: dict[str, State] = {}
        self._number = 0

    # --- fault-free runs

    async def baseline(self, lane: Lane) -> dict[str, list[Point]]:
        """A backup, a restore of each strategy and a rollback, without a fault: where faults can strike."""
        found = {}
        for operation in _OPERATIONS:
            if operation == "rollback":
                await self._restore_and_keep(lane)
            handle = await self._without_fault(lane, operation)
            found[operation] = await points_of(lane.client, (handle.id, None), (lane.site.lease_id, None))
        await self._no_tidy(lane)
        return found

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
            record.notes.append("another lane of the wave failed")
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
        await _fresh(lane.client, lane.site, anew=True)
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
        await eventually(lambda: lane.reached, 150, lambda: f"{case.point} is reached", every=0.02)
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

    async def _judge(
        self,
        lane: Lane,
        record: Record,
        handle: Handle,
        case: Case,
        times: tuple[float, float, float],
    ) -> None:
        started_at = times[0]
        site = lane.site
        record.outcome, told = await self._outcome(handle, FAULTS[case.fault])
        self._measure(lane, record, case, times)
        if record.resync_begun is not None and record.resync_begun > RESYNC_WITHIN:
            record.violations.append(f"the resync began {record.resync_begun} s after all was back")
        record.violations += told
        within = STATE_TRANSFER if FAULTS[case.fault].hits_server else SETTLING
        record.violations += await asyncio.to_thread(invariants.settle, site, within)
        record.violations += await invariants.open_leases(lane.client, site)
        if record.operation == "rollback":
            await self._no_tidy(lane)
            if record.outcome != "COMPLETED":
                await self._tidy(lane)
        if record.fault not in _LEAVE_COPIES:
            record.violations += await asyncio.to_thread(invariants.copies_left, site)
        record.violations += await asyncio.to_thread(self._compare_rows, lane, record, times)
        record.violations += await asyncio.to_thread(invariants.damaged_backups, site, started_at)
        if record.operation == "backup" and record.outcome == "COMPLETED":
            backup_id = (await handle.result())["manifest"]["backup_id"]
            must = self._states[site.namespace].now.until(started_at).rows(lane.watch.writer.rows)
            record.violations += await asyncio.to_thread(invariants.does_not_restore, site, backup_id, must)
        record.violations += await self._following_backup(lane)

    def _compare_rows(self, lane: Lane, record: Record, times: tuple[float, float, float]) -> list[str]:
        """Every row that a client saw committed is there; a restore may have cut some out, as it was told to."""
        started_at, _, ended_at = times
        writer, state = lane.watch.writer, self._states[lane.site.namespace]
        writer.pause()
        try:
            old = Expected("old", state.now.rows(writer.rows))
            histories, restored = [old], state.now
            if record.operation != "backup":
                again = record.fault.startswith("reset")  # what was written after the first of two restores is gone
                resumed = writer.rows.resumed_after(started_at, ended_at, last=again)
                brought_back, since = state.brought_back(record.operation)
                restored = brought_back.then(resumed)
                gone = state.now.since(since).until(started_at)
                history = Expected("restored", restored.rows(writer.rows), gone.rows(writer.rows))
                histories = [history] if record.outcome == "COMPLETED" else [old, history]
            name, wrong = invariants.compare_rows(lane.site, histories)
            if name == "restored":
                state.now = restored
            record.notes += [f"data: {name}"] if record.operation != "backup" else []
            return wrong
        finally:
            writer.resume()

    def _measure(self, lane: Lane, record: Record, case: Case, times: tuple[float, float, float]) -> None:
        started_at, back_at, ended_at = times
        target = lane.watch.members[TARGET]
        record.desynced = target.seconds_desynced(started_at, ended_at)
        gap = lane.watch.writer.rows.longest_interruption(started_at, ended_at)
        record.outage = round(gap[1] - gap[0], 1) if gap else 0
        # A worker with a wrong clock has written rows that are later than all that is to come.
        rows = [row for row in lane.activities(back_at) if row["at"] <= ended_at]
        if rows:
            record.resumed = round(rows[0]["at"] - back_at, 2)
        undo = [row["at"] for row in rows if row["activity"] in UNDO]
        undoing = case.point.workflow == "GaleraLease" and case.point.activity in UNDO
        due = record.outcome != "COMPLETED" or undoing
        if undo and due and target.is_desynced(back_at, undo[0]):
            record.resync_begun = round(undo[0] - back_at, 2)
        synced = target.synced_after(back_at)
        if synced is not None:
            record.in_sync = round(synced - back_at, 2)

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

    async def _outcome(self, handle: Handle, fault: Fault) -> tuple[str, list[str]]:
        """How the operation ended, and what is wrong with how it says so."""
        try:
            status = (await handle.describe()).status
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND or "LOST" not in fault.ends:
                raise
            return "LOST", []
        assert status is not None
        if status == WorkflowExecutionStatus.FAILED:
            try:
                await handle.result()
            except WorkflowFailureError as error:
                cause = error.cause
                name = (cause.type if isinstance(cause, ApplicationError) else "") or ""
                message = cause.message if isinstance(cause, FailureError) else str(cause)
                return f"FAILED: {name}", invariants.badly_told(name, message)
        if status != WorkflowExecutionStatus.COMPLETED and status.name not in fault.ends:
            return status.name, [f"the operation ended as {status.name}, which nobody asked for"]
        return status.name, []

    async def _settled(self, lane: Lane, handle: Handle) -> None:
        await eventually(lambda: self._is_closed(handle), SETTLED_WITHIN, f"{handle.id} is closed", every=0.2)
        lease = lane.client.get_workflow_handle(lane.site.lease_id)
        await eventually(lambda: self._is_closed(lease), SETTLED_WITHIN, f"{lease.id} is closed", every=0.2)

    async def _is_closed(self, handle: Handle) -> bool:
        try:
            return (await handle.describe()).status != WorkflowExecutionStatus.RUNNING
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return True
            if error.status == RPCStatusCode.UNAVAILABLE:
                return False
            raise


@asynccontextmanager
async def open_lanes(client: Client, count: int, *, keep: bool = False) -> AsyncIterator[list[Lane]]:
    """So many lanes, each with a healthy cluster and a worker. `keep`: leave the clusters there."""
    lanes = [Lane(Site(number + 1), client) for number in range(count)]
    try:
        await asyncio.gather(*(_fresh(client, lane.site) for lane in lanes))
        await asyncio.gather(*(lane.open() for lane in lanes))
        yield lanes
    finally:
        await asyncio.gather(*(lane.close() for lane in lanes))
        if not keep:
            await asyncio.gather(*(asyncio.to_thread(lane.site.remove) for lane in lanes))


async def _fresh(client: Client, site: Site, *, anew: bool = False) -> None:
    """Make the site; anew also when a killed harness has left it in the middle of something."""
    where = f'{CLUSTER_ATTRIBUTE}="{site.cluster}" AND ExecutionStatus="Running"'
    async for run in client.list_workflows(where):
        await client.get_workflow_handle(run.id).terminate("left by a killed harness")
    with suppress(RPCError):  # there is none
        await client.get_workflow_handle(site.lease_id).terminate("left by a killed harness")
    anew = anew or await asyncio.to_thread(_is_broken, site)
    await asyncio.to_thread(site.make_anew if anew else site.make)


def _is_broken(site: Site) -> bool:
    try:
        return bool(invariants.problems(site))
    except ApiException:
        return False  # there is none yet
