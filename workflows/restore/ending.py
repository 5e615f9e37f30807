"""How a restore or a rollback ends: its result, or what became of the cluster and of each claim."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows._failures import typed
from workflows.operation import Work
from workflows.restore.cut import Cut
from workflows.restore.plan import Plan, Restore

with workflow.unsafe.imports_passed_through():
    from galera_backup import rules
    from galera_backup.errors import GaleraBackupError, RestoreFailed
    from galera_backup.models.lease import OperationName
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.restore import ClaimRestore, ClaimState, RestoreResult

T = TypeVar("T")

MARGIN = timedelta(minutes=30)
"""What looking and checking may take beside the runners, the stop and the start, before the lease ends by itself."""


@dataclass(frozen=True)
class Restored:
    """What a strategy has done."""

    plan: Plan
    manifest: Manifest
    claims: list[ClaimRestore]
    kept_despite: str | None = None
    """What failed after the start, when somebody decided to keep the restored data all the same."""


@dataclass(frozen=True)
class Done:
    """What "cancelled" would hide, when the data was replaced all the same."""

    operation: OperationName
    state: ClaimState
    """Of a claim that has what the operation is for."""
    text: str


async def under_lease(
    work: Work, cut: Cut, ttl: timedelta, steps: Callable[[], Coroutine[Any, Any, T]], done: Done
) -> T:
    """Take the steps under the lease. Progress and failure say how it ended.

    Error: `RestoreFailed`, which says what became of the cluster, when it may have been stopped.
    """
    with work.progress.told():
        try:
            # First of all: a run that was reset has a lease already, and failing without it would leave that open.
            work.progress.enter("lease", "acquiring the cluster's lease")
            await work.lease.acquire(ttl, work.progress.waiting)
            return await work.lease.guard(steps(), second_line=cut.start_without_lease)
        except asyncio.CancelledError as error:
            failure = _cancelled_too_late(work.lease, done)
            if failure is None:
                raise
            raise failure from error
        except GaleraBackupError as error:
            if not cut.has_begun:
                raise
            raise RestoreFailed(_after_the_stop(work.lease, error)) from error


def _cancelled_too_late(lease: LeaseHeld, done: Done) -> RestoreFailed | None:
    """What "cancelled" would hide: that the database is down, or that its data was replaced all the same."""
    if lease.failure is not None:
        return RestoreFailed(f"the {done.operation} was cancelled. {lease.failure.message}")
    claims = lease.result.claims if lease.result is not None else ()
    if any(claim.state == done.state for claim in claims):
        return RestoreFailed(
            f"the {done.operation} was cancelled when claims were changed already, so it was finished: "
            f"{describe(claims)}. {done.text}"
        )
    return None


def _after_the_stop(lease: LeaseHeld, error: GaleraBackupError) -> str:
    """What failed, and what became of the cluster and each claim."""
    if lease.failure is not None:
        state = lease.failure.message
        return state if state == error.message else f"{error.message}. {state}"
    if lease.result is not None and lease.result.claims:
        return f"{error.message}. The cluster was started again; claims: {describe(lease.result.claims)}"
    return f"{error.message}. See the lease for the state of the cluster"


def result_of(restore: Restore, cut: Cut, restored: Restored, proof: Proof | None) -> RestoreResult: ...
