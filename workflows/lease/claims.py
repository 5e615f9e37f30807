"""What undoing does with the data claims of a stopped cluster: look at them, finish a restore, or take its way back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio import workflow

from workflows import _runner
from workflows._runner import JobT, Ran, Report
from workflows.pods import Pods
from workflows.way_back import Claims

with workflow.unsafe.imports_passed_through():
    from galera_backup import names
    from galera_backup.errors import GaleraBackupError, LeaseLost
    from galera_backup.models.activities import RunnerTask
    from galera_backup.models.common import LeaseRef
    from galera_backup.models.restore import ClaimReport, ClaimState, Strategy
    from galera_backup.models.runner import Job
    from galera_backup.rules.claims import restore_job
    from galera_backup.show import describe_claims

if TYPE_CHECKING:
    from workflows.lease.stopped import Stopped

INSPECTION_LIMIT = timedelta(minutes=15)
MARKED_AGAIN_AT_MOST = 5
"""Times that a mark which somebody removes is written again for one pod: it has to be there when the pod starts."""


def of_restore(stopped: Stopped, serving: int = 0) -> Claims:
    """The claims of the restore, for whoever undoes; `serving` replicas run meanwhile.

    Pods that only look need no mark; those that change a volume work when the lease may be closed already.
    """
    cluster, recipe = stopped.site.cluster, stopped.recipe

    async def run(name: str, job: Job[Report], ordinal: int, claim: str, summary: str) -> Report:
        if job.needs.data == "read":  # it only looks
            pods = _pods(stopped, stopped.undoer.lease)
            replica = names.pod(cluster, ordinal) if ordinal in recipe.ordinals[:serving] else None
            task = pods.beside(f"look-{ordinal}", job, INSPECTION_LIMIT, claim=claim, replica=replica)
            return (await _runner.run(task, summary)).report
        return (await _run(stopped, _task(stopped, ordinal, claim, name, job), summary)).report

    return Claims.of(recipe, run)


async def inspect(stopped: Stopped, serving: int) -> tuple[ClaimReport, ...]:
    """All claims of a restore in place or a rolling one, as the volumes say; `serving` replicas run meanwhile."""
    found = await of_restore(stopped, serving).inspect(in_outage=not serving)
    return tuple(each.report.model_copy(update={"previous_lost": False}) for each in found)


async def finish(
    stopped: Stopped, claims: tuple[ClaimReport, ...], those: tuple[ClaimReport, ...]
) -> tuple[ClaimReport, ...]:
    """Restore those of the claims, one after another; all claims as they are afterwards."""
    workflow.logger.warning("finishing the restore", extra={"claims": describe_claims(claims)})
    done = list(claims)
    for claim in those:
        try:
            job = restore_job(stopped.recipe, claim.ordinal)
            task = _task(stopped, claim.ordinal, claim.claim, "finish", job)
            await _run(stopped, task, f"finish: restore {claim.claim}, or see that it is")
        except GaleraBackupError as error:
            workflow.logger.error("a claim cannot be restored", extra={"claim": claim.claim, "error": str(error)})
            return tuple(done)
        done[stopped.recipe.ordinals.index(claim.ordinal)] = claim.model_copy(update={"state": ClaimState.RESTORED})
    return tuple(done)


async def _run(stopped: Stopped, task: RunnerTask[Job[Report]], summary: str) -> Ran[Report]:
    """Run a pod whose fence needs the mark; when somebody has removed that, write it again and try once more."""
    for _ in range(MARKED_AGAIN_AT_MOST):
        try:
            return await _runner.run(task, summary)
        except LeaseLost:
            found = await stopped.revoke()
            if not found.marked:
                raise
            await stopped.hold(first=task.stopped_from)
    return await _runner.run(task, summary)


def _pods(stopped: Stopped, lease: LeaseRef | None) -> Pods:
    recipe = stopped.recipe
    return Pods(stopped.site, lease, recipe.runner_pod_prefix, recipe)


def _task(stopped: Stopped, ordinal: int, claim: str, name: str, job: JobT) -> RunnerTask[JobT]:
    """A pod that changes a volume when its lease may be gone already."""
    recipe = stopped.recipe
    pods = _pods(stopped, stopped.mark.lease)
    first = ordinal if recipe.strategy == Strategy.ROLLING else 0
    return pods.undoing(f"{name}-{ordinal}", job, recipe.runner_timeout, claim=claim, first=first)
