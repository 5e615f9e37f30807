"""Undoing what an operation did to its cluster. The lease does it; an operation does it when its lease was killed.

Every step succeeds when there is nothing to undo, and all of it may run twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow

from workflows import _runner, call
from workflows._runner import JobT

with workflow.unsafe.imports_passed_through():
    from activities.galera import GaleraActivities
    from activities.kubernetes import KubernetesActivities
    from activities.runner import RunnerActivities
    from galera_backup import names, timing
    from galera_backup.errors import (
        ClusterLeftPartial,
        ClusterLeftStopped,
        ClusterNotFormed,
        GaleraBackupError,
        LeaseLost,
    )
    from galera_backup.models.activities import (
        FormTask,
        RemoveRunners,
        ReplicaTask,
        ResyncReport,
        RunnerTask,
        ScaleTask,
    )
    from galera_backup.models.common import LeaseRef
    from galera_backup.models.jobs import AnyJob, CheckJob, DiscardJob, RestoreJob, SwapJob, TidyJob
    from galera_backup.models.lease import Mark, StopOrder
    from galera_backup.models.restore import ClaimReport, ClaimState, Strategy
    from galera_backup.models.site import Site
    from galera_backup.rules.claims import claim_state, is_started_in_part, may_start, must_be_finished, replicas_on
    from galera_backup.show import describe_claims

A = TypeVar("A")
R = TypeVar("R")

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=5)
"""Between tries of a step that failed for good: somebody must mend a password or a role, and then it goes on."""
INSPECTION_LIMIT = timedelta(minutes=15)
TIDY_LIMIT = timedelta(hours=1)
"""For removing the files of one data directory."""


async def persist(activity: Callable[[Any, A], Awaitable[R]], argument: A, summary: str, queue: str) -> R:
    """Run a step until it succeeds. Only `LeaseLost` ends it: then somebody else decides about the cluster."""
    pause = FIRST_PAUSE
    while True:
        try:
            return await call.undo(activity, argument, summary, queue=queue)
        except LeaseLost:
            raise
        except GaleraBackupError as failure:
            workflow.logger.error("a step that must succeed failed", extra={"step": summary, "error": failure.message})
            await workflow.sleep(pause, summary=f"{summary}: again after {failure.type}")
            pause = min(pause * 2, LONGEST_PAUSE)


async def bring_back(task: ReplicaTask, queue: str) -> ResyncReport:
    """Stop what reads the replica, resync it, put it back into the Services, remove the mark."""
    pod = task.pod
    await persist(KubernetesActivities.revoke_replica, task, f"nothing more is done to {pod} but undo", queue)
    await persist(
        RunnerActivities.remove_runners,
        RemoveRunners(cluster=task.site.cluster, lease=task.lease),
        "no runner pod works on the replica",
        queue,
    )
    if task.on_may_land:
        await workflow.sleep(timing.DESYNC_WINDOW, summary="until no wsrep_desync=ON can come any more")
    report = await persist(GaleraActivities.resync, task, f"drain {pod}, wsrep_desync=OFF, wait for Synced", queue)
    await persist(KubernetesActivities.wait_in_service, task, f"{pod} Ready and in the endpoints", queue)
    if task.mark.handover is not None or task.only_if_marked:
        await persist(KubernetesActivities.take_back_primary, task, f"primary label back to {pod}", queue)
        await persist(KubernetesActivities.wait_in_service, task, f"{pod} in the primary's endpoints", queue)
    await persist(KubernetesActivities.unmark_replica, task, f"remove the lease's mark from {pod}", queue)
    return report


@dataclass(frozen=True)
class Stopped:
    """A cluster that was scaled to 0 by a lease, and all that is needed to start it again."""

    site: Site
    mark: Mark
    order: StopOrder
    by: LeaseRef | None = None
    """The janitor's own lease: the pods that look at the volumes carry it, so that they are removed with it."""

    def scale(self, replicas: int, serving: int = 0) -> ScaleTask:
        """For every step on the StatefulSet; only scaling up looks at `replicas`, and at how many serve already."""
        return ScaleTask(site=self.site, mark=self.mark, replicas=replicas, serving=serving)

    def form(self, replicas: int, *, restored: bool, may_fail: bool = False) -> FormTask:
        """What to wait for once it is scaled back, on restored or on its old data.

        The first replica gets the primary label when it is alone. `may_fail`: other data can be started instead.
        """
        alone = replicas == 1 and self.order.primary_pod is not None
        clone = self.order.clone if restored else None
        return FormTask(
            site=self.site,
            lease=self.mark.lease,
            replicas=replicas,
            primary_pod=names.pod(self.site.cluster, 0) if alone else self.order.primary_pod,
            uuid=clone.uuid if clone is not None else None,
            may_fail=may_fail,
        )


