"""Ways through a janitor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from galera_backup.errors import DatabaseRefused, DatabaseUnavailable
from galera_backup.models.common import LeaseRef
from galera_backup.models.mark import Mark, StartRecipe
from galera_backup.models.site import Site
from tests.fakes.faults import ALWAYS, Fault, Gate
from tests.fakes.stage import BACKUP_ID, Handle, Stage
from tests.fakes.world import RunnerPlan, World
from tests.replay.branch import Branches, abandoned, backup_in_run, ended, working
from tests.support.eventually import assert_eventually

branch = Branches()


async def abandoned_backup(stage: Stage, world: World) -> None:
    """Its lease and itself were terminated while the runner worked; the runner is still there."""
    await abandoned(stage, world, await backup_in_run(stage, world, replica=0))


async def abandoned_restore(stage: Stage, world: World, ordinal: int) -> None:
    """Its lease and itself were terminated while one claim was restored."""
    world.plan(RunnerPlan("restore", ordinal=ordinal, held=True))
    handle = await stage.restore(world)
    await working(world, "restore", ordinal + 1)
    await abandoned(stage, world, handle)
    await assert_eventually(lambda: not list(world.look().present_runners()))


@branch
async def janitor_in_order(stage: Stage, world: World) -> Handle:
    return await ended(await stage.janitor(world))


@branch
async def janitor_of_a_backup(stage: Stage, world: World) -> Handle:
    await abandoned_backup(stage, world)
    return await ended(await stage.janitor(world))


@branch
async def janitor_of_a_held_cluster(stage: Stage, world: World) -> Handle:
    backup = await backup_in_run(stage, world)
    handle = await ended(await stage.janitor(world))
    world.let_go()
    await ended(backup)
    return handle


@branch
async def janitor_that_came_second(stage: Stage, world: World) -> Handle:
    await abandoned_backup(stage, world)
    world.faults.add(Fault("set_desync", "resync", before=DatabaseUnavailable("MariaDB error 2013"), times=3))
    handles = [await stage.janitor(world) for _ in range(2)]
    results = [await handle.result() for handle in handles]
    return handles[0] if results[0].busy else handles[1]


@branch
async def janitor_of_a_restore(stage: Stage, world: World) -> Handle:
    recipe = StartRecipe(
        site=Site(cluster=world.cluster, primary_label=None),
        backup_id=BACKUP_ID,
        replicas_before=3,
        replicas=3,
        restore_id="20261122t020000z",
        claims=tuple(world.claims),
        runner_pod_prefix="restore",
        primary_pod=None,
        runner_timeout=timedelta(minutes=1),
        ready_timeout=timedelta(minutes=1),
    )
    lease = LeaseRef(workflow_id="lost", run_id="6c1ff9a5-9d1a-4c4d-9c7b-9b1f0f4a3f55")
    mark = Mark(lease=lease, owner="lost", until=datetime.now(UTC), undo=recipe)
    with world.lock:
        world.scale(world.statefulset_facts("mariadb"), 0, mark)
    return await ended(await stage.janitor(world))


@branch
async def janitor_of_a_mixture(stage: Stage, world: World) -> Handle:
    await abandoned_restore(stage, world, 1)
    return await ended(await stage.janitor(world))


@branch
async def janitor_of_a_staged_restore(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("swap", held=True, times=1))
    handle = await stage.restore(world, strategy="staged")
    await working(world, "swap", 3)
    await abandoned(stage, world, handle)
    await assert_eventually(lambda: not any(pod.working for pod in world.look().present_runners()))
    return await ended(await stage.janitor(world))


@branch
async def janitor_that_took_too_long(stage: Stage, world: World) -> Handle:
    await abandoned_backup(stage, world)
    world.faults.add(Fault("set_desync", "resync", before=DatabaseRefused("MariaDB error 1227"), times=ALWAYS))
    short = timedelta(seconds=2)
    return await ended(await stage.janitor(world, drain_timeout=short, step_timeout=short))


@branch
async def janitor_cancelled(stage: Stage, world: World) -> Handle:
    await abandoned_backup(stage, world)
    gate = Gate()
    world.faults.add(Fault("set_desync", "resync", gate=gate))
    handle = await stage.janitor(world)
    await assert_eventually(gate.entered.is_set)
    await handle.cancel()
    gate.open()
    return await ended(handle)
