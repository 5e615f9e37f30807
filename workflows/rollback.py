"""GaleraRollback: a finished staged restore is undone, as long as the data from before it is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from temporalio import workflow

from workflows import _runner
from workflows._failures import operation
from workflows.gather import for_each
from workflows.operation import Operation, Work
from workflows.preflight import refuse
from workflows.restore.check import CHECK_LIMIT, check_same, inspect_claim
from workflows.restore.cut import Cut
from workflows.restore.ending import MARGIN, Aim, carry_out
from workflows.restore.plan import Plan, look_before, pods_of, stop_command

with workflow.unsafe.imports_passed_through():
    from galera_backup import workflow_types
    from galera_backup.errors import RestoreFailed
    from galera_backup.models.cluster import ClaimObservation
    from galera_backup.models.jobs import CheckJob
    from galera_backup.models.layout import Layout
    from galera_backup.models.lease import CleanUpCommand
    from galera_backup.models.preflight import warnings
    from galera_backup.models.previous import SavedState
    from galera_backup.models.reports import CheckReport
    from galera_backup.models.restore import ClaimState, RollbackRequest, RollbackResult, Strategy
    from galera_backup.models.volumes import SwapState
    from galera_backup.rules.preflight.volumes import volumes

_AIM = Aim(
    "rollback",
    ClaimState.UNTOUCHED,
    "The cluster runs on the data that it had before the restore. To have the restored data, start the restore again",
)


@workflow.defn(name=workflow_types.ROLLBACK.name)
class GaleraRollback(Operation):
    """Stops a cluster, puts back the data that a restore kept, starts it again."""

    @workflow.run
    @operation
    async def run(self, request: RollbackRequest) -> RollbackResult:
        """One rollback, from the plan to the end of the lease."""
        work = self._begin(request, workflow_types.ROLLBACK)
        cut = Cut(work)
        plan, emptied = await carry_out(work, cut, _ttl(request), _AIM, lambda: _roll_back(request, work, cut))
        told = plan.seen.findings
        return RollbackResult(
            restore_id=plan.restore_id,
            replicas=plan.recipe.replicas,
            phases=work.progress.end("done"),
            outage_seconds=cut.seconds or 0,
            emptied=emptied,
            untidy=work.lease.result.untidy if work.lease.result is not None else (),
            warnings=warnings(told, "restore", request.accept),
        )


def _ttl(request: RollbackRequest) -> timedelta:
    """The longest that the lease may be needed."""
    return CHECK_LIMIT * 2 + Cut.limit(request) + MARGIN


async def _roll_back(request: RollbackRequest, work: Work, cut: Cut) -> tuple[Plan, tuple[str, ...]]:
    """All claims at once, by the renames with which a staged restore goes back."""
    plan = await _plan(request, work)
    plan = await _check(request, work, plan)
    plan = await check_same(request, work, plan)
    await cut.stop(plan)
    work.enter("swap", "proving that the previous data is whole, then renaming it back")
    decided = await cut.swap_back(plan, "start")
    if decided.start_on == ClaimState.RESTORED:
        raise RestoreFailed(
            f"rolling restore {plan.restore_id!r} back: {decided.why}. The cluster was started again on that"
        )
    return plan, tuple(plan.seen.claim(ordinal).claim for ordinal in decided.emptied)


async def _plan(request: RollbackRequest, work: Work) -> Plan:
    """Phase plan. Errors: `ClusterNotFound`, `InvalidInput`."""
    work.enter("plan", "looking at the StatefulSet and its claims")
    seen = await look_before(request, work)
    stop = stop_command(request, seen, request.restore_id, Strategy.STAGED, is_rollback=True)
    return Plan(seen, stop, pods_of(stop.recipe, work.lease.ref))


async def _check(request: RollbackRequest, work: Work, plan: Plan) -> Plan:
    """Phase check: every claim has the data from before the restore, and nothing is in the way of its renames.

    Answers the plan with what the volumes have shown. Errors: `RestoreFailed`, `PreflightRefused`.
    """
    work.enter("check", f"looking for the data that restore {plan.restore_id} has kept; the database is up")
    await work.lease.clean_up(CleanUpCommand.of(plan.recipe))
    saved = await for_each(plan.claims, lambda claim: _check_claim(plan, claim))
    plan = plan.with_previous_uuid(saved[0].group if saved[0] is not None else None)
    reports = await for_each(plan.claims, lambda claim: _look(plan, claim))
    found = tuple(volumes(plan.claims, reports, Layout(), said=True, staged=False))
    refuse(found, "restore", request)
    return replace(plan, seen=plan.seen.model_copy(update={"findings": (*plan.seen.findings, *found)}))


async def _look(plan: Plan, claim: ClaimObservation) -> CheckReport:
    """The backup volume is not needed, and may be gone."""
    job, replica = CheckJob(cluster=plan.seen.cluster, without_backups=True), plan.replica_of(claim)
    task = plan.pods.beside(f"check-{claim.ordinal}", job, CHECK_LIMIT, claim=claim.claim, replica=replica)
    return (await _runner.run(task, f"what lies on {claim.claim}")).report


async def _check_claim(plan: Plan, claim: ClaimObservation) -> SavedState | None:
    """Its position in the data from before the restore."""
    summary = f"what restore {plan.restore_id} has kept on {claim.claim}"
    report = await inspect_claim(plan, claim, "kept", summary)
    previous, journal = report.previous, report.journal
    if previous is None or journal is None:
        saw = "nothing of that restore"
    elif previous.whole and journal.state == SwapState.SWAPPED:
        return previous.saved
    else:
        saw = previous.problem or f"its journal says {str(journal.state)!r}"
    raise RestoreFailed(
        f"rolling restore {plan.restore_id!r} back: expected the data from before it on {claim.claim!r}, saw "
        f"{saw}. It is removed when its time is over, by the next staged restore, and by a state transfer (SST) to "
        "the replica. The cluster was not touched; restore a backup instead"
    )
