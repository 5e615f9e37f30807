"""What every operation has: a lease, and what a person sees of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow

from workflows.lease.held import LeaseHeld
from workflows.progress import ProgressReport

with workflow.unsafe.imports_passed_through():
    from galera_backup.errors import InternalError
    from galera_backup.models.lease import LeaseReply
    from galera_backup.models.progress import Progress
    from galera_backup.models.site import OperationRequest
    from galera_backup.workflow_types import WorkflowType

T = TypeVar("T")


@dataclass(frozen=True)
class Work:
    """One running operation."""

    lease: LeaseHeld
    progress: ProgressReport

    def enter(self, phase: str, waiting_for: str) -> None:
        """Begin a phase; `waiting_for` says in a sentence what it does. Error: `CancelledError`, when the work ends."""
        self.lease.check()
        self.progress.enter(phase, waiting_for)

    async def under_lease(self, ttl: timedelta, steps: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Phase lease, then the steps; whatever ends them, what the lease did is undone when this returns.

        Errors: `ClusterBusy`, `LeaseLost`, the steps'.
        """
        # First of all: a run that was reset has a lease already, and failing without it would leave that open.
        self.progress.enter("lease", "acquiring the cluster's lease")
        await self.lease.acquire(ttl, self.progress.waiting)
        return await self.lease.guard(steps(), self.progress.enter)


class Operation:
    """Base of a workflow that holds a lease; its `run` begins with `_begin`."""

    def __init__(self) -> None:
        self._work: Work | None = None

    def _begin(self, request: OperationRequest, kind: WorkflowType[Any, Any]) -> Work:
        self._work = Work(LeaseHeld(request, kind.word), ProgressReport(kind.word, request.cluster))
        return self._work

    @workflow.signal
    def lease_reply(self, reply: LeaseReply) -> None:
        """The lease has carried out a command, or failed to; or it ends."""
        if self._work is not None:
            self._work.lease.on_reply(reply)

    @workflow.query
    def progress(self) -> Progress:
        """Where the operation is."""
        if self._work is None:
            raise InternalError("the operation has not begun yet")
        return self._work.progress.now()
