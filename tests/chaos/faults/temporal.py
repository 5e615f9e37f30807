"""Faults of Temporal, and what its users do to an operation and its lease."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError

from dev.stack import temporal
from tests.chaos.fault import Run, fault, is_held, part_killed
from tests.support.eventually import eventually


@fault("Temporal killed", shared=True)
async def temporal_killed(run: Run) -> None:
    """The server, with its database on disk."""
    await part_killed("temporal")
    run.back()


@fault("operation terminated", ends=("TERMINATED",))
async def terminated(run: Run) -> None:
    """`temporal workflow terminate` of the operation."""
    await run.handle.terminate("by the harness")
    run.back()


@fault("operation cancelled", ends=("CANCELED",))
async def cancelled(run: Run) -> None:
    """`temporal workflow cancel` of the operation."""
    await run.handle.cancel()
    await asyncio.sleep(0.5)
    run.back()


@fault("reset to the first task")
async def reset_first(run: Run) -> None:
    """`temporal workflow reset` of the operation to its first workflow task."""
    await _reset(run, first=True)


@fault("reset to the last task")
async def reset_last(run: Run) -> None:
    """`temporal workflow reset` of the operation to its last workflow task."""
    await _reset(run, first=False)


@fault("lease cancelled")
async def lease_cancelled(run: Run) -> None:
    """`temporal workflow cancel` of the lease."""
    await run.lease().cancel()
    await asyncio.sleep(0.5)
    run.back()


@fault("lease terminated")
async def lease_terminated(run: Run) -> None:
    """`temporal workflow terminate` of the lease."""
    await run.lease().terminate("by the harness")
    run.back()


@fault("operation and lease terminated", ends=("TERMINATED",), janitor=True)
async def both_terminated(run: Run) -> None:
    """By hand, so that nobody is left who would undo."""
    await run.handle.terminate("by the harness")
    with contextlib.suppress(RPCError):  # not begun yet
        await run.lease().terminate("by the harness")
    run.back()


@fault("Temporal's database lost", shared=True, slow=True, ends=("LOST",), janitor=True)
async def database_lost(run: Run) -> None:
    """The server comes back with an empty one, and knows no operation and no lease."""

    def lose() -> None:
        for file in temporal.DATABASE.parent.glob(f"{temporal.DATABASE.name}*"):
            file.unlink()

    await part_killed("temporal", lose)
    run.back()


@fault("execution timeout", ends=("TIMED_OUT",), execution_timeout=True, fits=is_held)
async def timed_out(run: Run) -> None:
    """The operation was started with an execution timeout, which passes now."""
    await eventually(lambda: _has_status(run.handle, WorkflowExecutionStatus.TIMED_OUT), 120, "the timeout passes")
    run.back()


@fault("two operations")
async def two_operations(run: Run) -> None:
    """Another one is started on the same cluster: it is refused, and harms nothing."""
    answer = await run.second()
    if answer != "ClusterBusy":
        run.violations.append(f"the second operation was not refused as ClusterBusy but: {answer}")
    run.back()


async def _reset(run: Run, *, first: bool) -> None:
    completed = [
        event.event_id
        async for event in run.handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]
    description = await run.handle.describe()
    await run.lane.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=run.handle.id, run_id=description.run_id),
            reason="by the harness",
            workflow_task_finish_event_id=completed[0 if first else -1],
            request_id=f"chaos-{time.time()}",
        )
    )
    run.back()


async def _has_status(handle: WorkflowHandle[Any, Any], status: WorkflowExecutionStatus) -> bool:
    return (await handle.describe()).status == status
