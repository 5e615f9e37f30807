"""The failure matrix of GaleraBackup: each step times whatever can happen in it; the replica always comes back."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from tests.fakes.kill import EXECUTION_TIMEOUT, KILLS, Kill, Step, kill, kill_at_gate
from tests.fakes.stage import Handle, Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan, World


def _is_prune(arguments: Any) -> bool:
    return str(arguments["pod"].metadata.name).endswith("-prune")


FORWARD = {
    "check": Step("observe_cluster", "statefulset", by_lease=False),
    "mark": Step("mark_replica", "set_mark"),
    "hand over": Step("move_primary", "set_label"),
    "desync": Step("desync", "set_desync"),
    "out of service": Step("wait_out_of_service", "services_that_list"),
    "run": Step("run_runner", "create_pod", lambda arguments: not _is_prune(arguments), by_lease=False),
    "remove": Step("remove_runners", "delete_pod", by_lease=False),
    "prune": Step("run_runner", "create_pod", _is_prune, by_lease=False),
}
UNDO = {
    "resync": Step("resync", "set_desync"),
    "in service": Step("wait_in_service", "services_that_list"),
    "take back": Step("move_primary_back", "set_label"),
    "unmark": Step("unmark_replica", "set_mark"),
}
STEPS = {**FORWARD, **UNDO}
ENDS = {
    "cancel": WorkflowExecutionStatus.CANCELED,
    "terminate": WorkflowExecutionStatus.TERMINATED,
    "time out": WorkflowExecutionStatus.TIMED_OUT,
}


def new_world(stage: Stage) -> World:
    """The primary label is on the replica that is backed up, so that every step happens."""
    return stage.world(primary=2)


async def assert_undone(stage: Stage, world: World) -> None:
    """In sync, in service, labels as before, no mark, no runner, no lease; and in the right order."""
    await stage.assert_settled(world)
    switched = [event for event in world.events if event.startswith("desync O")]
    assert switched in ([], ["desync ON mariadb-server-2", "desync OFF mariadb-server-2"])


def is_for_an_operator(message: str) -> bool:
    """It says what to do next."""
    return any(word in message for word in ("Check", "start the ", "again", "Look at", "make room"))


@pytest.mark.parametrize("step", FORWARD)
async def test_step_fails_for_good(stage: Stage, step: str) -> None:
    world = new_world(stage)
    world.faults.add(STEPS[step].fails(times=1 if step == "remove" else 1000))
    failure = await failure_of(await stage.backup(world))
    expected = "DatabaseRefused" if step == "desync" else "PruneFailed" if step == "prune" else "KubernetesRefused"
    assert failure.type == expected
    assert is_for_an_operator(failure.message)
    await assert_undone(stage, world)


@pytest.mark.parametrize("step", UNDO)
async def test_undo_that_fails_for_good_is_tried_until_it_works(stage: Stage, step: str) -> None:
    world = new_world(stage)
    world.faults.add(STEPS[step].fails(times=2 if step == "resync" else 1))
    await (await stage.backup(world)).result()
    await assert_undone(stage, world)


@pytest.mark.parametrize("step", FORWARD)
async def test_step_fails_after_its_effect(stage: Stage, step: str) -> None:
    world = new_world(stage)
    world.faults.add(STEPS[step].fails_after_its_effect())
    failure = await failure_of(await stage.backup(world))
    assert is_for_an_operator(failure.message)
    await assert_undone(stage, world)


@pytest.mark.parametrize("step", STEPS)
async def test_result_is_lost_after_the_effect(stage: Stage, step: str) -> None:
    world = new_world(stage)
    world.faults.add(STEPS[step].result_is_lost())
    result = await (await stage.backup(world)).result()
    assert list(world.volume.manifests) == [result.manifest.backup_id]
    started = [event for event in world.events if event.endswith("started: backup")]
    assert len(started) == 1
    await assert_undone(stage, world)


@pytest.mark.parametrize("how", KILLS)
@pytest.mark.parametrize("step", STEPS)
async def test_killed_in_a_step(stage: Stage, step: str, how: Kill) -> None:
    world = new_world(stage)
    fault = world.faults.add(STEPS[step].held())
    assert fault.gate is not None
    handle = await start(stage, world, how)
    await kill_at_gate(stage, world, handle, how=how, step=STEPS[step], gate=fault.gate)
    await assert_ended(stage, handle, how)
    await assert_undone(stage, world)


@pytest.mark.parametrize("how", KILLS)
async def test_killed_while_the_runner_works(stage: Stage, how: Kill) -> None:
    world = new_world(stage)
    world.plan(RunnerPlan("backup", held=True, times=9))
    handle = await start(stage, world, how)
    await assert_eventually(lambda: any("started: backup" in event for event in world.look().events))
    await kill(stage, world, handle, how)
    await assert_ended(stage, handle, how)
    await assert_undone(stage, world)
    assert sum("started" in event for event in world.events) == 1


@pytest.mark.parametrize("how", KILLS)
async def test_killed_while_on_is_blocked(stage: Stage, how: Kill) -> None:
    """The client of `SET GLOBAL wsrep_desync=ON` has timed out, the statement lands later, maybe after an OFF."""
    world = new_world(stage)
    world.member(2).blocks_for = EXECUTION_TIMEOUT.total_seconds() + 3 if how == "time out" else 6
    handle = await start(stage, world, how)
    await assert_eventually(lambda: any("blocked" in event for event in world.look().events))
    await kill(stage, world, handle, how)
    await assert_ended(stage, handle, how)
    await assert_undone_late(stage, world)


async def assert_undone_late(stage: Stage, world: World) -> None:
    await stage.assert_settled(world)
    switched = [event for event in world.events if event.startswith("desync O") and not event.endswith("blocked")]
    assert switched
    assert switched[-1] == "desync OFF mariadb-server-2"


async def start(stage: Stage, world: World, how: Kill) -> Handle:
    return await stage.backup(world, **({"execution_timeout": EXECUTION_TIMEOUT} if how == "time out" else {}))


async def assert_ended(stage: Stage, handle: Handle, how: Kill) -> None:
    if how in ENDS:
        await assert_eventually(lambda: _has_ended(stage, handle, how))
    else:
        failure = await failure_of(handle)
        assert failure.type in ("LeaseLost", "PruneFailed"), failure.message
        assert is_for_an_operator(failure.message)


async def _has_ended(stage: Stage, handle: Handle, how: Kill) -> bool:
    status = await stage.status(handle)
    assert status in (WorkflowExecutionStatus.RUNNING, ENDS[how])
    return status != WorkflowExecutionStatus.RUNNING
