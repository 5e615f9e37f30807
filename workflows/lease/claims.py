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
from workflows.within import within

with workflow.unsafe.imports_passed_through():
    from activities.galera import GaleraActivities
    from activities.holds import HoldActivities
    from activities.kubernetes import KubernetesActivities
    from galera_backup import names
    from galera_backup.errors import GaleraBackupError, LeaseLost
    from galera_backup.models.activities import Revoked, RunnerTask
    from galera_backup.models.common import LeaseRef
    from galera_backup.models.jobs import BootstrapJob
    from galera_backup.models.restore import ClaimReport, ClaimState, Strategy
    from galera_backup.models.runner import Job
    from galera_backup.rules.claims import (
        are_as_found,
        are_incomplete,
        are_restored,
        as_found,
        may_start,
        must_be_finished,
        replicas_on,
        restore_job,
    )
    from galera_backup.rules.left import behind
    from galera_backup.rules.way_back import ClaimFound, first_forms, way_back
    from galera_backup.show import describe_claims

if TYPE_CHECKING:
    from workflows.lease.stopped import Stopped

INSPECTION_LIMIT = timedelta(minutes=15)
GONE_LIMIT, LOOK_LIMIT = timedelta(minutes=5), timedelta(minutes=1)
"""Of the pods' end, and of a look, where the cluster can be started without."""
MARKED_AGAIN_AT_MOST = 5
"""Times that a mark which somebody removes is written again for one pod: it has to be there when the pod starts."""


def of_restore(stopped: Stopped, serving: int = 0, *, limit: timedelta | None = None) -> Claims:
    """The claims of the restore, for whoever undoes; `serving` replicas run meanwhile.

    Pods that only look need no mark; those that change a volume work when the lease may be closed already.
    `limit`: of each pod, which is not worth waiting for longer, or for a mark to be written again.
    """
    cluster, recipe = stopped.site.cluster, stopped.recipe

    async def run(name: str, job: Job[Report], ordinal: int, claim: str, summary: str) -> Report:
        if job.needs.data == "read":  # it only looks
            pods = _pods(stopped, stopped.undoer.lease)
            replica = names.pod(cluster, ordinal) if ordinal in recipe.ordinals[:serving] else None
            task = pods.beside(f"look-{ordinal}", job, limit or INSPECTION_LIMIT, claim=claim, replica=replica)
            return (await _runner.run(task, summary)).report
        task = _task(stopped, ordinal, claim, name, job)
        if limit is None:
            return (await _run(stopped, task, summary)).report
        return (await _runner.run(task.model_copy(update={"timeout": limit}), summary)).report

    return Claims.of(recipe, run)


@dataclass(frozen=True)
class Held:
    """What the claims hold, and how many replicas serve."""

    claims: tuple[ClaimReport, ...]
    serving: int = 0
    why: str = ""
    """Why the cluster can be started on neither the previous nor the restored data."""


async def held(stopped: Stopped, serving: int, found: Revoked | None) -> Held:
    """What the claims of a cluster hold that is about to be started, made to fit together where that can be.

    `serving`: replicas that run meanwhile; `found`: the StatefulSet, by who undoes; None: the lease acts, and holds all
    names. Error: `ClusterLeftStopped`, where a server would form the cluster that misses what others have.
    """
    recipe = stopped.recipe
    names_held = found is None or {*stopped.names_of(recipe.ordinals)} <= {*found.held}
    is_down = not serving and (names_held or (found is not None and found.marked and not found.replicas))
    known = stopped.known or (as_found(recipe) if are_as_found(recipe) else None)
    if known is not None and not (is_down and recipe.restored_failed and are_restored(known)):
        if is_down and not stopped.first_forms and replicas_on(known, recipe):
            await _look(stopped, known, found, names_held)
        return Held(known, serving)
    volumes = of_restore(stopped, serving)
    seen = await volumes.inspect(in_outage=not serving)
    stopped.first_forms = True
    if recipe.strategy == Strategy.STAGED:
        return await _way_back(stopped, volumes, seen)
    reports = tuple(each.report.model_copy(update={"previous_lost": False}) for each in seen)
    if must_be_finished(reports, serving):
        if recipe.strategy == Strategy.ROLLING:
            return await _finish_rolling(stopped, Held(reports, serving))
        return Held(await _finish(stopped, reports, reports), serving)
    if not serving:
        await _first_forms(stopped, volumes, seen, reports)
    return Held(reports, serving)


