"""Starting operations on the stack's cluster, and what a test asks about them."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.service import RPCError, RPCStatusCode

from galera_backup import names
from galera_backup.models.backup import BackupRequest, BackupResult
from galera_backup.models.check import CheckRequest, CheckResult
from galera_backup.models.lease import LeaseResult
from galera_backup.models.progress import Progress
from galera_backup.models.restore import RestoreRequest, RestoreResult, RollbackRequest, RollbackResult
from tests.integration.galera import CLUSTER
from tests.support.eventually import eventually

_numbers = itertools.count(1)


class Operations:
    """Starts backups and restores on the session's task queue."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self.client = client
        self.task_queue = task_queue

    async def start_backup(self, **fields: Any) -> WorkflowHandle[Any, BackupResult]:
        """Start a GaleraBackup; `fields` of its request beside the cluster."""
        request = BackupRequest.model_validate({"cluster": CLUSTER, **fields})
        return await self.client.start_workflow(
            "GaleraBackup",
            request,
            id=self._id("backup"),
            task_queue=self.task_queue,
            result_type=BackupResult,
        )

    async def backup(self, **fields: Any) -> BackupResult:
        """A backup, to its end."""
        return await (await self.start_backup(**fields)).result()

    async def start_restore(self, backup_id: str, **fields: Any) -> WorkflowHandle[Any, RestoreResult]:
        """Start a GaleraRestore; in place, if not told otherwise."""
        named = {"cluster": CLUSTER, "backup_id": backup_id, "confirm": str(CLUSTER), "strategy": "in_place"}
        request = RestoreRequest.model_validate(named | fields)
        return await self.client.start_workflow(
            "GaleraRestore",
            request,
            id=self._id("restore"),
            task_queue=self.task_queue,
            result_type=RestoreResult,
        )

    async def restore(self, backup_id: str, **fields: Any) -> RestoreResult:
        """A restore, to its end."""
        return await (await self.start_restore(backup_id, **fields)).result()

    async def check(self, **fields: Any) -> CheckResult:
        """What could keep operations from the cluster."""
        request = CheckRequest.model_validate({"cluster": CLUSTER, **fields})
        result: CheckResult = await self.client.execute_workflow(
            "GaleraCheck", request, id=self._id("check"), task_queue=self.task_queue, result_type=CheckResult
        )
        return result

    async def rollback(self, restore_id: str) -> RollbackResult:
        """Undo a finished restore."""
        request = RollbackRequest(cluster=CLUSTER, confirm=str(CLUSTER), restore_id=restore_id)
        result: RollbackResult = await self.client.execute_workflow(
            "GaleraRollback",
            request,
            id=self._id("rollback"),
            task_queue=self.task_queue,
            result_type=RollbackResult,
        )
        return result

    def _id(self, operation: str) -> str:
        return f"{operation}-{next(_numbers)}-{self.task_queue}"

    async def lease_is_open(self) -> bool:
        """Whether an operation holds the cluster."""
        try:
            described = await self.client.get_workflow_handle(names.lease_id(CLUSTER)).describe()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return False
            raise
        return described.status == WorkflowExecutionStatus.RUNNING

    async def lease_closes(self, within: float = 20) -> None:
        """Wait for its end, which comes a moment after what it has undone can be seen."""

        async def is_closed() -> bool:
            return not await self.lease_is_open()

        await eventually(is_closed, within, "the lease is closed")

    @property
    def lease(self) -> WorkflowHandle[Any, LeaseResult]:
        """The cluster's lease, whichever is the last."""
        return self.client.get_workflow_handle(names.lease_id(CLUSTER), result_type=LeaseResult)

    async def lease_tries(self, activity: str, attempt: int = 1, within: float = 60) -> None:
        """Wait until the lease is at this activity, for the `attempt`th time: those before have failed."""
        deadline = time.monotonic() + within
        seen: dict[str, int] = {}
        while seen.get(activity, 0) < attempt:
            assert time.monotonic() < deadline, f"expected attempt {attempt} of {activity!r}, the lease is at {seen}"
            await asyncio.sleep(0.1)
            seen = {name: each.attempt for name, each in (await self._pending()).items()}

    async def lease_looks_again(self, activity: str, within: float = 30) -> None:
        """Wait for a heartbeat from now on: the lease is at this activity, and does not leave it."""
        since, deadline = datetime.now(UTC), time.monotonic() + within
        while True:
            pending = (await self._pending()).get(activity)
            assert pending is not None, f"expected the lease at {activity!r}"
            if pending.last_heartbeat_time.ToDatetime(UTC) > since:
                return
            assert time.monotonic() < deadline, f"expected a heartbeat of {activity!r} within {within:.0f} s"
            await asyncio.sleep(0.2)

    async def _pending(self) -> dict[str, PendingActivityInfo]:
        try:
            described = await self.lease.describe()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return {}
            raise
        return {each.activity_type.name: each for each in described.raw_description.pending_activities}


async def failure_of(handle: WorkflowHandle[Any, Any]) -> ApplicationError:
    """The error that a run fails with."""
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    error = caught.value.cause
    assert isinstance(error, ApplicationError), repr(error)
    return error


async def assert_cancelled(handle: WorkflowHandle[Any, Any]) -> None:
    """The run ends, and as cancelled."""
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, CancelledError), repr(caught.value.cause)


async def in_phase(handle: WorkflowHandle[Any, Any], phase: str, within: float = 180) -> Progress:
    """Wait until the operation says that it is in a phase."""
    deadline, seen = time.monotonic() + within, "no answer"
    while time.monotonic() < deadline:
        try:
            progress: Progress = await handle.query("progress", result_type=Progress)
        except RPCError as error:
            seen = str(error)
        else:
            seen = progress.phase
            if seen == phase:
                return progress
        await asyncio.sleep(0.1)
    raise AssertionError(f"expected phase {phase!r} within {within:.0f} s, saw {seen!r}")


async def activities_of(handle: WorkflowHandle[Any, Any]) -> list[tuple[str, str]]:
    """Type and input, as JSON, of the activities that the workflow asked for, in order."""
    found: list[tuple[str, str]] = []
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            attributes = event.activity_task_scheduled_event_attributes
            found.append((attributes.activity_type.name, attributes.input.payloads[0].data.decode()))
    return found


async def runner_attempts(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """Names of the runner pods that the workflow asked for, in order, without that which looks before a backup."""
    pods: list[str] = []
    for kind, text in await activities_of(handle):
        if kind == "run_runner":
            found = re.search(r'"pod":\s*"([^"]+)"', text)
            assert found is not None, text
            pods.append(found[1])
    return [pod for pod in pods if not pod.endswith("-look")]
