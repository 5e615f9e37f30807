"""Strategy rolling: in place, but unpacked before the outage, which ends when the first replica serves."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from workflows import _runner
from workflows._in_place import InPlace
from workflows._runner import JobT

with workflow.unsafe.imports_passed_through():
    from galera_backup.models.activities import RunnerTask
    from galera_backup.models.cluster import ClaimObservation
    from galera_backup.models.jobs import UnpackJob, UnpackReport
    from galera_backup.models.lease import StartOrder
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.restore import ClaimReport, ClaimState, RestoreResult


class Rolling(InPlace):
    """The first claim in the outage, the others while its replica serves."""

    def ttl(self) -> timedelta:
        """The longest that the lease may be needed: as in place, with one more pod and one more start."""
        request = self._request
        return super().ttl() + request.runner_timeout * _runner.ATTEMPTS + request.ready_timeout

    async def run(self) -> RestoreResult:
        """Plan, check and unpack while the database is up; stop, restore and start the first; then the others."""
        seen, order = await self._plan()
        manifest = await self._check(seen)
        self._enter("tidy", "removing what earlier restores left on the backup volume")
        await self._lease.order("stage", order)
        unpacked = await self._unpack(seen.claims[0], manifest)
        await self._check_plan(seen)
        await self._stop(order)
        first, *others = seen.claims
        restored = [await self._restore(first, manifest, len(seen.claims))]
        outage_seconds = await self._start_first(first) if others else None
        restored += [await self._restore(claim, manifest, len(seen.claims)) for claim in others]
        started = await self._start_all(seen)
        in_all = {"unpack_seconds": unpacked.unpack_seconds, "prepare_seconds": unpacked.prepare_seconds}
        restored[0] = restored[0].model_copy(update={"report": restored[0].report.model_copy(update=in_all)})
        outage_seconds = started.seconds if outage_seconds is None else outage_seconds
        return await self._result(manifest, order, restored, outage_seconds)

    async def _unpack(self, claim: ClaimObservation, manifest: Manifest) -> UnpackReport:
        request = self._request
        self._enter("unpack", f"unpacking and preparing {manifest.backup_id} on the backup volume; the database is up")
        job = UnpackJob(
            cluster=request.cluster,
            clone=self._clone,
            backup_id=manifest.backup_id,
            restore_id=self._restore_id,
        )
        task = self._stopped_task("unpack", job, claim, request.runner_timeout).model_copy(
            update={"fence": "lease", "data_claim": None}
        )
        return (await _runner.run(task, f"unpack and prepare {manifest.backup_id}")).report

    async def _start_first(self, first: ClaimObservation) -> float:
        """Answers how long the database was down, in seconds."""
        self._enter("start-first", "scaling to the first replica alone, which serves while the others are restored")
        restored = ClaimReport(claim=first.claim, ordinal=first.ordinal, state=ClaimState.RESTORED)
        started = await self._lease.order("start", StartOrder(claims=(restored,), first_alone=True))
        return started.seconds

    def _stopped_task(self, name: str, job: JobT, claim: ClaimObservation, timeout: timedelta) -> RunnerTask[JobT]:
        """The replicas below this one may serve."""
        task = super()._stopped_task(name, job, claim, timeout)
        return task.model_copy(update={"stopped_from": claim.ordinal})