async def bring_up(stopped: Stopped, claims: tuple[ClaimReport, ...] | None, queue: str) -> tuple[ClaimReport, ...]:
    """Scale the StatefulSet back if its data allows it, and wait until the cluster is whole; then it has no mark.

    `claims`: what the restore knows that it wrote; None: it did not live to tell, so the volumes are looked at.
    Returns the claims it was started on; none when the lease did not stop it, or it was started already.
    Errors: `ClusterLeftStopped`, `ClusterLeftPartial`, `ClusterNotFormed`, `LeaseLost`.
    """
    order = stopped.order
    found = await persist(
        KubernetesActivities.revoke_statefulset, stopped.scale(0), "the StatefulSet is scaled back from here on", queue
    )
    serving = found.replicas if found.marked and is_started_in_part(order, found.replicas) else 0
    runs = not serving and (found.replicas or not found.marked)
    if claims is None and runs:  # nobody looks into its volumes
        await _wait_formed(stopped, found.replicas, "was not stopped, or was started already", queue)
        return ()
    await persist(
        RunnerActivities.remove_runners,
        RemoveRunners(cluster=stopped.site.cluster, lease=stopped.mark.lease),
        "no runner pod works on the volumes",
        queue,
    )
    if claims is None:
        claims = await _inspect(stopped, serving)
    if must_be_finished(claims, serving):
        match order.strategy:
            case Strategy.STAGED:
                claims = await _put_back(stopped, claims)
            case Strategy.ROLLING:
                serving, claims = await _finish_rolling(stopped, claims, serving, queue)
            case Strategy.IN_PLACE:
                claims = await _finish(stopped, claims, claims)
    if not may_start(claims):
        raise _left(stopped, claims, serving)
    restored = claims[0].state == ClaimState.RESTORED
    replicas = replicas_on(claims, order)
    scale = stopped.scale(replicas, serving if serving < replicas else 0)
    await persist(KubernetesActivities.scale_up, scale, f"scale StatefulSet back to {replicas}", queue)
    data = "restored" if restored else "its old"
    how = f"was scaled back to {replicas} on {data} data ({describe_claims(claims)})"
    await _wait_formed(stopped, replicas, how, queue, restored=restored)
    return claims


def _left(stopped: Stopped, claims: tuple[ClaimReport, ...], serving: int) -> GaleraBackupError:
    cluster, size = str(stopped.site.cluster), stopped.order.replicas
    if not serving:
        return ClusterLeftStopped(
            f"StatefulSet {cluster!r} stays at 0 replicas: expected all data claims untouched or all restored, saw "
            f"{describe_claims(claims)}. Start the restore again; it redoes every claim"
        )
    return ClusterLeftPartial(
        f"StatefulSet {cluster!r} stays at {serving} of {size} replicas, which serve: expected all data claims "
        f"restored, saw {describe_claims(claims)}. Do not scale it up by hand: the others would join with another "
        "history. Mend the cause and run the janitor, which finishes the restore; or scale the StatefulSet to 0 and "
        f"start the restore again with 'replicas': {size}: that redoes every claim, and loses what was written since"
    )


