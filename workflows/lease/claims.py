"""What undoing does with the data claims of a stopped cluster: look at them, finish a restore, or take its way back;
and see to it that a server forms the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio import workflow

from workflows import _runner, call
from workflows._runner import JobT, Ran, Report
from workflows.lease.persist import persist
from workflows.pods import Pods
from workflows.way_back import Claims

with workflow.unsafe.imports_passed_through():
    from activities.galera import GaleraActivities
    from activities.holds import HoldActivities
    from activities.kubernetes import KubernetesActivities
    from galera_backup import names
    from galera_backup.errors import GaleraBackupError, LeaseLost
    from galera_backup.models.activities import RunnerTask
    from galera_backup.models.common import LeaseRef
    from galera_backup.models.jobs import BootstrapJob
    from galera_backup.models.restore import ClaimReport, ClaimState, Strategy
    from galera_backup.models.runner import Job
    from galera_backup.rules.claims import (
        are_as_found,
        are_restored,
        as_found,
        may_start,
        must_be_finished,
        replicas_on,
        restore_job,
    )
    from galera_backup.rules.way_back import ClaimFound, first_forms, way_back
    from galera_backup.show import describe_claims

if TYPE_CHECKING:
    from workflows.lease.stopped import Stopped

INSPECTION_LIMIT = timedelta(minutes=15)
LOOK_LIMIT = timedelta(minutes=1)
"""Where the cluster can be started without a look."""
MARKED_AGAIN_AT_MOST = 5
"""Times that a mark which somebody removes is written again for one pod: it has to be there when the pod starts."""


def of_restore(stopped: Stopped, serving: int = 0, *, limit: timedelta = INSPECTION_LIMIT) -> Claims:
    """The claims of the restore, for whoever undoes; `serving` replicas run meanwhile. `limit`: of a look.

    Pods that only look need no mark; those that change a volume work when the lease may be closed already.
    """
    cluster, recipe = stopped.site.cluster, stopped.recipe

    async def run(name: str, job: Job[Report], ordinal: int, claim: str, summary: str) -> Report:
        if job.needs.data == "read":  # it only looks
            pods = _pods(stopped, stopped.undoer.lease)
            replica = names.pod(cluster, ordinal) if ordinal in recipe.ordinals[:serving] else None
            task = pods.beside(f"look-{ordinal}", job, limit, claim=claim, replica=replica)
            return (await _runner.run(task, summary)).report
        return (await _run(stopped, _task(stopped, ordinal, claim, name, job), summary)).report

    return Claims.of(recipe, run)


@dataclass(frozen=True)
class Held:
    """What the claims hold, and how many replicas serve."""

    claims: tuple[ClaimReport, ...]
    serving: int = 0
    why: str = ""
    """Why the cluster can be started on neither the previous nor the restored data."""
    first_forms: bool = True
    """The server of the first claim may form the cluster; False: nobody could look whether the stop has killed it."""


async def held(stopped: Stopped, serving: int, *, at_zero: bool) -> Held:
    """What the claims of a cluster hold that is about to be started, made to fit together where that can be.

    `serving`: replicas that run meanwhile; `at_zero`: the StatefulSet wants none, as the lease has left it.
    """
    recipe = stopped.recipe
    if stopped.known is not None or are_as_found(recipe):
        known = stopped.known or as_found(recipe)
        is_unseen = at_zero and not serving and not stopped.are_seen and replicas_on(known, recipe) > 0
        return await _as_known(stopped, known) if is_unseen else Held(known, serving)
    volumes = of_restore(stopped, serving)
    found = await volumes.inspect(in_outage=not serving)
    if recipe.strategy == Strategy.STAGED:
        return await _way_back(stopped, volumes, found)
    reports = tuple(each.report.model_copy(update={"previous_lost": False}) for each in found)
    if must_be_finished(reports, serving):
        if recipe.strategy == Strategy.ROLLING:
            return await _finish_rolling(stopped, Held(reports, serving))
        return Held(await _finish(stopped, reports, reports), serving)
    return Held(reports, serving) if serving else await _first_forms(stopped, volumes, found, reports)


async def _as_known(stopped: Stopped, known: tuple[ClaimReport, ...]) -> Held:
    """Of a cluster that was stopped: whether the stop has killed the server that left last is not known yet."""
    names, queue = stopped.names_of(stopped.recipe.ordinals), stopped.undoer.queue
    gone, hold = stopped.scaling(0, undoing=True), stopped.holding(names, undoing=True)
    try:
        await call.wait(
            KubernetesActivities.wait_stopped, gone, "all pods gone", limit=stopped.recipe.ready_timeout, queue=queue
        )
        await call.wait(
            HoldActivities.hold_names, hold, "nobody can start a server while its claim is looked at", limit=LOOK_LIMIT
        )
    except GaleraBackupError as error:
        workflow.logger.warning("the claims are not looked at", extra={"error": error.message})
        return Held(known, first_forms=False)
    volumes = of_restore(stopped, limit=LOOK_LIMIT)
    return await _first_forms(stopped, volumes, await volumes.inspect(), known)


async def _first_forms(
    stopped: Stopped, volumes: Claims, found: Sequence[ClaimFound], claims: tuple[ClaimReport, ...]
) -> Held:
    """Killed when it left last, a server has noted nothing: then its claim is told that it may form the cluster.

    Where it cannot be looked at, or told, the cluster is started as it is: it may be that none was killed.
    """
    if not may_start(claims) or not replicas_on(claims, stopped.recipe):
        return Held(claims)
    decided = first_forms(found, first_in_sync=stopped.recipe.first_in_sync)
    if decided.start_on is None:
        return Held(claims, why=decided.why)
    if decided.bootstrap is None:
        return Held(claims, first_forms=all(each.seen is not None for each in found))
    summary = f"{claims[0].claim} forms the cluster: its server left last, and was killed"
    try:
        await volumes.run(
            "bootstrap", BootstrapJob(cluster=stopped.site.cluster), decided.bootstrap, claims[0].claim, summary
        )
    except GaleraBackupError as error:
        workflow.logger.error("the first server may not form the cluster", extra={"error": error.message})
        return Held(claims, first_forms=False)
    return Held(claims)


async def _way_back(stopped: Stopped, volumes: Claims, found: Sequence[ClaimFound]) -> Held:
    """A staged restore that ended anywhere: as the volumes say, or made to fit together."""
    recipe, reports = stopped.recipe, tuple(each.report for each in found)
    if may_start(reports) and not (recipe.restored_failed and are_restored(reports)):
        return await _first_forms(stopped, volumes, found, reports)
    decided = way_back(
        found,
        was_up=recipe.replicas_before > 0,
        may_be_restored=not recipe.restored_failed,
        first_in_sync=recipe.first_in_sync,
    )
    workflow.logger.warning("a staged restore ended half way", extra={"decided": str(decided)})
    done = await volumes.follow(decided, found)
    return Held(done.claims, why=decided.why if decided.start_on is None else "")


async def _finish_rolling(stopped: Stopped, seen: Held) -> Held:
    """As the restore itself: the first replica serves while the others' claims are restored."""
    queue, found = stopped.undoer.queue, seen.claims
    if not seen.serving:
        found = await _finish(stopped, found, found[:1])
        if found[0].state != ClaimState.RESTORED:
            return Held(found)
        await stopped.release(stopped.names_of(stopped.recipe.ordinals[:1]))
        alone = stopped.scaling(1, undoing=True)
        await persist(KubernetesActivities.scale_up, alone, "start the first replica alone", queue)
        await _wait_for_first(stopped)
    serving = seen.serving or 1
    return Held(await _finish(stopped, found, found[serving:]), serving)


async def _wait_for_first(stopped: Stopped) -> None:
    """For the primary label, which clients wait for. It may be Ready only beside the others."""
    form = stopped.forming(1, restored=True, alone=True)
    limit, queue = stopped.recipe.ready_timeout, stopped.undoer.queue
    try:
        await call.wait(GaleraActivities.wait_formed, form, "the first replica Ready", limit=limit, queue=queue)
    except GaleraBackupError as error:
        workflow.logger.warning("the first replica does not serve alone", extra={"error": error.message})


async def _finish(
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
