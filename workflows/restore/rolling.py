"""Strategy rolling: the outage ends when the first replica serves on restored data. See docs/restore.md, "Rolling"."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from workflows import _runner
from workflows.restore import in_place
from workflows.restore.check import UNPACKED, approval, check_backup, check_unchanged
from workflows.restore.claims import restore_claim, restore_first_claim
from workflows.restore.cut import Cut
from workflows.restore.plan import Plan, Restore, Restored, plan_restore
from workflows.restore.proof import Proving, prove_identity

with workflow.unsafe.imports_passed_through():
    from galera_backup.models.jobs import UnpackJob
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.reports import UnpackReport
    from galera_backup.models.restore import ClaimRestore, ClaimState, RestoreRequest


def ttl(request: RestoreRequest) -> timedelta:
    """The longest that the lease may be needed: as in place, with one more pod and one more start."""
    return in_place.ttl(request) + request.runner_timeout * _runner.ATTEMPTS + request.ready_timeout


async def run(restore: Restore, cut: Cut) -> Restored:
    """The first claim in the outage, the others while its replica serves."""
    plan = await plan_restore(restore)
    plan, manifest = await check_backup(restore, plan, UNPACKED, copies=1)
    await approval(restore, plan, manifest, UNPACKED)
    await restore.clean_up(plan, "removing what earlier restores left on the backup volume")
    unpacked = await _unpack(restore, plan, manifest)
    plan = await check_unchanged(restore, plan)
    await cut.stop(plan)
    claims = [_with(unpacked, await restore_first_claim(restore, plan, manifest, cut))]
    others = plan.claims[1:]
    if others:
        await cut.start_first(plan)
    claims += [await restore_claim(restore, plan, manifest, claim, while_serving=True) for claim in others]
    await cut.start(plan, ClaimState.RESTORED)
    await prove_identity(restore, plan)
    return Restored(plan, manifest, claims)


async def _unpack(restore: Restore, plan: Plan, manifest: Manifest) -> UnpackReport:
    """Phase unpack; a backup with other passwords than the Secrets ends here.

    Errors: `NotEnoughSpace`, `BackupDamaged`, `RestoreFailed`.
    """
    what = f"unpacking and preparing {manifest.backup_id}"
    restore.work.enter("unpack", f"{what} on the backup volume; the database is up")
    job = UnpackJob(
        cluster=plan.seen.cluster,
        clone=plan.clone,
        uuid=plan.recipe.uuid,
        backup_id=manifest.backup_id,
        restore_id=plan.restore_id,
    )
    task = plan.pods.on_backup_volume("unpack", job, restore.request.runner_timeout, restore.request.secrets)
    unpacked = (await _runner.run(task, f"unpack and prepare {manifest.backup_id}")).report
    Proving(restore).judge_passwords([unpacked.passwords])
    return unpacked


def _with(unpacked: UnpackReport, claim: ClaimRestore) -> ClaimRestore:
    """The first claim's pod found the backup unpacked: its report says how long that took."""
    seconds = {"unpack_seconds": unpacked.unpack_seconds, "prepare_seconds": unpacked.prepare_seconds}
    return claim.model_copy(update={"report": claim.report.model_copy(update=seconds)})
