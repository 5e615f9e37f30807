"""What backup and restore have in common: they hear from their lease, and say where they are."""

from __future__ import annotations

from temporalio import workflow

from workflows._progress import ProgressReport
from workflows.lease.held import LeaseHeld

with workflow.unsafe.imports_passed_through():
    from galera_backup.errors import InternalError
    from galera_backup.models.lease import LeaseEvent
    from galera_backup.models.progress import Progress


class Operation:
    """Base of a workflow that holds a lease; its `run` sets both attributes first."""

    def __init__(self) -> None:
        self._progress: ProgressReport | None = None
        self._lease: LeaseHeld | None = None

    @workflow.signal
    def lease_event(self, event: LeaseEvent) -> None:
        """The lease's answer to an order, or its word that it ends."""
        if self._lease is not None:
            self._lease.on_event(event)

    @workflow.query
    def progress(self) -> Progress:
        """Where the operation is."""
        if self._progress is None:
            raise InternalError("the operation has not begun yet")
        return self._progress.answer()
