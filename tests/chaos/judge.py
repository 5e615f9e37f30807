"""What a run was like: how it ended, its times, and the rows that a cluster must have after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.service import RPCError, RPCStatusCode

from tests.chaos import invariants
from tests.chaos.fault import Fault
from tests.chaos.invariants import Expected
from tests.chaos.lane import Lane
from tests.chaos.record import Case, Record
from tests.chaos.site import TARGET
from tests.chaos.watch import History

Handle = WorkflowHandle[Any, Any]
Times = tuple[float, float, float]
"""Seconds of `time.time`: the start of the operation, the moment when all was back, the end of it and of its lease."""

RESYNC_WITHIN = 10
"""Seconds from `all is back` to the first step of a resync that is due."""
UNDO = {"revoke_replica", "remove_runners", "resync", "wait_in_service", "move_primary_back", "unmark_replica"}


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


async def outcome_of(handle: Handle, fault: Fault) -> tuple[str, list[str]]:
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


def measure(lane: Lane, record: Record, case: Case, times: Times) -> None:
    """Fill in the times of a record, and what is wrong with them."""
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
    if record.resync_begun is not None and record.resync_begun > RESYNC_WITHIN:
        record.violations.append(f"the resync began {record.resync_begun} s after all was back")


def compare_rows(lane: Lane, record: Record, state: State, times: Times) -> list[str]:
    """Every row that a client saw committed is there; a restore may have cut some out, as it was told to."""
    started_at, _, ended_at = times
    writer = lane.watch.writer
    writer.pause()
    try:
        old = Expected("old", state.now.rows(writer.rows))
        histories, restored = [old], state.now
        if record.operation != "backup":
            again = record.fault.startswith("reset")  # what was written after the first of two restores is gone
            stops = [row["at"] for row in lane.activities(started_at) if row["activity"] == "hold_names"]
            resumed = writer.rows.resumed_after(started_at, ended_at, stops=stops, last=again)
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
