"""Strategy in_place: the document's order, with the old data removed before the first byte is restored."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from workflows import _runner
from workflows._outage import CHECK_LIMIT, MARGIN
from workflows._restoring import REPLICAS_AT_MOST, Restoring

with workflow.unsafe.imports_passed_through():
    from galera_backup.models.cluster import ClaimObservation, ClusterObservation
    from galera_backup.models.jobs import CheckReport, RestoreJob
    from galera_backup.models.lease import LeaseEvent, StopOrder
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.restore import ClaimRestore, ClaimState, RestoreResult
    from galera_backup.rules.claims import serves_meanwhile
    from galera_backup.rules.space import lacking_space, lacking_unpack_space


class InPlace(Restoring):
    """One claim after the other, all in the outage."""

    _WAY_OUT = "make room, or enlarge the claims"

    def ttl(self) -> timedelta:
        """The longest that the lease may be needed."""
        request = self._request
        runners = request.runner_timeout * (request.replicas or REPLICAS_AT_MOST) * _runner.ATTEMPTS
        outage = request.stop_timeout + runners + request.ready_timeout
        return CHECK_LIMIT + request.approval_timeout + outage + MARGIN

    async def run(self) -> RestoreResult:
        """Plan, check, stop, restore each claim in turn, start."""
        seen, order = await self._plan()
        manifest = await self._check(seen)
        await self._check_plan(seen)
        await self._stop(order)
        claims = [await self._restore(claim, manifest, len(seen.claims)) for claim in seen.claims]
        started = await self._start_all(seen)
        return await self._result(manifest, order, claims, started.seconds)

    async def _result(
        self, manifest: Manifest, order: StopOrder, claims: list[ClaimRestore], outage_seconds: float
    ) -> RestoreResult:
        if self._clone is not None:
            await self._prove(manifest, order.replicas)
        return RestoreResult(
            restore_id=self._restore_id,
            manifest=manifest,
            claims=tuple(claims),
            replicas=order.replicas,
            phases=(),
            outage_seconds=outage_seconds,
            clone=self._clone,
            approved_by=self._approved_by,
        )

    async def _start_all(self, seen: ClusterObservation) -> LeaseEvent:
        self._enter("start", f"scaling {seen.cluster} back, until all replicas are Ready and in one cluster")
        return await self._start(seen.claims, ClaimState.RESTORED)

    def _lacking(self, report: CheckReport, data_kb: int, claim: str) -> str | None:
        return lacking_space(report, data_kb, claim)

    def _lacking_on_backup_volume(self, report: CheckReport, data_kb: int) -> str | None:
        return lacking_unpack_space(report, data_kb, self._request.backup_claim)

    async def _restore(self, claim: ClaimObservation, manifest: Manifest, claims: int) -> ClaimRestore:
        request, first = self._request, claim.ordinal == 0
        what = "unpack, prepare and restore" if first else "restore"
        self._enter(f"restore-{claim.ordinal}", f"{what} {manifest.backup_id} to {claim.claim}")
        job = RestoreJob(
            cluster=request.cluster,
            clone=self._clone,
            backup_id=manifest.backup_id,
            restore_id=self._restore_id,
            ordinal=claim.ordinal,
            last=claim.ordinal == claims - 1,
            safe_to_bootstrap=first,
            while_serving=serves_meanwhile(request.strategy, claim.ordinal),
        )
        task = self._stopped_task(str(claim.ordinal), job, claim, request.runner_timeout)
        ran = await _runner.run(task, f"{what} {claim.claim}")
        return ClaimRestore(claim=claim.claim, report=ran.report, runner=ran.log)
