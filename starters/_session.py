"""A connection to Temporal as the commands use it: start an operation, follow it to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel
from rich.console import RenderableType
from rich.status import Status
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowHandle, WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from galera_backup import names
from galera_backup.errors import AnswerNotUnderstood, InvalidInput, WorkerMissing
from galera_backup.models.common import ClusterRef
from galera_backup.models.janitor import JanitorRequest
from galera_backup.models.progress import Progress
from galera_backup.models.site import OperationRequest
from galera_backup.temporal.attributes import CLUSTER
from galera_backup.temporal.connect import TemporalAddress, connect
from galera_backup.workflow_types import WorkflowType
from starters._options import TemporalOptions
from starters._screen import Screen, seconds

RequestT = TypeVar("RequestT", bound=BaseModel)
OperationT = TypeVar("OperationT", bound=OperationRequest | JanitorRequest)
ResultT = TypeVar("ResultT", bound=BaseModel)

LOOK_EVERY = 1.0
"""Seconds between looks at the progress."""
WORKER_SILENT = 3.0
"""Seconds without an answer to a query before we ask whether there is a worker at all."""
POLL_IS_RECENT = timedelta(seconds=75)
"""A worker renews its poll at least each minute."""
LOCAL_UI = "http://localhost:8233"

_PASSING = {RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.RESOURCE_EXHAUSTED}


@dataclass(frozen=True)
class Session:
    """A connected command."""

    screen: Screen
    client: Client
    task_queue: str
    ui: str | None

    @classmethod
    async def open(cls, screen: Screen, options: TemporalOptions) -> Session:
        """Connect. Raises `TemporalUnavailable` or `TemporalRefused`."""
        client = await connect(TemporalAddress(options.temporal_address, options.temporal_namespace))
        host = client.service_client.config.target_host.rpartition(":")[0]
        local = host in {"localhost", "127.0.0.1", "[::1]", "::1"}
        return cls(screen, client, options.task_queue, options.ui or (LOCAL_UI if local else None))

    async def start(
        self,
        workflow_type: WorkflowType[RequestT, ResultT],
        request: RequestT,
        *,
        workflow_id: str,
        cluster: ClusterRef,
        what: str,
    ) -> WorkflowHandle[object, ResultT]:
        """Start an operation. It gets no timeout: one that ran out would end it without its clean-up."""
        handle: WorkflowHandle[object, ResultT] = await self.client.start_workflow(
            workflow_type.name,
            request,
            id=workflow_id,
            task_queue=self.task_queue,
            result_type=workflow_type.result,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            search_attributes=cluster_attributes(cluster),
            static_summary=f"{what} **{cluster}**",
            static_details=details(what, cluster),
        )
        self.screen.waiting_for, self.screen.run_id = handle.id, handle.result_run_id
        self.screen.say(f"started {handle.id}")
        if link := self.link(handle.id, handle.result_run_id):
            self.screen.say(f"  {link}")
        return handle

    async def carry_out(
        self,
        workflow_type: WorkflowType[OperationT, ResultT],
        request: OperationT,
        shown: Callable[[ResultT], RenderableType],
        *,
        workflow_id: str | None,
        what: str,
        wait: bool,
    ) -> None:
        """Start an operation and print its result, or, without `wait`, its id at once."""
        handle = await self.start(
            workflow_type,
            request,
            workflow_id=workflow_id or names.operation_id(workflow_type.word, request.cluster, datetime.now(UTC)),
            cluster=request.cluster,
            what=what,
        )
        if wait:
            ended = await self.follow(handle)
            self.screen.answer(ended, shown(ended))
        else:
            self.screen.answer({"workflow_id": handle.id, "run_id": handle.result_run_id}, handle.id)

    def link(self, workflow_id: str, run_id: str | None = None) -> str | None:
        """Address of a run in Temporal's web UI; None when we do not know where that is."""
        if self.ui is None:
            return None
        run = f"/{run_id}" if run_id else ""
        return f"{self.ui.rstrip('/')}/namespaces/{self.client.namespace}/workflows/{quote(workflow_id, safe='')}{run}"

    async def has_worker(self) -> bool:
        """Whether a worker polled the task queue lately."""
        described = await self.client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=self.client.namespace,
                task_queue=TaskQueue(name=self.task_queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            )
        )
        oldest = datetime.now(UTC) - POLL_IS_RECENT
        return any(each.last_access_time.ToDatetime(UTC) > oldest for each in described.pollers)

    async def follow(self, handle: WorkflowHandle[object, ResultT], *, patience: timedelta | None = None) -> ResultT:
        """The result of a run; shows its progress meanwhile.

        With `patience` a run for which no worker appears in that time is ended and `WorkerMissing` raised: only for
        runs that hold nothing. Raises `WorkflowFailureError` when the run failed.
        """
        result = asyncio.create_task(self._result(handle))
        watch = _Watch(self, handle, patience)
        spinner = self.screen.err.status("waiting for the first answer") if self.screen.err.is_terminal else None
        try:
            with spinner or nullcontext():
                while not (await asyncio.wait({result}, timeout=LOOK_EVERY))[0]:
                    await watch.look(spinner)
        finally:
            result.cancel()
        return result.result()

    async def _result(self, handle: WorkflowHandle[object, ResultT]) -> ResultT:
        while True:
            try:
                return await handle.result()
            except InvalidInput as error:  # from our converter, not from the run: that would be a WorkflowFailureError
                raise AnswerNotUnderstood(
                    f"{error.message}; use the same version of galera-backup here and in the worker"
                ) from error
            except RPCError as error:
                if error.status not in _PASSING:
                    raise
                self.screen.say(f"Temporal does not answer ({error.status.name}); the run goes on, still waiting")
                await asyncio.sleep(LOOK_EVERY)