async def _look(stopped: Stopped, known: Sequence[ClaimReport], found: Revoked | None, names_held: bool) -> None:
    """At claims that nobody has changed, after a stop that may have killed the server which left last.

    In a short time, or not at all: the cluster can be started as it is. Error: `ClusterLeftStopped`, also when a claim
    is lost meanwhile.
    """
    recipe, queue = stopped.recipe, stopped.undoer.queue
    volumes = of_restore(stopped, limit=LOOK_LIMIT)
    stop, hold = stopped.scaling(0, undoing=True), stopped.holding(stopped.names_of(recipe.ordinals), undoing=True)
    try:
        if not names_held:
            await call.wait(KubernetesActivities.wait_stopped, stop, "all pods gone", limit=GONE_LIMIT, queue=queue)
            summary = "nobody can start a server while its claim is looked at"
            await call.wait(HoldActivities.hold_names, hold, summary, limit=LOOK_LIMIT, queue=queue)
        seen = await within(LOOK_LIMIT, volumes.inspect())
    except (GaleraBackupError, TimeoutError) as error:
        workflow.logger.warning("the claims are not looked at", extra={"error": str(error)})
        if found is not None:
            await stopped.check_kept(await stopped.revoke())
        return
    await _first_forms(stopped, volumes, seen, known)


async def _first_forms(
    stopped: Stopped, volumes: Claims, seen: Sequence[ClaimFound], claims: Sequence[ClaimReport]
) -> None:
    """Killed when it left last, a server has noted nothing: then its claim is told that it may form the cluster.

    Where it cannot be looked at, or told, the cluster is started as it is: it may be that none was killed.
    Error: `ClusterLeftStopped`.
    """
    recipe = stopped.recipe
    replicas = replicas_on(claims, recipe) if may_start(claims) else 0
    if not replicas or are_incomplete(claims[:replicas]):
        return
    ran_restored = are_restored(claims) and not recipe.is_rollback  # and was whole then
    decided = first_forms(seen[:replicas], first_in_sync=recipe.first_in_sync or ran_restored)
    if decided.start_on is None:
        raise behind(recipe, decided.why)
    stopped.first_forms = all(each.seen is not None for each in seen[:replicas])
    if decided.bootstrap is None:
        return
    job, summary = BootstrapJob(cluster=recipe.site.cluster), f"{claims[0].claim}: its server, the last, was killed"
    try:
        await volumes.run("bootstrap", job, decided.bootstrap, claims[0].claim, summary)
    except GaleraBackupError as error:
        workflow.logger.error("the first server may not form the cluster", extra={"error": error.message})
        stopped.first_forms = False


async def _way_back(stopped: Stopped, volumes: Claims, seen: Sequence[ClaimFound]) -> Held:
    """A staged restore that ended anywhere: as the volumes say, or made to fit together."""
    recipe, reports = stopped.recipe, tuple(each.report for each in seen)
    if may_start(reports) and not (recipe.restored_failed and are_restored(reports)):
        await _first_forms(stopped, volumes, seen, reports)
        return Held(reports)
    decided = way_back(
        seen,
        was_up=recipe.replicas_before > 0,
        may_be_restored=not recipe.restored_failed,
        first_in_sync=recipe.first_in_sync,
    )
    workflow.logger.warning("a staged restore ended half way", extra={"decided": str(decided)})
    done = await volumes.follow(decided, seen)
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
