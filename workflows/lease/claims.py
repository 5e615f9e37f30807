"""What undoing does with the data claims of a stopped cluster: look at them, finish a restore, or swap back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio import workflow

from workflows import _runner
from workflows._runner import JobT, Ran, Report
from workflows.pods import Pods

with workflow.unsafe.imports_passed_through():
    from galera_backup import names
    from galera_backup.errors import GaleraBackupError, LeaseLost
    from galera_backup.models.activities import RunnerTask
    from galera_backup.models.jobs import CheckJob, Job, RestoreJob, SwapJob
    from galera_backup.models.restore import ClaimReport, ClaimState, Strategy
    from galera_backup.rules.claims import claim_state
    from galera_backup.show import describe_claims

if TYPE_CHECKING:
    from workflows.lease.stopped import Stopped

INSPECTION_LIMIT = timedelta(minutes=15)
MARKED_AGAIN_AT_MOST = 5
"""Times that a mark which somebody removes is written again for one pod: it has to be there when the pod starts."""


async def inspect(stopped: Stopped, serving: int) -> tuple[ClaimReport, ...]:
    """All claims, as the volumes say; `serving` replicas run meanwhile."""
    claims = enumerate(stopped.recipe.claims)
    return tuple(await asyncio.gather(*[_inspect(stopped, *each, beside=each[0] < serving) for each in claims]))


async def _inspect(stopped: Stopped, ordinal: int, claim: str, beside: bool) -> ClaimReport:
    """Read journal and marker on one data volume; `beside` a live replica, on its node."""
    recipe = stopped.recipe
    pods = Pods(stopped.site, stopped.undoer.lease, recipe.runner_pod_prefix, recipe.restore_id)
    job = CheckJob(cluster=stopped.site.cluster, restore_id=recipe.restore_id)
    replica = names.pod(stopped.site.cluster, ordinal) if beside else None
    task = pods.beside(f"look-{ordinal}", job, INSPECTION_LIMIT, claim=claim, replica=replica)
    try:
        ran = await _runner.run(task, f"what did the restore do to {claim}?")
    except GaleraBackupError as error:
        workflow.logger.error("a data volume cannot be read", extra={"claim": claim, "error": str(error)})
        return ClaimReport(claim=claim, ordinal=ordinal, state=ClaimState.UNKNOWN)
    begun = recipe.renames_may_have_begun
    state = claim_state(ran.report, recipe.restore_id, renames_may_have_begun=begun)
    return ClaimReport(claim=claim, ordinal=ordinal, state=state)


async def finish(
    stopped: Stopped, claims: tuple[ClaimReport, ...], those: tuple[ClaimReport, ...]
) -> tuple[ClaimReport, ...]:
    """Restore those of the claims, one after another; all claims as they are afterwards."""
    workflow.logger.warning("finishing the restore", extra={"claims": describe_claims(claims)})
    done = list(claims)
    for claim in those:
        try:
            await _run(stopped, _restore_task(stopped, claim), f"finish: restore {claim.claim}, or see that it is")
        except GaleraBackupError as error:
            workflow.logger.error("a claim cannot be restored", extra={"claim": claim.claim, "error": str(error)})
            return tuple(done)
        done[claim.ordinal] = claim.model_copy(update={"state": ClaimState.RESTORED})
    return tuple(done)


async def swap_back(stopped: Stopped, claims: tuple[ClaimReport, ...]) -> tuple[ClaimReport, ...]:
    """Rename the previous data back on every volume; the claims as they are afterwards."""
    workflow.logger.warning("swapping the previous data back", extra={"claims": describe_claims(claims)})
    return tuple(await asyncio.gather(*[_swap_back(stopped, claim) for claim in claims]))


async def _swap_back(stopped: Stopped, claim: ClaimReport) -> ClaimReport:
    job = SwapJob(cluster=stopped.site.cluster, restore_id=stopped.recipe.restore_id, direction="back")
    task = _task(stopped, claim, "back", job)
    try:
        ran = await _run(stopped, task, f"swap the previous data of {claim.claim} back")
    except GaleraBackupError as error:
        workflow.logger.error("a claim cannot be swapped back", extra={"claim": claim.claim, "error": str(error)})
        return claim
    state = ClaimState.UNKNOWN if ran.report.state is None else ClaimState.UNTOUCHED
    return claim.model_copy(update={"state": state})


async def _run(stopped: Stopped, task: RunnerTask[Job[Report]], summary: str) -> Ran[Report]:
    """Run a pod whose fence needs the mark; when somebody has removed that, write it again and try once more."""
    for _ in range(MARKED_AGAIN_AT_MOST):
        try:
            return await _runner.run(task, summary)
        except LeaseLost:
            if stopped.undoer.knows is None:
                raise
            found = await stopped.revoke()
            if not found.marked or found.replicas > task.stopped_from:
                raise
    return await _runner.run(task, summary)


def _restore_task(stopped: Stopped, claim: ClaimReport) -> RunnerTask[RestoreJob]:
    recipe = stopped.recipe
    job = RestoreJob(
        cluster=stopped.site.cluster,
        clone=recipe.clone,
        backup_id=recipe.backup_id,
        restore_id=recipe.restore_id,
        ordinal=claim.ordinal,
        last=claim.ordinal == len(recipe.claims) - 1,
        safe_to_bootstrap=claim.ordinal == 0,
    )
    return _task(stopped, claim, "finish", job)


def _task(stopped: Stopped, claim: ClaimReport, name: str, job: JobT) -> RunnerTask[JobT]:
    """A pod that changes a volume when its lease may be gone already."""
    recipe = stopped.recipe
    pods = Pods(stopped.site, stopped.mark.lease, recipe.runner_pod_prefix, recipe.restore_id)
    first = claim.ordinal if recipe.strategy == Strategy.ROLLING else 0
    return pods.undoing(f"{name}-{claim.ordinal}", job, recipe.runner_timeout, claim=claim.claim, first=first)