class _Watch:
    """Tells the person where a run is, and when nobody works on it."""

    def __init__(self, session: Session, handle: WorkflowHandle[object, ResultT], patience: timedelta | None) -> None:
        self._session, self._patience = session, patience
        self._handle = handle
        self._phase: str | None = None
        self._finished = 0
        self._heard = self._began = time.monotonic()
        self._said_missing = False

    async def look(self, spinner: Status | None) -> None:
        try:
            progress = await self._handle.query("progress", result_type=Progress, rpc_timeout=timedelta(seconds=3))
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError, InvalidInput):
            self._heard = time.monotonic()  # a worker answered, if only that it has nothing to say
        except RPCError:
            if time.monotonic() - self._heard > WORKER_SILENT:
                await self._look_for_worker()
        else:
            self._heard = time.monotonic()
            self._show(progress, spinner)

    def _show(self, progress: Progress, spinner: Status | None) -> None:
        say = self._session.screen.say
        for phase in progress.finished[self._finished :]:
            say(f"  {phase.phase} done in {seconds(phase.seconds)}")
        self._finished = max(self._finished, len(progress.finished))
        if spinner:
            spinner.update(f"{progress.phase}: {progress.waiting_for}")
        elif progress.phase != self._phase:
            say(f"  {progress.phase}: {progress.waiting_for}")
        self._phase = progress.phase

    async def _look_for_worker(self) -> None:
        session = self._session
        try:
            present = await session.has_worker()
        except RPCError:
            return  # the task that waits for the result says so
        if present:
            if self._said_missing:
                session.screen.say("a worker polls the task queue now")
            self._said_missing = False
            return
        missing = (
            f"no worker polls task queue {session.task_queue!r} in namespace {session.client.namespace!r} at"
            f" {session.client.service_client.config.target_host}; start one with `galera-backup worker`"
        )
        if not self._said_missing:
            session.screen.say(f"{missing}; still waiting")
            self._said_missing = True
        if self._patience and time.monotonic() - self._began > self._patience.total_seconds():
            await self._handle.terminate("no worker")
            raise WorkerMissing(missing)


def cluster_attributes(cluster: ClusterRef) -> TypedSearchAttributes:
    """Search attributes with which an operation starts."""
    return TypedSearchAttributes([SearchAttributePair(CLUSTER, str(cluster))])


def details(what: str, cluster: ClusterRef) -> str:
    """Markdown for the Temporal UI: what the run is and how to follow and end it."""
    return (
        f"{what} of the Galera cluster `{cluster.statefulset}` in the Kubernetes namespace `{cluster.namespace}`.\n\n"
        f"* Who holds the cluster: `galera-backup status {cluster}`\n"
        "* To end it early, cancel it. What it changed on the cluster is put back, even when it is terminated."
    )
