"""Strategy staged: the backup is made ready beside the live data; the outage is a stop, renames and a start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows import _runner
from workflows._failures import typed
from workflows._holder import LeaseHeld
from workflows._progress import ProgressReport
from workflows._prove import Proving
from workflows._restoring import CHECK_LIMIT, MARGIN, Restoring

with workflow.unsafe.imports_passed_through():
    from galera_backup import rules
    from galera_backup.errors import GaleraBackupError, InternalError, RestoreFailed
    from galera_backup.models.cluster import ClaimObservation, ClusterObservation
    from galera_backup.models.lease import LeaseEvent, StartOrder, StopOrder
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.passwords import PasswordReport
    from galera_backup.models.proof import Proof
    from galera_backup.models.restore import ClaimReport, ClaimRestore, ClaimState, RestoreRequest, RestoreResult
    from galera_backup.models.runner import CheckJob, CheckReport, RestoreReport, StageJob, SwapJob

T = TypeVar("T")

SWAP_LIMIT = timedelta(minutes=30)
"""For some renames; most of it is for a node that has to attach a volume."""


class Staged(Restoring):
    """All claims beside each other."""

    _WAY_OUT = (
        "make room, or set 'strategy' to 'in_place', which needs no room for a second copy: it removes the old data "
        "first, and its outage grows with the database"
    )

    def __init__(self, request: RestoreRequest, lease: LeaseHeld, progress: ProgressReport) -> None:
        super().__init__(request, lease, progress)
        self._proving = Proving(request, progress)

    @staticmethod
    def ttl(request: RestoreRequest) -> timedelta:
        """The longest that the lease may be needed: the cluster may be stopped and started once more to go back."""
        outage = request.stop_timeout + SWAP_LIMIT * _runner.ATTEMPTS + request.ready_timeout
        unchanged = CHECK_LIMIT * 2 + request.runner_timeout * _runner.ATTEMPTS
        return unchanged + outage * 2 + Proving.limit(request) + MARGIN

    async def run(self) -> RestoreResult:
        """Plan, check, stage and verify while the database is up; stop, swap, start; back again if that fails."""
        seen, order = await self._plan()
        self._enter("tidy", "removing what earlier restores left on the volumes")
        await self._lease.order("stage", order)
        manifest = await self._check(seen, self._proving.try_out)
        claims = await self._stage(seen, manifest)
        await self._verify(seen)
        await self._stop(order)
        try:
            outage_seconds, proof = await self._cut(seen, manifest)
        except (GaleraBackupError, ActivityError) as error:
            if is_cancelled_exception(error):
                raise
            await self._go_back(seen, order)
            failure = typed(error) if isinstance(error, ActivityError) else error
            raise RestoreFailed(f"{failure.message}. The old data was put back") from error
        return RestoreResult(
            manifest=manifest,
            claims=tuple(claims),
            replicas=order.replicas,
            phases=(),
            outage_seconds=outage_seconds,
            proof=proof,
        )

    # --- while the database is up

    def _lacking(self, report: CheckReport, data_kb: int, claim: str) -> str | None:
        return rules.lacking_staging_space(report, data_kb, claim)

    def _lacking_on_backup_volume(self, report: CheckReport, data_kb: int) -> str | None:
        return None

    async def _stage(self, seen: ClusterObservation, manifest: Manifest) -> list[ClaimRestore]:
        self._enter("stage", f"unpacking and preparing {manifest.backup_id} on every volume; the database is up")
        staged = await _each(seen.claims, lambda claim: self._stage_claim(claim, seen, manifest))
        self._proving.judge_passwords([passwords for _, passwords in staged])
        return [claim for claim, _ in staged]

    async def _stage_claim(
        self, claim: ClaimObservation, seen: ClusterObservation, manifest: Manifest
    ) -> tuple[ClaimRestore, PasswordReport | None]:
        job = StageJob(
            cluster=self._request.cluster,
            backup_id=manifest.backup_id,
            restore_id=self._restore_id,
            safe_to_bootstrap=claim.ordinal == 0,
            passwords="reset" if self._request.reset_passwords_from_secrets else "compare",
        )
        task = self._task(f"stage-{claim.ordinal}", job, claim, seen, self._request.runner_timeout)
        task = task.model_copy(update={"accounts": self._request.secrets})
        outcome = await _runner.run(task, f"unpack and prepare {manifest.backup_id} on {claim.claim}")
        staged = outcome.result.stage
        if staged is None:
            raise InternalError(f"runner pod {outcome.log.pod!r} answered without a report")
        report = RestoreReport(
            unpack_seconds=staged.unpack_seconds,
            prepare_seconds=staged.prepare_seconds,
            copy_seconds=0,
            restored_bytes=staged.staged_bytes,
        )
        return ClaimRestore(claim=claim.claim, report=report, runner=outcome.log), staged.passwords

    async def _verify(self, seen: ClusterObservation) -> None:
        """A state transfer to a replica removes what is staged in its data directory."""
        self._enter("verify", "looking at what is staged once more; the database is up")
        await _each(seen.claims, lambda claim: self._verify_claim(claim, seen))

    async def _verify_claim(self, claim: ClaimObservation, seen: ClusterObservation) -> None:
        job = CheckJob(cluster=self._request.cluster, restore_id=self._restore_id)
        task = self._task(f"verify-{claim.ordinal}", job, claim, seen, CHECK_LIMIT)
        outcome = await _runner.run(task, f"what is staged on {claim.claim}")
        if outcome.result.check is None or not outcome.result.check.staged_whole:
            raise RestoreFailed(
                f"verifying what is staged on {claim.claim!r}: expected all of it, it is gone or not whole. A state "
                "transfer (SST) to this replica removes it. The cluster was not touched; start the restore again"
            )

    # --- the outage

    async def _cut(self, seen: ClusterObservation, manifest: Manifest) -> tuple[float, Proof]:
        """Answers how long the database was down, in seconds, and what proves it now."""
        self._enter("swap", "renaming the old data out and the restored data in")
        await self._swap(seen, "in")
        self._enter("start", f"scaling {seen.cluster} back, until all replicas are Ready and in one cluster")
        started = await self._try_to_start(seen, ClaimState.RESTORED)
        self._enter("prove", "looking whether the cluster is the restored one")
        wrong = rules.not_restored(await self._observe(), manifest.position)
        if wrong is not None:
            raise RestoreFailed(wrong)
        return started.seconds, await self._proving.prove()

    async def _go_back(self, seen: ClusterObservation, order: StopOrder) -> None:
        """The same renames the other way round, and the cluster on its old data."""
        self._enter("back", "renaming the old data back")
        if not self._is_stopped:
            await self._stop(order)
        await self._swap(seen, "back")
        self._enter("start-old", f"scaling {seen.cluster} back on its old data")
        await self._try_to_start(seen, ClaimState.UNTOUCHED)

    async def _try_to_start(self, seen: ClusterObservation, state: ClaimState) -> LeaseEvent:
        claims = tuple(ClaimReport(claim=claim.claim, ordinal=claim.ordinal, state=state) for claim in seen.claims)
        self._started_on, self._is_stopped = claims, False
        return await self._lease.order("start", StartOrder(claims=claims, may_stop_again=True))

    async def _swap(self, seen: ClusterObservation, direction: str) -> None:
        await _each(seen.claims, lambda claim: self._swap_claim(claim, direction))

    async def _swap_claim(self, claim: ClaimObservation, direction: str) -> None:
        job = SwapJob.model_validate(
            {"cluster": self._request.cluster, "restore_id": self._restore_id, "direction": direction}
        )
        what = (
            f"rename the restored data in on {claim.claim}"
            if direction == "in"
            else f"rename the old data back on {claim.claim}"
        )
        await _runner.run(self._stopped_task(f"{direction}-{claim.ordinal}", job, claim, SWAP_LIMIT), what)


async def _each(
    claims: Sequence[ClaimObservation], work: Callable[[ClaimObservation], Coroutine[Any, Any, T]]
) -> list[T]:
    """For all claims at once. After the first failure, or a cancel, the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(work(claim)) for claim in claims]
    try:
        await workflow.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    except asyncio.CancelledError:
        await _stop(tasks)
        raise
    await _stop(tasks)
    failed = [task for task in tasks if not task.cancelled() and task.exception() is not None]
    first = next((task for task in failed if not is_cancelled_exception(task.exception() or Exception())), None)
    if first is not None:
        first.result()
    return [task.result() for task in tasks]


async def _stop(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await workflow.wait(tasks)
