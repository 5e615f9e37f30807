"""The old data of a claim is removed, and the backup written."""

from __future__ import annotations

from temporalio import workflow

from workflows import _runner
from workflows.restore.cut import Cut
from workflows.restore.plan import Plan, Restore

with workflow.unsafe.imports_passed_through():
    from galera_backup.errors import GaleraBackupError
    from galera_backup.models.cluster import ClaimObservation
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.restore import ClaimRestore
    from galera_backup.rules.claims import restore_job


async def restore_first_claim(restore: Restore, plan: Plan, manifest: Manifest, cut: Cut) -> ClaimRestore:
    """The first claim. When its pod never ran, the cluster starts again as it was. Error: `RestoreFailed`."""
    try:
        return await restore_claim(restore, plan, manifest, plan.claims[0])
    except GaleraBackupError as failure:
        if failure.type != "RunnerNotStarted":
            raise
        raise await cut.failed(failure, cut.start_untouched(plan)) from failure


async def restore_claim(
    restore: Restore, plan: Plan, manifest: Manifest, claim: ClaimObservation, *, while_serving: bool = False
) -> ClaimRestore:
    """Phase restore-<ordinal>. The first unpacks and prepares what is not prepared yet. Error: `RestoreFailed`.

    `while_serving`: replicas of lower ordinals serve.
    """
    what = "unpack, prepare and restore" if claim == plan.claims[0] else "restore"
    restore.work.enter(f"restore-{claim.ordinal}", f"{what} {manifest.backup_id} to {claim.claim}")
    job = restore_job(plan.recipe, claim.ordinal, while_serving=while_serving)
    first_stopped, begins = claim.ordinal if while_serving else 0, claim == plan.claims[0]
    limit = restore.request.runner_timeout
    task = plan.pods.stopped(str(claim.ordinal), job, limit, claim=claim.claim, first=first_stopped, begins=begins)
    ran = await _runner.run(task, f"{what} {claim.claim}")
    return ClaimRestore(claim=claim.claim, report=ran.report, runner=ran.log)
