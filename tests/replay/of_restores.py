"""Ways through a restore, a rollback and a tidy."""

from __future__ import annotations

from datetime import timedelta

from temporalio.client import WorkflowUpdateFailedError

from galera_backup import names
from galera_backup.models.plan import Answer, Decision
from tests.fakes.stage import BACKUP_ID, Handle, Stage
from tests.fakes.world import RunnerPlan, World
from tests.replay.branch import Branches, ended, working
from tests.support.eventually import assert_eventually

branch = Branches()


@branch
async def restore_ok(stage: Stage, world: World) -> Handle:
    return await ended(await stage.restore(world))


@branch
async def restore_refused_before_the_outage(stage: Stage, world: World) -> Handle:
    world.volume.free_kb = 10
    return await ended(await stage.restore(world))


@branch
async def restore_failed_on_untouched_claims(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("restore", ordinal=0, end="fails early", error="BackupDamaged"))
    return await ended(await stage.restore(world))


@branch
async def restore_failed_on_mixed_claims(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("restore", ordinal=1, end="fails", error="RestoreFailed", times=2))
    return await ended(await stage.restore(world))


@branch
async def restore_with_its_lease_terminated(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("restore", ordinal=0, held=True))
    handle = await stage.restore(world)
    await working(world, "restore")
    await stage.lease(world).terminate("recording")
    return await ended(handle)


@branch
async def restore_rolling(stage: Stage, world: World) -> Handle:
    return await ended(await stage.restore(world, strategy="rolling"))


@branch
async def restore_rolling_cancelled_while_the_first_serves(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("restore", ordinal=1, held=True))
    handle = await stage.restore(world, strategy="rolling")
    await working(world, "restore", count=2)
    await handle.cancel()
    return await ended(handle)


@branch
async def restore_staged(stage: Stage, world: World) -> Handle:
    return await ended(await stage.restore(world, strategy="staged"))


@branch
async def restore_staged_and_gone_back(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("swap", ordinal=1, end="fails", error="RestoreFailed", times=2))
    return await ended(await stage.restore(world, strategy="staged"))


@branch
async def restore_staged_that_does_not_form(stage: Stage, world: World) -> Handle:
    world.never_ready_on = {BACKUP_ID}
    return await ended(await stage.restore(world, strategy="staged", ready_timeout=timedelta(seconds=10)))


@branch
async def restore_staged_cancelled_while_it_stages(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("stage", held=True, times=3))
    handle = await stage.restore(world, strategy="staged")
    await working(world, "stage")
    await handle.cancel()
    return await ended(handle)


@branch
async def restore_staged_with_its_lease_terminated(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("swap", held=True, times=3))
    handle = await stage.restore(world, strategy="staged")
    await working(world, "swap")
    await stage.lease(world).terminate("recording")
    return await ended(handle)


@branch
async def restore_approved(stage: Stage, world: World) -> Handle:
    handle = await stage.restore(world, strategy="staged", require_approval=True)
    await told(handle, "approve", Answer(who="ada", why="announced"))
    return await ended(handle)


@branch
async def restore_rejected(stage: Stage, world: World) -> Handle:
    handle = await stage.restore(world, require_approval=True)
    await told(handle, "reject", Answer(who="ada", why="not today"))
    return await ended(handle)


@branch
async def restore_that_asked_and_went_on(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("swap", ordinal=1, end="fails", error="RestoreFailed", times=2))
    handle = await stage.restore(world, strategy="staged", on_failure="ask")
    await told(handle, "decide", Decision(who="ada", why="mended", choice="retry"))
    return await ended(handle)


async def told(handle: Handle, update: str, answer: Answer) -> None:
    """As soon as it asks."""

    async def is_heard() -> bool:
        try:
            await handle.execute_update(update, answer)
        except WorkflowUpdateFailedError:
            return False
        return True

    await assert_eventually(is_heard)


@branch
async def rollback(stage: Stage, world: World) -> Handle:
    restore = await (await stage.restore(world, strategy="staged", keep_previous_for=3600)).result()
    return await ended(await stage.rollback(world, restore.restore_id))


@branch
async def rollback_that_fails(stage: Stage, world: World) -> Handle:
    restore = await (await stage.restore(world, strategy="staged", keep_previous_for=3600)).result()
    world.plan(RunnerPlan("swap", ordinal=1, end="fails", error="RestoreFailed", times=2))
    return await ended(await stage.rollback(world, restore.restore_id))


@branch
async def tidy(stage: Stage, world: World) -> Handle:
    restore = await (await stage.restore(world, strategy="staged", keep_previous_for=1)).result()
    return await ended(stage.client.get_workflow_handle(names.tidy_id(world.cluster, restore.restore_id)))