async def _wait_formed(stopped: Stopped, replicas: int, how: str, queue: str, *, restored: bool = False) -> None:
    """Until all is as before; then the mark goes. `how` it comes that the cluster is up. Error: `ClusterNotFormed`."""
    if replicas == 0:
        return
    try:
        await call.wait(
            GaleraActivities.wait_formed,
            stopped.form(replicas, restored=restored),
            f"{replicas} replicas Ready and in one cluster",
            limit=stopped.order.ready_timeout,
            late=ClusterNotFormed,
            queue=queue,
        )
    except GaleraBackupError as failure:
        raise ClusterNotFormed(
            f"StatefulSet {str(stopped.site.cluster)!r} {how}, but: {failure.message}. Look at the logs of its pods"
        ) from failure
    unmark = stopped.scale(replicas)
    await persist(KubernetesActivities.unmark_statefulset, unmark, "remove the lease's mark", queue)


def as_found(order: StopOrder) -> tuple[ClaimReport, ...]:
    """The claims as they are before any runner was started on the stopped cluster."""
    state = ClaimState.RESTORED if order.undoes else ClaimState.UNTOUCHED
    return tuple(ClaimReport(claim=claim, ordinal=ordinal, state=state) for ordinal, claim in enumerate(order.claims))


async def tidy(stopped: Stopped, by: LeaseRef, keep: str | None) -> tuple[str, ...]:
    """Remove what restores of this strategy, but `keep`, have left on their volumes; the claims on which that failed.

    `by`: the lease that is open.
    """
    order = stopped.order
    if order.strategy == Strategy.ROLLING:
        discard = DiscardJob(cluster=stopped.site.cluster, keep=keep)
        task = _tidy_task(stopped, by, "discard", discard, claim=None)
        return () if await _is_tidied(task, stopped.site.backup_claim) else (stopped.site.backup_claim,)
    claims = list(enumerate(stopped.order.claims))
    done = await asyncio.gather(*[_tidy_claim(stopped, by, ordinal, claim, keep) for ordinal, claim in claims])
    return tuple(claim for (_, claim), tidied in zip(claims, done, strict=True) if not tidied)


async def _tidy_claim(stopped: Stopped, by: LeaseRef, ordinal: int, claim: str, keep: str | None) -> bool:
    task = _tidy_task(stopped, by, f"tidy-{ordinal}", TidyJob(cluster=stopped.site.cluster, keep=keep), claim)
    return await _is_tidied(task.model_copy(update={"replica": names.pod(stopped.site.cluster, ordinal)}), claim)


def _tidy_task(stopped: Stopped, by: LeaseRef, name: str, job: JobT, claim: str | None) -> RunnerTask[JobT]:
    order = stopped.order
    return RunnerTask(
        site=stopped.site,
        lease=by,
        fence="lease",
        pod=f"{order.runner_pod_prefix}-{order.restore_id}-{name}",
        job=job,
        data_claim=claim,
        timeout=TIDY_LIMIT,
    )


async def _is_tidied(task: RunnerTask[AnyJob], claim: str) -> bool:
    try:
        await _runner.run(task, f"no copies of the data on {claim}")
    except GaleraBackupError as error:
        workflow.logger.error("copies of the data may be left", extra={"claim": claim, "error": str(error)})
        return False
    return True


async def _inspect(stopped: Stopped, serving: int) -> tuple[ClaimReport, ...]:
    claims = enumerate(stopped.order.claims)
    return tuple(await asyncio.gather(*[_inspect_claim(stopped, *each, beside=each[0] < serving) for each in claims]))


async def _inspect_claim(stopped: Stopped, ordinal: int, claim: str, beside: bool) -> ClaimReport:
    """Read the marker on one data volume; `beside` a live replica, on its node."""
    order = stopped.order
    task: RunnerTask[CheckJob] = RunnerTask(
        site=stopped.site,
        lease=stopped.by,
        fence="lease" if stopped.by else "none",
        pod=f"{order.runner_pod_prefix}-{order.restore_id}-look-{ordinal}",
        job=CheckJob(cluster=stopped.site.cluster, restore_id=order.restore_id),
        data_claim=claim,
        replica=names.pod(stopped.site.cluster, ordinal) if beside else None,
        timeout=INSPECTION_LIMIT,
    )
    try:
        ran = await _runner.run(task, f"what did the restore do to {claim}?")
    except GaleraBackupError as error:
        workflow.logger.error("a data volume cannot be read", extra={"claim": claim, "error": str(error)})
        return ClaimReport(claim=claim, ordinal=ordinal, state=ClaimState.UNKNOWN)
    return ClaimReport(claim=claim, ordinal=ordinal, state=claim_state(ran.report, order.restore_id))


