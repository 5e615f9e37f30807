"""What can happen to an operation while it is in one of its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from galera_backup.errors import DatabaseRefused, DatabaseUnavailable, KubernetesRefused, KubernetesUnavailable
from tests.fakes.faults import ALWAYS, Fault, Gate
from tests.fakes.stage import Handle, Stage
from tests.fakes.world import World

Kill = Literal["cancel", "terminate", "cancel lease", "terminate lease"]


@dataclass(frozen=True)
class Step:
    """One gateway call of one activity."""

    activity: str
    method: str
    when: Callable[[Mapping[str, Any]], bool] = lambda arguments: True
    by_lease: bool = True
    """The lease runs the activity; else the operation does."""

    def fails(self, times: int = ALWAYS) -> Fault:
        """No attempt has an effect, and no retry helps."""
        return Fault(self.method, self.activity, self.when, before=self._refused(), times=times)

    def fails_after_its_effect(self) -> Fault:
        """The effect is there, the activity fails and is not retried."""
        return Fault(self.method, self.activity, self.when, after=self._refused())

    def result_is_lost(self) -> Fault:
        """The effect is there, and the activity runs again."""
        return Fault(self.method, self.activity, self.when, after=self._unavailable())

    def held(self, *, result_is_lost: bool = False) -> Fault:
        """The call waits at a gate before its effect."""
        after = self._unavailable() if result_is_lost else None
        return Fault(self.method, self.activity, self.when, gate=Gate(), after=after)

    def _refused(self) -> Exception:
        if self.method == "set_desync":
            return DatabaseRefused("MariaDB error 1227: Access denied. Check the grants")
        return KubernetesRefused("Kubernetes answered 403 Forbidden. Check the worker's role")

    def _unavailable(self) -> Exception:
        if self.method == "set_desync":
            return DatabaseUnavailable("MariaDB error 2013: Lost connection")
        return KubernetesUnavailable("Kubernetes answered 503")


async def kill(stage: Stage, world: World, operation: Handle, how: Kill) -> None:
    """Do it to the operation or to its lease; returns when the server has taken it."""
    victim = stage.lease(world) if "lease" in how else operation
    await (victim.cancel() if "cancel" in how else victim.terminate("by a test"))


async def reset(stage: Stage, handle: Handle, event_id: int) -> Handle:
    """Begin the operation again after this event of its history."""
    description = await handle.describe()
    response = await stage.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=stage.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=description.run_id),
            reason="by a test",
            workflow_task_finish_event_id=event_id,
            request_id=f"{handle.id}-{event_id}",
        )
    )
    return stage.client.get_workflow_handle(handle.id, run_id=response.run_id)


async def workflow_tasks(handle: Handle) -> list[int]:
    """Ids of the events that a reset may name."""
    history = await handle.fetch_history()
    return [each.event_id for each in history.events if each.HasField("workflow_task_completed_event_attributes")]
