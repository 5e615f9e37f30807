"""What a lease and its stakes have to do with each other.

A stake is one change of a cluster that must be undone: a class with `act`, which the lease alone calls, and `undo`. The
lease holds a list of stakes, each from before its first effect, and undoes the last one first. Its owner holds the same
stakes, and undoes them when the lease was terminated; so does the janitor, from the marks on the cluster. A further
kind of stake is a module beside this one, a signal of the lease and a method of `held.LeaseHeld`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from temporalio import workflow

from workflows import call

with workflow.unsafe.imports_passed_through():
    from activities.runner import RunnerActivities
    from galera_backup import names
    from galera_backup.errors import DesyncFailed, GaleraBackupError, LeaseLost
    from galera_backup.models.activities import RemoveRunners
    from galera_backup.models.common import LeaseRef
    from galera_backup.models.lease import LeaseRequest
    from galera_backup.models.mark import Mark, UndoRecipe
    from galera_backup.models.restore import ClaimReport

A = TypeVar("A")
R = TypeVar("R")


@dataclass
class Ended:
    """What undoing has come to so far: for the stakes that are undone later, and for the lease's result."""

    claims: tuple[ClaimReport, ...] = ()
    """On which a stopped cluster was started."""
    untidy: tuple[str, ...] = ()
    """Claims on which copies of the data may be left."""
    kept_until: datetime | None = None
    """So long the previous data is kept."""


class Stake(Protocol):
    """One change that must be undone."""

    @property
    def phase(self) -> str:
        """Name of the phase in which it is undone."""

    @property
    def undoing(self) -> str:
        """What is done then, in a few words."""

    async def undo(self, ended: Ended) -> None:
        """Undo it; success when there is nothing to undo. Twice is as once.

        Error: of the tree, when it cannot be undone: then the stakes before it are not undone either.
        """


@dataclass(frozen=True)
class Undoer:
    """Who undoes."""

    queue: str
    """Task queue of the lease."""
    knows: LeaseRef | None
    """The run of the lease or of its owner: it knows what the lease has changed, also where a mark was removed. None:
    the janitor, which knows what the marks say."""
    lease: LeaseRef | None = None
    """The janitor's own lease: pods that look at volumes carry it, so that they are removed with it."""

    @staticmethod
    def lease_itself() -> Undoer:
        """In the lease's workflow."""
        info = workflow.info()
        return Undoer(info.task_queue, LeaseRef(workflow_id=info.workflow_id, run_id=info.run_id))

    @staticmethod
    def owner() -> Undoer:
        """In the workflow of an operation whose lease was terminated."""
        info = workflow.info()
        return Undoer(names.lease_queue(info.task_queue), LeaseRef(workflow_id=info.workflow_id, run_id=info.run_id))

    @staticmethod
    def janitor(lease: LeaseRef) -> Undoer:
        """In the janitor's workflow, which holds this lease."""
        return Undoer(names.lease_queue(workflow.info().task_queue), None, lease)


class Acting:
    """What the lease gives to a stake that acts."""

    def __init__(
        self, request: LeaseRequest, until: datetime, ends: Callable[[], str | None], show: Callable[[str], None]
    ) -> None:
        self.site = request.site
        self.show = show
        """Say in a few words what the lease does."""
        self._request = request
        self._until = until
        self._ends = ends
        info = workflow.info()
        self.ref = LeaseRef(workflow_id=info.workflow_id, run_id=info.run_id)

    def mark(self, undo: UndoRecipe | None = None) -> Mark:
        """The mark that this lease leaves on what it changes from now on."""
        return Mark(
            lease=self.ref,
            owner=self._request.owner,
            until=self._until,
            namespace=workflow.info().namespace,
            since=workflow.now(),
            undo=undo,
        )

    async def remove_orphans(self, late: type[GaleraBackupError] = DesyncFailed) -> None:
        """A lease that was killed together with its owner leaves runner pods; none works beside those of this lease."""
        task = RemoveRunners(cluster=self.site.cluster, lease=self.ref)
        await self.step(RunnerActivities.remove_orphans, task, "no runner pod of an earlier lease is left", late=late)

    async def step(
        self,
        activity: Callable[[Any, A], Awaitable[R]],
        argument: A,
        summary: str,
        *,
        limit: timedelta | None = None,
        late: type[GaleraBackupError] = DesyncFailed,
    ) -> R:
        """One step of a command. When the lease has to end meanwhile, the attempt that runs is the last one.

        Its end is awaited all the same: what undoes an effect must come after it.
        """
        if limit is None:
            step = asyncio.ensure_future(call.act(activity, argument, summary, late=late))
        else:
            step = asyncio.ensure_future(call.wait(activity, argument, summary, limit=limit, late=late))
        await workflow.wait_condition(lambda: step.done() or self._ends() is not None)
        if not step.done():
            step.cancel()
        try:
            return await step
        except asyncio.CancelledError as error:
            raise LeaseLost(
                f"{summary}: not done, because the lease ends: {self._ends()}. What it did is undone; start the "
                "operation again"
            ) from error
