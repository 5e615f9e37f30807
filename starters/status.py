"""`galera-backup status`: who holds the cluster, what runs, what ran, what comes next."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import typer
from rich.console import RenderableType
from temporalio.client import (
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.service import RPCError, RPCStatusCode

from galera_backup import names
from galera_backup.errors import InvalidInput
from galera_backup.models.common import ClusterRef
from galera_backup.models.lease import LeaseStatus
from galera_backup.models.progress import Progress
from galera_backup.temporal.attributes import CLUSTER
from galera_backup.text import bounded
from galera_backup.workflow_types import JANITOR, OPERATIONS
from starters import _schedules
from starters._exit import failure
from starters._grouped import grouped
from starters._options import AsJson, Cluster, TemporalOptions
from starters._request import cluster_of
from starters._screen import Screen, conduct, facts, moment, seconds, table
from starters._session import Session

LAST_OPERATIONS, LAST_JANITOR_RUNS = 5, 2
"""Of those that have ended. The janitor's are counted by themselves: it runs each few minutes."""
_BUT_THE_JANITOR = tuple(each for each in OPERATIONS if each is not JANITOR)

_PATIENCE = timedelta(seconds=5)
_SILENT = (RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError, InvalidInput)


@grouped
def status(*, cluster: Cluster, temporal: TemporalOptions, as_json: AsJson = False) -> None:
    """Show who holds the cluster, how far the running operation is, the last operations, and the schedules."""

    async def work(screen: Screen) -> None:
        where = cluster_of(cluster)
        session = await Session.open(screen, temporal)
        held, lease = await _lease(session, where)
        document = {
            "cluster": str(where),
            "worker": await session.has_worker(),
            "held": held,
            "lease": lease,
            "progress": await _progress(session, lease.owner) if lease else None,
            "operations": [each async for each in _operations(session, where)],
            "schedule": await _schedules.summary_if_there(session, _schedules.backup_handle(session, where)),
            "janitor": await _schedules.summary_if_there(session, _schedules.janitor_handle(session, where)),
        }
        screen.answer(document, *shown(document, session.task_queue))

    conduct(as_json, work)


async def _lease(session: Session, cluster: ClusterRef) -> tuple[bool, LeaseStatus | None]:
    """Whether a lease is open, and what it says; a lease without a live worker says nothing."""
    handle = session.client.get_workflow_handle(names.lease_id(cluster))
    try:
        described = await handle.describe()
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return False, None
        raise
    if described.status != WorkflowExecutionStatus.RUNNING:
        return False, None
    try:
        return True, await handle.query("status", result_type=LeaseStatus, rpc_timeout=_PATIENCE)
    except _SILENT:
        return True, None


async def _progress(session: Session, owner: str) -> Progress | None:
    handle = session.client.get_workflow_handle(owner)
    try:
        progress: Progress = await handle.query("progress", result_type=Progress, rpc_timeout=_PATIENCE)
    except _SILENT:
        return None
    return progress


async def _operations(session: Session, cluster: ClusterRef) -> AsyncIterator[dict[str, Any]]:
    """The operations that are open and the last ones that have ended, newest first; of a failed one also why."""
    found: dict[str, WorkflowExecution] = {}
    for types, ended, limit in (
        (OPERATIONS, False, None),
        (_BUT_THE_JANITOR, True, LAST_OPERATIONS),
        ((JANITOR,), True, LAST_JANITOR_RUNS),
    ):
        query = (
            f"{CLUSTER.name} = '{cluster}' AND ExecutionStatus {'!=' if ended else '='} 'Running' AND WorkflowType IN "
            f"({', '.join(repr(each.name) for each in types)})"
        )
        async for run in session.client.list_workflows(query, limit=limit):
            found[run.run_id] = run  # one that ends meanwhile is found twice
    for run in sorted(found.values(), key=lambda run: run.start_time, reverse=True):
        yield {
            "workflow_id": run.id,
            "run_id": run.run_id,
            "type": run.workflow_type,
            "status": run.status.name.lower() if run.status else "unknown",
            "started": run.start_time,
            "closed": run.close_time,
            "error": await _why(session, run),
            "link": session.link(run.id, run.run_id),
        }


async def _why(session: Session, run: WorkflowExecution) -> dict[str, str] | None:
    if run.status != WorkflowExecutionStatus.FAILED:
        return None
    try:
        await session.client.get_workflow_handle(run.id, run_id=run.run_id).result(follow_runs=False)
    except WorkflowFailureError as error:
        problem = failure(error)
        return {"type": problem.type, "message": problem.message} if problem else None
    except RPCError:  # the history is gone already
        return None
    return None


def shown(document: dict[str, Any], task_queue: str) -> list[RenderableType]:
    """The status as a person reads it."""
    lease, progress, plan = document["lease"], document["progress"], document["schedule"]
    state = "free"
    if document["held"]:
        state = f"held by {lease.owner} ({lease.operation}: {lease.phase})" if lease else "held; no worker says by whom"
    next_runs = _schedules.moments(plan["next_runs"][:3]) if plan else None
    head = facts(
        {
            "cluster": f"{document['cluster']}: {state}",
            "replica": lease.replica if lease else None,
            "until": moment(lease.until) if lease else None,
            "phase": f"{progress.phase}: {progress.waiting_for}" if progress else None,
            "worker": "polling" if document["worker"] else f"no worker polls task queue {task_queue!r}",
            "schedule": f"{'paused; ' if plan['paused'] else ''}next {next_runs or 'never'}" if plan else "none",
            "janitor": _schedules.janitor_line(document["janitor"]),
        }
    )
    return [head, _table(document["operations"])]


def _table(operations: list[dict[str, Any]]) -> RenderableType:
    if not operations:
        return "no operations yet"
    rows = table("STARTED", "OPERATION", "STATUS", "TOOK", "WORKFLOW ID", "WHY")
    for run in operations:
        took = (run["closed"] or datetime.now(UTC)) - run["started"]
        why = run["error"]
        rows.add_row(
            moment(run["started"]),
            run["type"],
            run["status"],
            seconds(took.total_seconds()),
            run["workflow_id"],
            bounded(f"{why['type']}: {why['message']}", 100) if why else "",
        )
    return rows


if __name__ == "__main__":
    typer.run(status)
