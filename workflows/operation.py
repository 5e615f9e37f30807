"""What every operation has: a lease, and what a person sees of it."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio import workflow

from workflows._holder import LeaseHeld
from workflows.progress import ProgressReport

with workflow.unsafe.imports_passed_through():
    from galera_backup.errors import InternalError
    from galera_backup.models.lease import LeaseEvent, OperationName
    from galera_backup.models.progress import Progress
    from galera_backup.models.site import OperationRequest


@dataclass(frozen=True)
class Work:
    """One running operation."""

    lease: LeaseHeld
    progress: ProgressReport

    def enter(self, phase: str, waiting_for: str) -> None:
        """Begin a phase; `waiting_for` says in a sentence what it does. Error: cancelled, when the operation ends."""
        self.lease.check()
        self.progress.enter(phase, waiting_for)


class Operation:
    """Base of a workflow that holds a lease; its `run` begins with `_begin`."""

    def __init__(self) -> None:
        self._work: Work | None = None

    def _begin(self, request: OperationRequest, operation: OperationName) -> Work:
        self._work = Work(LeaseHeld(request, operation), ProgressReport(operation, request.cluster))
        return self._work

    @workflow.signal
    def lease_event(self, event: LeaseEvent) -> None:
        """The lease's answer to an order, or its word that it ends."""
        if self._work is not None:
            self._work.lease.on_event(event)

    @workflow.query
    def progress(self) -> Progress:
        """Where the operation is."""
        if self._work is None:
            raise InternalError("the operation has not begun yet")
        return self._work.progress.answer()
