"""Record the histories that test_replay.py replays: one for each branch of the workflows, made on fakes.

    python -m tests.replay.record

Run it by hand when a release changes what workflows do, and commit the new files under a new folder beside the old
ones: a history of a released version must replay as long as a run of that version may be open. The folder's name is
the argument, by default the version of this package.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError

from galera_backup import __version__, names
from galera_backup.errors import DatabaseRefused, DatabaseUnavailable
from galera_backup.models.catalog import CatalogRequest
from galera_backup.models.common import LeaseRef
from galera_backup.models.mark import Mark, StartRecipe
from galera_backup.models.plan import Answer, Decision
from galera_backup.models.site import Site
from tests.conftest import dev_server, find_temporal_cli
from tests.fakes.faults import ALWAYS, Fault, Gate
from tests.fakes.stage import BACKUP_ID, Handle, Stage, open_stage
from tests.fakes.world import RunnerPlan, World
from tests.support.eventually import assert_eventually

CHECKOUT = Path(__file__).resolve().parents[2]
HISTORIES = Path(__file__).parent / "histories"

Branch = Callable[[Stage, World], Awaitable[Handle]]
BRANCHES: dict[str, Branch] = {}
AT_ONCE = 8
"""More of them begin their first tasks too late on two cores: a task that is late is in the history twice."""


def branch(record: Branch) -> Branch:
    """One way through a workflow; its operation and the last lease of its cluster are recorded."""
    BRANCHES[record.__name__] = record
    return record


async def ended(handle: Handle) -> Handle:
    """However it ends."""
    try:
        await handle.result()
    except WorkflowFailureError:
        return handle
    return handle


async def working(world: World, mode: str, count: int = 1) -> None:
    """So many runner pods have been started."""
    await assert_eventually(lambda: sum(f"started: {mode}" in event for event in world.look().events) >= count)


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
    world.plan(RunnerPlan("backup", held=True))
    handle = await stage.backup(world)
    await working(world, "backup")
    await handle.cancel()
    return await ended(handle)


@branch
async def backup_terminated_in_run(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("backup", held=True))
    handle = await stage.backup(world)
    await working(world, "backup")
    await handle.terminate("recording")
    return await ended(handle)


@branch
async def backup_busy(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("backup", held=True))
    first = await stage.backup(world)
    await working(world, "backup")
    refused = await ended(await stage.backup(world))
    world.let_go()
    await ended(first)
    return refused


@branch
async def backup_that_waited(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("backup", held=True))
    first = await stage.backup(world)
    await working(world, "backup")
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
    world.plan(RunnerPlan("backup", held=True))
    handle = await stage.backup(world)
    await working(world, "backup")
    await stage.lease(world).cancel()
    return await ended(handle)


@branch
async def backup_with_its_lease_terminated(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("backup", held=True))
    handle = await stage.backup(world)
    await working(world, "backup")
    await stage.lease(world).terminate("recording")
    return await ended(handle)


@branch
async def backup_given_up_because_the_cluster_degraded(stage: Stage, world: World) -> Handle:
    world.plan(RunnerPlan("backup", held=True))
    handle = await stage.backup(world)
    await working(world, "backup")
    world.member(1).up = False
    return await ended(handle)


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


async def abandoned_backup(stage: Stage, world: World) -> None:
    """Its lease and itself were terminated while the runner worked; the runner is still there."""
    world.plan(RunnerPlan("backup", held=True))
    handle = await stage.backup(world, replica=0)
    await working(world, "backup")
    await asyncio.gather(stage.lease(world).terminate("recording"), handle.terminate("recording"))


async def abandoned_restore(stage: Stage, world: World, ordinal: int) -> None:
    """Its lease and itself were terminated while one claim was restored."""
    world.plan(RunnerPlan("restore", ordinal=ordinal, held=True))
    handle = await stage.restore(world)
    await working(world, "restore", ordinal + 1)
    await asyncio.gather(stage.lease(world).terminate("recording"), handle.terminate("recording"))
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
    world.plan(RunnerPlan("backup", held=True))
    backup = await stage.backup(world)
    await working(world, "backup")
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
    await asyncio.gather(stage.lease(world).terminate("recording"), handle.terminate("recording"))
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


@branch
async def catalog(stage: Stage, world: World) -> Handle:
    return await ended(await stage.start("GaleraCatalog", CatalogRequest(cluster=world.cluster)))


async def record(folder: Path) -> None:
    """Write the histories of all branches."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    free = asyncio.Semaphore(AT_ONCE)
    async with dev_server(find_temporal_cli()) as environment, open_stage(environment.client) as stage:

        async def one(name: str, run: Branch) -> None:
            world = stage.world(backups=(BACKUP_ID,))
            async with free:
                handle = await run(stage, world)
                await assert_eventually(lambda: stage.lease_is_closed(world))
            await write(folder / f"{name}.json", handle)
            if await stage.status(stage.lease(world)) is not None:
                await write(folder / f"{name}.lease.json", stage.lease(world))

        await asyncio.gather(*(one(name, run) for name, run in BRANCHES.items()))


async def write(path: Path, handle: Handle) -> None:
    """One history, as `temporal workflow show -o json` would write it."""
    path.write_text(_without_paths((await handle.fetch_history()).to_json()) + "\n")


def _without_paths(history: str) -> str:
    """Stack traces name files of the machine that recorded them: only their names below the checkout stay."""
    for folder in sorted({str(CHECKOUT), *(each for each in sys.path if each.startswith("/"))}, key=len, reverse=True):
        history = history.replace(f"{folder}/", "")
    return history


if __name__ == "__main__":
    target = HISTORIES / (sys.argv[1] if len(sys.argv) > 1 else __version__)
    asyncio.run(record(target))
    print(f"{len(list(target.iterdir()))} histories in {target}")
