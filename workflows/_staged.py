"""Strategy staged: the backup is made ready beside the live data; the outage is a stop, renames and a start."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from workflows import _runner
from workflows._outage import CHECK_LIMIT, MARGIN, SWAP_LIMIT, each
from workflows._progress import ProgressReport
from workflows._prove import Proving
from workflows._questions import Questions
from workflows._restoring import Restoring
from workflows.lease.held import LeaseHeld

with workflow.unsafe.imports_passed_through():
    from galera_backup.errors import GaleraBackupError, RestoreFailed
    from galera_backup.models.cluster import ClaimObservation, ClusterObservation
    from galera_backup.models.jobs import CheckJob, CheckReport, RestoreReport, StageJob
    from galera_backup.models.lease import StopOrder
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.passwords import PasswordReport
    from galera_backup.models.plan import Choice
    from galera_backup.models.proof import Proof
    from galera_backup.models.restore import ClaimRestore, ClaimState, RestoreRequest, RestoreResult
    from galera_backup.rules.space import lacking_staging_space


class Staged(Restoring):
    """All claims beside each other."""

    _WAY_OUT = (
        "make room, or set 'strategy' to 'rolling', which needs none for a second copy there: it unpacks on the backup "
        "volume, removes the old data, and its outage ends when the first replica is written; or to 'in_place'"
    )

    def __init__(
        self, request: RestoreRequest, lease: LeaseHeld, progress: ProgressReport, questions: Questions
    ) -> None:
        super().__init__(request, lease, progress, questions)
        self._is_swapped = self._is_formed = False
        self._outage_seconds = 0.0
        self._proving = Proving(request, progress)
        self._proof: Proof | None = None

    def ttl(self) -> timedelta:
        """The longest that the lease may be needed: the cluster may be stopped and started once more to go back."""
        request = self._request
        outage = request.stop_timeout + SWAP_LIMIT * _runner.ATTEMPTS + request.ready_timeout
        people = request.approval_timeout + request.decision_timeout
        unchanged = CHECK_LIMIT * 2 + request.runner_timeout * _runner.ATTEMPTS
        return unchanged + outage * 2 + Proving.limit(request) + people + MARGIN

    async def run(self) -> RestoreResult:
        """Plan, check, stage and verify while the database is up; stop, swap, start; back again if that fails."""
        seen, order = await self._plan()
        manifest = await self._check(seen, self._proving.try_out)
        self._enter("tidy", "removing what earlier restores left, or kept, on the volumes")
        await self._lease.order("stage", order)
        claims = await self._stage(seen, manifest)
        await self._verify(seen)
        await self._check_plan(seen)
        await self._stop(order)
        kept_despite = await self._cut_or_go_back(seen, order, manifest)
        return RestoreResult(
            restore_id=self._restore_id,
            manifest=manifest,
            claims=tuple(claims),
            replicas=order.replicas,
            phases=(),
            outage_seconds=self._outage_seconds,
            clone=self._clone,
            approved_by=self._approved_by,
            kept_despite=kept_despite,
            proof=self._proof,
        )

    # --- while the database is up

    def _lacking(self, report: CheckReport, data_kb: int, claim: str) -> str | None:
        return lacking_staging_space(report, data_kb, claim)

    def _lacking_on_backup_volume(self, report: CheckReport, data_kb: int) -> str | None:
        return None

    async def _stage(self, seen: ClusterObservation, manifest: Manifest) -> list[ClaimRestore]:
        self._enter("stage", f"unpacking and preparing {manifest.backup_id} on every volume; the database is up")
        staged = await each(seen.claims, lambda claim: self._stage_claim(claim, seen, manifest))
        self._proving.judge_passwords([passwords for _, passwords in staged])
        return [claim for claim, _ in staged]

    async def _stage_claim(
        self, claim: ClaimObservation, seen: ClusterObservation, manifest: Manifest
    ) -> tuple[ClaimRestore, PasswordReport | None]:
        job = StageJob(
            cluster=self._request.cluster,
            clone=self._clone,
            backup_id=manifest.backup_id,
            restore_id=self._restore_id,
            safe_to_bootstrap=claim.ordinal == 0,
            passwords="reset" if self._request.reset_passwords_from_secrets else "compare",
        )
        task = self._task(f"stage-{claim.ordinal}", job, claim, seen, self._request.runner_timeout)
        task = task.model_copy(update={"accounts": self._request.secrets})
        ran = await _runner.run(task, f"unpack and prepare {manifest.backup_id} on {claim.claim}")
        staged = ran.report
        report = RestoreReport(
            unpack_seconds=staged.unpack_seconds,
            prepare_seconds=staged.prepare_seconds,
            copy_seconds=0,
            restored_bytes=staged.staged_bytes,
        )
        return ClaimRestore(claim=claim.claim, report=report, runner=ran.log), staged.passwords

    async def _verify(self, seen: ClusterObservation) -> None:
        """A state transfer to a replica removes what is staged in its data directory."""
        self._enter("verify", "looking at what is staged once more; the database is up")
        await each(seen.claims, lambda claim: self._verify_claim(claim, seen))

    async def _verify_claim(self, claim: ClaimObservation, seen: ClusterObservation) -> None:
        job = CheckJob(cluster=self._request.cluster, restore_id=self._restore_id)
        task = self._task(f"verify-{claim.ordinal}", job, claim, seen, CHECK_LIMIT)
        seen_staged = await _runner.run(task, f"what is staged on {claim.claim}")
        if not seen_staged.report.staged_whole:
            raise RestoreFailed(
                f"verifying what is staged on {claim.claim!r}: expected all of it, it is gone or not whole. A state "
                "transfer (SST) to this replica removes it. The cluster was not touched; start the restore again"
            )

    # --- the outage

    async def _cut_or_go_back(self, seen: ClusterObservation, order: StopOrder, manifest: Manifest) -> str | None:
        """What failed, when somebody decided to keep the restored data all the same.

        Error: `RestoreFailed` when the cluster is on its old data again.
        """
        while True:
            try:
                await self._cut(seen, manifest)
                return None
            except GaleraBackupError as failure:
                choice = await self._choose(failure)
                if choice == "keep":
                    return failure.message
                if choice == "rollback":
                    await self._go_back(seen, order)
                    raise RestoreFailed(f"{failure.message}. The old data was put back") from failure

    async def _choose(self, failure: GaleraBackupError) -> Choice:
        if self._request.on_failure == "rollback":
            return "rollback"
        self._progress.note(f"**{failure.type}**: {failure.message}")
        state = "up, on the restored data" if self._is_formed else "down"
        self._enter("decide", f"the restore failed, the database is {state}: waits for the update decide")
        decision = await self._questions.decision(self._is_formed, self._request.decision_timeout)
        if decision is None:
            return "rollback"
        self._progress.fact("decision", f"{decision.choice}, by {decision.who}: {decision.why}")
        return decision.choice

    async def _cut(self, seen: ClusterObservation, manifest: Manifest) -> None:
        """Once more, it goes on from the step that failed."""
        if not self._is_swapped:
            self._enter("swap", "renaming the old data out and the restored data in")
            await self._swap(seen.claims, "in")
            self._is_swapped = True
        if not self._is_formed:
            self._enter("start", f"scaling {seen.cluster} back, until all replicas are Ready and in one cluster")
            started = await self._start(seen.claims, ClaimState.RESTORED, may_stop_again=True)
            self._is_formed, self._outage_seconds = True, started.seconds
        await self._prove(manifest, len(seen.claims))
        self._proof = await self._proving.prove()

    async def _go_back(self, seen: ClusterObservation, order: StopOrder) -> None:
        """The same renames the other way round, and the cluster on its old data."""
        self._enter("back", "renaming the old data back")
        if not self._is_stopped:
            await self._stop(order)
        await self._swap(seen.claims, "back")
        self._enter("start-old", f"scaling {seen.cluster} back on its old data")
        await self._start(seen.claims, ClaimState.UNTOUCHED, may_stop_again=True)
