"""GaleraRollback: a finished staged restore is undone, as long as its old data is kept."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from workflows import _runner
from workflows._failures import operation
from workflows._outage import CHECK_LIMIT, MARGIN, SWAP_LIMIT, Outage, OutageOperation, each
from workflows._progress import ProgressReport
from workflows.lease.held import LeaseHeld

with workflow.unsafe.imports_passed_through():
    from galera_backup.errors import RestoreFailed
    from galera_backup.models.cluster import ClaimObservation, ClusterObservation
    from galera_backup.models.jobs import CheckJob
    from galera_backup.models.restore import ClaimState, RollbackRequest, RollbackResult, Strategy
    from galera_backup.rules.claims import claim_state


@workflow.defn(name="GaleraRollback")
class GaleraRollback(OutageOperation):
    """Stops a cluster, puts back the data that a restore kept, starts it again."""

    @workflow.run
    @operation
    async def run(self, request: RollbackRequest) -> RollbackResult:
        """One rollback, from the plan to the end of the lease."""
        lease, progress = LeaseHeld(request, "rollback"), ProgressReport("rollback", request.cluster)
        result = await self._conduct(Rollback(request, lease, progress), lease, progress)
        untidy = lease.result.untidy if lease.result is not None else ()
        return result.model_copy(update={"phases": progress.end("done"), "untidy": untidy})


class Rollback(Outage[RollbackResult]):
    """All claims beside each other, by the renames with which a staged restore goes back."""

    _NAME = "rollback"
    _DONE = ClaimState.UNTOUCHED
    _WAY_BACK = "The cluster runs on the data that it had before the restore"

    def __init__(self, request: RollbackRequest, lease: LeaseHeld, progress: ProgressReport) -> None:
        super().__init__(request, lease, progress)
        self._restore_id = request.restore_id

    def ttl(self) -> timedelta:
        """The longest that the lease may be needed."""
        request = self._request
        outage = request.stop_timeout + SWAP_LIMIT * _runner.ATTEMPTS + request.ready_timeout
        return CHECK_LIMIT + outage + MARGIN

    async def run(self) -> RollbackResult:
        """Plan, check, stop, put back, start."""
        self._enter("plan", "looking at the StatefulSet and its claims")
        seen = await self._observe()
        order = self._order(seen, Strategy.STAGED)
        order = order.model_copy(update={"undoes": True, "replicas_before": order.replicas})
        self._enter("check", f"looking for the data that restore {self._restore_id} has kept; the database is up")
        await self._lease.order("stage", order)
        await each(seen.claims, lambda claim: self._check(claim, seen))
        await self._stop(order)
        self._enter("swap", "renaming the restored data out and the old data in")
        await self._swap(seen.claims, "back")
        self._enter("start", f"scaling {seen.cluster} back, until all replicas are Ready and in one cluster")
        started = await self._start(seen.claims, ClaimState.UNTOUCHED)
        return RollbackResult(
            restore_id=self._restore_id, replicas=order.replicas, phases=(), outage_seconds=started.seconds
        )

    async def _check(self, claim: ClaimObservation, seen: ClusterObservation) -> None:
        job = CheckJob(cluster=self._request.cluster, restore_id=self._restore_id)
        task = self._task(f"kept-{claim.ordinal}", job, claim, seen, CHECK_LIMIT)
        ran = await _runner.run(task, f"what restore {self._restore_id} has kept on {claim.claim}")
        report = ran.report
        if report.has_previous and claim_state(report, self._restore_id) == ClaimState.RESTORED:
            return
        saw = "nothing of that restore" if report.journal is None else f"its journal says {str(report.journal.state)!r}"
        raise RestoreFailed(
            f"rolling restore {self._restore_id!r} back: expected the data from before it on {claim.claim!r}, saw "
            f"{saw}. It is removed when its time is over, by the next staged restore, and by a state transfer (SST) to "
            "the replica. The cluster was not touched; restore a backup instead"
        )
