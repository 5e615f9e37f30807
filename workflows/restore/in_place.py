"""Strategy in_place: the old data is removed before the first byte is restored. See docs/restore.md, "In place"."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from workflows import _runner
from workflows.restore.check import CHECK_LIMIT, UNPACKED, approval, check_backup, check_unchanged
from workflows.restore.claims import restore_claim, restore_first_claim
from workflows.restore.cut import Cut
from workflows.restore.ending import MARGIN
from workflows.restore.plan import Restore, Restored, plan_restore
from workflows.restore.proof import prove_identity

with workflow.unsafe.imports_passed_through():
    from galera_backup.models.restore import ClaimState, RestoreRequest
    from galera_backup.rules.plan import UNPACK_AND_PREPARE

REPLICAS_AT_MOST = 9
"""For the lease's time to live, which is decided before the cluster is looked at."""


def ttl(request: RestoreRequest) -> timedelta:
    """The longest that the lease may be needed."""
    runners = request.runner_timeout * (request.replicas or REPLICAS_AT_MOST) * _runner.ATTEMPTS
    outage = request.stop_timeout + runners + request.ready_timeout
    return CHECK_LIMIT + request.approval_timeout + outage + MARGIN


async def run(restore: Restore, cut: Cut) -> Restored:
    """One claim after the other, all in the outage."""
    plan = await plan_restore(restore)
    plan, manifest = await check_backup(restore, plan, UNPACKED, copies=UNPACK_AND_PREPARE + len(plan.claims))
    await approval(restore, plan, manifest, UNPACKED)
    plan = await check_unchanged(restore, plan)
    await cut.stop(plan)
    claims = [await restore_first_claim(restore, plan, manifest, cut)]
    claims += [await restore_claim(restore, plan, manifest, claim) for claim in plan.claims[1:]]
    await cut.start(plan, ClaimState.RESTORED)
    await prove_identity(restore, plan)
    return Restored(plan, manifest, claims)
