"""Strategy staged: the outage is a stop, renames and a start. See docs/restore.md, "Staged"."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from temporalio import workflow

from workflows import _runner
from workflows.gather import for_each
from workflows.restore.check import CHECK_LIMIT, SECOND_COPY, approval, check_backup, check_unchanged, inspect_claim
from workflows.restore.cut import Cut
from workflows.restore.ending import MARGIN
from workflows.restore.in_place import REPLICAS_AT_MOST
from workflows.restore.plan import Plan, Restore, Restored, plan_restore
from workflows.restore.proof import Proving

with workflow.unsafe.imports_passed_through():
    from galera_backup.errors import GaleraBackupError, RestoreFailed
    from galera_backup.models.cluster import ClaimObservation
    from galera_backup.models.jobs import StageJob
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.passwords import PasswordReport
    from galera_backup.models.plan import Choice
    from galera_backup.models.reports import RestoreReport
    from galera_backup.models.restore import ClaimRestore, ClaimState, RestoreRequest


def ttl(request: RestoreRequest) -> timedelta:
    """The longest that the lease may be needed: the cluster may be stopped and started once more to go back."""
    people = request.approval_timeout + request.decision_timeout
    one_by_one = request.replicas or REPLICAS_AT_MOST  # where no two pods can use the backup claim at once
    unchanged = CHECK_LIMIT * 2 + request.runner_timeout * one_by_one * _runner.ATTEMPTS
    return unchanged + Cut.limit(request) * 2 + Proving.limit(request) + people + MARGIN


async def run(restore: Restore, cut: Cut) -> Restored:
    """On all claims at once; beside the live data until the stop."""
    proving = Proving(restore)
    plan = await plan_restore(restore)
    plan, manifest = await check_backup(restore, plan, SECOND_COPY, copies=0, proof=proving)
    await approval(restore, plan, manifest, SECOND_COPY)
    await restore.clean_up(plan, "removing what earlier restores left, or kept, on the volumes")
    claims = await _stage(restore, plan, manifest, proving)
    await _verify(restore, plan)
    plan = await check_unchanged(restore, plan)
    await cut.stop(plan)
    kept_despite = await _or_go_back(
        restore,
        plan,
        cut,
        [
            lambda: cut.swap_in(plan),
            lambda: cut.start(plan, ClaimState.RESTORED, may_stop_again=True),
            lambda: proving.prove(plan),
        ],
    )
    return Restored(plan, manifest, claims, proving.proof, kept_despite)


async def _stage(restore: Restore, plan: Plan, manifest: Manifest, proving: Proving) -> list[ClaimRestore]:
    """Phase stage: unpacked and prepared on every data volume. Errors: `NotEnoughSpace`, `BackupDamaged`, ..."""
    text = f"unpacking and preparing {manifest.backup_id} on every volume; the database is up"
    restore.work.enter("stage", text)
    in_turn = plan.seen.in_turn
    staged = await for_each(plan.claims, lambda claim: _stage_claim(restore, plan, manifest, claim), in_turn=in_turn)
    proving.judge_passwords([passwords for _, passwords in staged])
    return [claim for claim, _ in staged]


async def _stage_claim(
    restore: Restore, plan: Plan, manifest: Manifest, claim: ClaimObservation
) -> tuple[ClaimRestore, PasswordReport | None]:
    request = restore.request
    job = StageJob(
        cluster=plan.seen.cluster,
        clone=plan.clone,
        uuid=plan.recipe.uuid,
        backup_id=manifest.backup_id,
        restore_id=plan.restore_id,
        safe_to_bootstrap=claim == plan.claims[0],
        passwords="reset" if request.reset_passwords_from_secrets else "compare",
    )
    task = plan.pods.beside(
        f"stage-{claim.ordinal}",
        job,
        request.runner_timeout,
        claim=claim.claim,
        replica=plan.replica_of(claim),
        accounts=request.secrets,
    )
    ran = await _runner.run(task, f"unpack and prepare {manifest.backup_id} on {claim.claim}")
    staged = ran.report
    report = RestoreReport(
        unpack_seconds=staged.unpack_seconds,
        prepare_seconds=staged.prepare_seconds,
        copy_seconds=0,
        restored_bytes=staged.staged_bytes,
    )
    return ClaimRestore(claim=claim.claim, report=report, runner=ran.log), staged.passwords


async def _verify(restore: Restore, plan: Plan) -> None:
    """Phase verify. A state transfer to a replica removes what is staged in its data directory: `RestoreFailed`."""
    restore.work.enter("verify", "looking again at what is staged; the database is up")
    await for_each(plan.claims, lambda claim: _verify_claim(plan, claim))


async def _verify_claim(plan: Plan, claim: ClaimObservation) -> None:
    summary = f"what is staged on {claim.claim}"
    report = await inspect_claim(plan, claim, "verify", summary)
    if not report.staged_whole:
        raise RestoreFailed(
            f"verifying what is staged on {claim.claim!r}: expected all of it, it is gone or not whole. A state "
            "transfer (SST) to this replica removes it. The cluster was not touched; start the restore again"
        )


async def _or_go_back(
    restore: Restore, plan: Plan, cut: Cut, steps: Sequence[Callable[[], Awaitable[None]]]
) -> str | None:
    """Take the steps. After a failure swap the previous data back, or let a person decide; a retry begins at that step.

    Returns what failed, when a person decided to keep the restored data nevertheless.
    Error: `RestoreFailed`, with what failed and what became of the way back.
    """
    left = list(steps)
    while left:
        try:
            await left[0]()
            left.pop(0)
        except GaleraBackupError as failure:
            choice = await _choose(restore, failure, may_keep=cut.is_formed)
            if choice == "keep":
                return failure.message
            if choice == "rollback":
                raise await cut.failed(failure, cut.go_back(plan)) from failure
    return None


async def _choose(restore: Restore, failure: GaleraBackupError, *, may_keep: bool) -> Choice:
    """Phase decide, where the request asks for it. Without a decision in time: a rollback."""
    request, progress = restore.request, restore.work.progress
    if request.on_failure == "rollback":
        return "rollback"
    progress.note(f"**{failure.type}**: {failure.message}")
    state = "up, on the restored data" if may_keep else "down"
    restore.work.enter("decide", f"the restore failed, the database is {state}: waits for the update decide")
    decision = await restore.questions.decision(may_keep, request.decision_timeout)
    if decision is None:
        return "rollback"
    progress.fact("decision", f"{decision.choice}, by {decision.who}: {decision.why}")
    return decision.choice
