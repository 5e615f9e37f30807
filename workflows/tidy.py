"""GaleraTidy: the data that a finished restore has kept goes when its time is over."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from workflows import _runner
from workflows._failures import operation
from workflows._observing import observe
from workflows._operation import Operation
from workflows._outage import MARGIN, each
from workflows._progress import ProgressReport
from workflows.lease.held import LeaseHeld
from workflows.lease.undo import TIDY_LIMIT

with workflow.unsafe.imports_passed_through():
    from galera_backup import names
    from galera_backup.models.activities import RunnerTask
    from galera_backup.models.cluster import ClaimObservation
    from galera_backup.models.common import LeaseRef
    from galera_backup.models.jobs import TidyJob
    from galera_backup.models.restore import TidyRequest


@workflow.defn(name="GaleraTidy")
class GaleraTidy(Operation):
    """Sleeps until then. The lease of a restore starts it, and it outlives both."""

    @workflow.run
    @operation
    async def run(self, request: TidyRequest) -> None:
        """Wait, hold the cluster, remove, let go. What is gone already is a success."""
        self._progress = progress = ProgressReport("tidy", request.cluster)
        self._lease = lease = LeaseHeld(request, "tidy")
        with progress.told():
            progress.enter("wait", f"the data from before restore {request.restore_id} is kept until {request.until}")
            left = request.until - workflow.now()
            if left > timedelta(0):
                await workflow.sleep(left, summary="the old data is kept")
            progress.enter("lease", "acquiring the cluster's lease")
            await lease.acquire(TIDY_LIMIT * _runner.ATTEMPTS + MARGIN, progress.waiting)
            await lease.guard(self._tidy(request, lease.ref, progress), second_line=_nothing_to_undo)
        progress.end("done")

    async def _tidy(self, request: TidyRequest, lease: LeaseRef, progress: ProgressReport) -> None:
        progress.enter("tidy", f"removing the data from before restore {request.restore_id}")
        seen = await observe(request, "the StatefulSet and its data claims")
        await each(seen.claims, lambda claim: _tidy_claim(claim, request, lease))


async def _tidy_claim(claim: ClaimObservation, request: TidyRequest, lease: LeaseRef) -> None:
    task: RunnerTask[TidyJob] = RunnerTask(
        site=request.site,
        lease=lease,
        fence="lease",
        pod=f"{request.runner_pod_prefix}-{request.restore_id}-kept-{claim.ordinal}",
        job=TidyJob(cluster=request.cluster, only=request.restore_id),
        data_claim=claim.claim,
        replica=names.pod(request.cluster, claim.ordinal),
        timeout=TIDY_LIMIT,
    )
    await _runner.run(task, f"no data from before restore {request.restore_id} on {claim.claim}")


async def _nothing_to_undo() -> None:
    """What is removed is removed."""
