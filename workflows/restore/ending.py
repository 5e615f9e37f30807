"""How a restore or a rollback ends: as its result, or as a failure that says what became of cluster and claims."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow

from workflows.lease.held import LeaseHeld
from workflows.operation import Work
from workflows.restore.cut import Cut

with workflow.unsafe.imports_passed_through():
    from galera_backup.errors import GaleraBackupError, RestoreFailed
    from galera_backup.models.restore import ClaimReport, ClaimState
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
    """What runs then, and how to go back from that."""

    def is_reached(self, claims: Sequence[ClaimReport]) -> bool:
        """The cluster runs on it, although the operation failed or was cancelled: what undid it went on to its end."""
        return any(claim.state == self.state for claim in claims)


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
            raise RestoreFailed(_after_the_stop(work.lease, cut, error, aim)) from error


def _cancelled_too_late(lease: LeaseHeld, aim: Aim) -> RestoreFailed | None:
    """What a status "cancelled" would hide: that data was replaced."""
    claims = lease.result.claims if lease.result is not None else ()
    if aim.is_reached(claims):
        return RestoreFailed(
            f"the {aim.operation} was cancelled when claims were changed already, so it was finished: "
            f"{describe_claims(claims)}. {aim.text}"
        )
    return None


def _after_the_stop(lease: LeaseHeld, cut: Cut, error: GaleraBackupError, aim: Aim) -> str:
    """What failed, what became of the cluster and each claim, and what is left to do."""
    if lease.failure is not None:
        return error.message  # which says it all
    again = f"Mend what failed, then start the {aim.operation} again"
    claims = lease.result.claims if lease.result is not None else ()
    if not claims:
        return f"{error.message}. Look at lease {lease.ref.workflow_id!r} for the state of the cluster. {again}"
    next_step = aim.text if aim.is_reached(claims) else again
    return f"{error.message}. {cut.outcome(claims)}; claims: {describe_claims(claims)}. {next_step}"
