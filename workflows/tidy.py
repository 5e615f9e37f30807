"""GaleraTidy: the data that a finished restore has kept goes when its time is over."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from workflows import _runner
from workflows._failures import operation
from workflows.gather import for_each
from workflows.lease.copies import TIDY_LIMIT
from workflows.observe import observe
from workflows.operation import Operation, Work
from workflows.pods import Pods

with workflow.unsafe.imports_passed_through():
    from galera_backup import names, workflow_types
    from galera_backup.models.cluster import ClaimObservation
    from galera_backup.models.jobs import TidyJob
    from galera_backup.models.restore import TidyRequest

MARGIN = timedelta(minutes=30)
"""What looking may take beside the runner pods, before the lease ends by itself."""


@workflow.defn(name=workflow_types.TIDY.name)
class GaleraTidy(Operation):
    """Sleeps until then. The lease of a restore starts it, and it outlives both."""

    @workflow.run
    @operation
    async def run(self, request: TidyRequest) -> None:
        """Wait, hold the cluster, remove, let go. What is gone already is a success."""
        work = self._begin(request, workflow_types.TIDY)
        with work.progress.shows_end():
            text = f"the data from before restore {request.restore_id} is kept until {request.until}"
            work.progress.enter("wait", text)
            left = request.until - workflow.now()
            if left > timedelta(0):
                await workflow.sleep(left, summary="the previous data is kept")
            ttl = TIDY_LIMIT * _runner.ATTEMPTS + MARGIN
            await work.under_lease(ttl, lambda: self._tidy(request, work))
        work.progress.end("done")

    async def _tidy(self, request: TidyRequest, work: Work) -> None:
        work.enter("tidy", f"removing the data from before restore {request.restore_id}")
        seen = await observe(request, "the StatefulSet and its data claims")
        pods = Pods(request.site, work.lease.ref, request.runner_pod_prefix)
        await for_each(seen.claims, lambda claim: _tidy_claim(claim, request, pods))


async def _tidy_claim(claim: ClaimObservation, request: TidyRequest, pods: Pods) -> None:
    job = TidyJob(cluster=request.cluster, only=request.restore_id)
    replica = names.pod(request.cluster, claim.ordinal)
    task = pods.beside(f"kept-{claim.ordinal}", job, TIDY_LIMIT, claim=claim.claim, replica=replica)
    await _runner.run(task, f"no data from before restore {request.restore_id} on {claim.claim}")