async def _finish_rolling(
    stopped: Stopped, claims: tuple[ClaimReport, ...], serving: int, queue: str
) -> tuple[int, tuple[ClaimReport, ...]]:
    """As the restore itself: the first replica serves while the others' claims are restored.

    Returns how many replicas serve, and the claims as they are afterwards.
    """
    if not serving:
        claims = await _finish(stopped, claims, claims[:1])
        if claims[0].state != ClaimState.RESTORED:
            return 0, claims
        serving = 1
        await persist(KubernetesActivities.scale_up, stopped.scale(serving), "start the first replica alone", queue)
        await _wait_for_first(stopped, queue)
    return serving, await _finish(stopped, claims, claims[serving:])


async def _wait_for_first(stopped: Stopped, queue: str) -> None:
    """For the primary label, which clients wait for. It may come up only with the others, who need their data first."""
    try:
        await call.wait(
            GaleraActivities.wait_formed,
            stopped.form(1, restored=True),
            "the first replica Ready",
            limit=stopped.order.ready_timeout,
            queue=queue,
        )
    except GaleraBackupError as error:
        workflow.logger.warning("the first replica does not serve alone", extra={"error": error.message})


async def _finish(
    stopped: Stopped, claims: tuple[ClaimReport, ...], those: tuple[ClaimReport, ...]
) -> tuple[ClaimReport, ...]:
    """Restore those of the claims, in the document's order; all claims as they are afterwards."""
    workflow.logger.warning("finishing the restore", extra={"claims": describe_claims(claims)})
    done = list(claims)
    for claim in those:
        try:
            await _runner.run(_restore_task(stopped, claim), f"finish: restore {claim.claim}, or see that it is")
        except GaleraBackupError as error:
            workflow.logger.error("a claim cannot be restored", extra={"claim": claim.claim, "error": str(error)})
            return tuple(done)
        done[claim.ordinal] = claim.model_copy(update={"state": ClaimState.RESTORED})
    return tuple(done)


async def _put_back(stopped: Stopped, claims: tuple[ClaimReport, ...]) -> tuple[ClaimReport, ...]:
    """Rename the old data back on every volume; the claims as they are afterwards."""
    workflow.logger.warning("putting the old data back", extra={"claims": describe_claims(claims)})
    return tuple(await asyncio.gather(*[_put_back_claim(stopped, claim) for claim in claims]))


async def _put_back_claim(stopped: Stopped, claim: ClaimReport) -> ClaimReport:
    order = stopped.order
    job = SwapJob(cluster=stopped.site.cluster, restore_id=order.restore_id, direction="back")
    try:
        await _runner.run(_undo_task(stopped, claim, "back", job), f"put the old data of {claim.claim} back")
    except GaleraBackupError as error:
        workflow.logger.error("a claim cannot be put back", extra={"claim": claim.claim, "error": str(error)})
        return claim
    return claim.model_copy(update={"state": ClaimState.UNTOUCHED})


def _restore_task(stopped: Stopped, claim: ClaimReport) -> RunnerTask[RestoreJob]:
    order = stopped.order
    job = RestoreJob(
        cluster=stopped.site.cluster,
        clone=order.clone,
        backup_id=order.backup_id,
        restore_id=order.restore_id,
        ordinal=claim.ordinal,
        last=claim.ordinal == len(order.claims) - 1,
        safe_to_bootstrap=claim.ordinal == 0,
    )
    return _undo_task(stopped, claim, "finish", job)


def _undo_task(stopped: Stopped, claim: ClaimReport, name: str, job: JobT) -> RunnerTask[JobT]:
    """A pod that changes a volume when its lease may be gone already."""
    order = stopped.order
    return RunnerTask(
        site=stopped.site,
        lease=stopped.mark.lease,
        fence="undo",
        pod=f"{order.runner_pod_prefix}-{order.restore_id}-{name}-{claim.ordinal}",
        job=job,
        data_claim=claim.claim,
        stopped_from=claim.ordinal if order.strategy == Strategy.ROLLING else 0,
        timeout=order.runner_timeout,
    )
