"""How a restore or a rollback ends: as its result, or as a failure that says what became of cluster and claims."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow

from workflows.lease.held import LeaseHeld
from workflows.operation import Work
from workflows.restore.cut import Cut

with workflow.unsafe.imports_passed_through():
    from galera_backup.errors import GaleraBackupError, RestoreFailed
    from galera_backup.models.restore import ClaimState
    from galera_backup.show import describe_claims

T = TypeVar("T")

MARGIN = timedelta(minutes=30)
"""What looking and checking may take beside the runners, the stop and the start, before the lease ends by itself."""


@dataclass(frozen=True)
class Aim:
    """What an operation is for: a cancel that comes too late must not hide that it is done."""

    operation: str
    state: ClaimState
    """Of a claim on which it is done."""
    text: str
    """What runs then."""


async def carry_out(work: Work, cut: Cut, ttl: timedelta, aim: Aim, steps: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Take the steps under the lease; progress and failure say how they ended.

    Error: once the cluster may have been stopped `RestoreFailed`, which says what became of it; else that of the step.
    """
    with work.progress.shows_end():
        try:
            return await work.under_lease(ttl, steps)
        except asyncio.CancelledError as error:
            failure = _cancelled_too_late(work.lease, aim)
            if failure is None:
                raise
            raise failure from error
        except GaleraBackupError as error:
            if not cut.has_begun:
                raise
            raise RestoreFailed(_after_the_stop(work.lease, error)) from error


def _cancelled_too_late(lease: LeaseHeld, aim: Aim) -> RestoreFailed | None:
    """What a status "cancelled" would hide: that the database is down, or that its data was replaced."""
    if lease.failure is not None:
        return RestoreFailed(f"the {aim.operation} was cancelled. {lease.failure.message}")
    claims = lease.result.claims if lease.result is not None else ()
    if any(claim.state == aim.state for claim in claims):
        return RestoreFailed(
            f"the {aim.operation} was cancelled when claims were changed already, so it was finished: "
            f"{describe_claims(claims)}. {aim.text}"
        )
    return None


def _after_the_stop(lease: LeaseHeld, error: GaleraBackupError) -> str:
    """What failed, and what became of the cluster and each claim."""
    if lease.failure is not None:
        state = lease.failure.message
        return state if state == error.message else f"{error.message}. {state}"
    if lease.result is not None and lease.result.claims:
        return f"{error.message}. The cluster was started again; claims: {describe_claims(lease.result.claims)}"
    return f"{error.message}. See the lease for the state of the cluster"
