"""Ways through a backup and a catalog."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from galera_backup.errors import DatabaseRefused
from galera_backup.models.catalog import CatalogRequest
from tests.fakes.faults import ALWAYS, Fault
from tests.fakes.stage import Handle, Stage
from tests.fakes.world import RunnerPlan, World
from tests.replay.branch import Branches, backup_in_run, ended
from tests.support.eventually import assert_eventually

branch = Branches()


@branch
async def backup_ok(stage: Stage, world: World) -> Handle:
    return await ended(await stage.backup(world))


@branch
async def backup_of_the_primary(stage: Stage, world: World) -> Handle:
    return await ended(await stage.backup(world, replica=0))


@branch
async def backup_of_an_unhealthy_cluster(stage: Stage, world: World) -> Handle:
    world.member(1).up = False
    return await ended(await stage.backup(world))


@branch
async def backup_failed_at_desync(stage: Stage, world: World) -> Handle:
    world.faults.add(Fault("set_desync", "desync", before=DatabaseRefused("MariaDB error 1227"), times=ALWAYS))
    return await ended(await stage.backup(world))


@branch
async def backup_with_a_second_runner(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("backup", end="killed"))
    return await ended(await stage.backup(world))


@branch
async def backup_cancelled_in_run(stage: Stage, world: World) -> Handle:
    handle = await backup_in_run(stage, world)
    await handle.cancel()
    return await ended(handle)


@branch
async def backup_terminated_in_run(stage: Stage, world: World) -> Handle:
    handle = await backup_in_run(stage, world)
    await handle.terminate("recording")
    return await ended(handle)


@branch
async def backup_busy(stage: Stage, world: World) -> Handle:
    first = await backup_in_run(stage, world)
    refused = await ended(await stage.backup(world))
    world.let_go()
    await ended(first)
    return refused


@branch
async def backup_that_waited(stage: Stage, world: World) -> Handle:
    first = await backup_in_run(stage, world)
    second = await stage.backup(world, wait_for_cluster=timedelta(minutes=1))
    await asyncio.sleep(1)
    world.let_go()
    await ended(first)
    return await ended(second)


@branch
async def backup_with_on_that_lands_late(stage: Stage, world: World) -> Handle:
    world.member(2).blocked_until = time.monotonic() + 20  # all branches at once, on a busy machine
    handle = await stage.backup(world)
    await assert_eventually(lambda: any("blocked" in event for event in world.look().events))
    await handle.cancel()
    return await ended(handle)


@branch
async def backup_with_its_lease_cancelled(stage: Stage, world: World) -> Handle:
    handle = await backup_in_run(stage, world)
    await stage.lease(world).cancel()
    return await ended(handle)


@branch
async def backup_with_its_lease_terminated(stage: Stage, world: World) -> Handle:
    handle = await backup_in_run(stage, world)
    await stage.lease(world).terminate("recording")
    return await ended(handle)


@branch
async def backup_given_up_because_the_cluster_degraded(stage: Stage, world: World) -> Handle:
    handle = await backup_in_run(stage, world)
    world.member(1).up = False
    return await ended(handle)


@branch
async def catalog(stage: Stage, world: World) -> Handle:
    return await ended(await stage.start("GaleraCatalog", CatalogRequest(cluster=world.cluster)))
