"""Somebody removes the mark, or sets annotations whole, while something is to be undone: it is undone all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.kill import Kill, Step, kill
from tests.fakes.stage import BACKUP_ID, Handle, Stage, assert_eventually
from tests.fakes.world import RunnerPlan, World


def _created(name: str) -> Any:
    return lambda arguments: str(arguments["pod"].metadata.name).endswith(f"-{name}")


def _released(name: str) -> Any:
    return lambda arguments: str(arguments["pod"].name).endswith(f"-{name}")


def _pod(name: str) -> dict[str, Step]:
    return {
        f"create {name}": Step("run_runner", "create_pod", _created(name)),
        f"release {name}": Step("run_runner", "release_pod", _released(name)),
    }


def _to(replicas: int) -> Any:
    return lambda arguments: bool(arguments["replicas"] == replicas)


STOPPED = {"stopped": Step("wait_stopped", "members")}
FORMED = {"formed": Step("wait_formed", "members"), "unmark": Step("unmark_statefulset", "mark_statefulset")}
START = {"scale up": Step("scale_up", "scale", _to(3)), **FORMED}
FIRST = {"start first": Step("scale_up", "scale", _to(1)), "first formed": Step("wait_formed", "members")}
SWAP = {"note swap": Step("renew_mark", "mark_statefulset")}
REVOKE = {
    "revoke": Step("revoke_statefulset", "revoke_statefulset"),
    "remove pods": Step("remove_runners", "runner_pods"),
}

LOOK = {"look": Step("run_runner", "create_pod", _created("look-1"))}
STEPS: dict[str, dict[str, Step]] = {
    "in_place": {**STOPPED, **_pod("0"), **_pod("1"), **_pod("2"), **START},
    "rolling": {**STOPPED, **_pod("0"), **FIRST, **_pod("1"), **_pod("2"), **START},
    "staged": {**STOPPED, **SWAP, **_pod("in-1"), **START},
    "staged that goes back": {**_pod("back-1"), "note swap": SWAP["note swap"]},
    "rollback": {**STOPPED, **SWAP, **_pod("back-1"), **START},
}
CASES = [(operation, step) for operation, steps in STEPS.items() for step in steps]


async def begin(stage: Stage, world: World, operation: str) -> Handle:
    """A restore by this strategy; or a rollback of one that kept the previous data."""
    if operation != "rollback":
        world.ends_on = {BACKUP_ID} if "goes back" in operation else set()
        return await stage.restore(world, strategy=operation.split(maxsplit=1)[0])
    world.copies_may_stay = True
    result = await (await stage.restore(world, strategy="staged", keep_previous_for=3600)).result()
    return await stage.rollback(world, result.restore_id)


async def assert_runs(stage: Stage, world: World) -> None:
    """All replicas, on data that fits together."""
    await stage.assert_settled(world)
    assert world.statefulset.replicas == 3
    assert {claim.data for claim in world.claims.values()} in ({"live"}, {BACKUP_ID})


@pytest.mark.parametrize("all_annotations", [False, True], ids=["mark", "annotations"])
@pytest.mark.parametrize(("operation", "step"), CASES)
async def test_in_a_step_of_an_operation(stage: Stage, operation: str, step: str, all_annotations: bool) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    fault = STEPS[operation][step].held()
    if operation == "rollback":
        handle = await begin(stage, world, operation)
        world.faults.add(fault)
    else:
        world.faults.add(fault)
        handle = await begin(stage, world, operation)
    assert fault.gate is not None
    await assert_eventually(fault.gate.entered.is_set, lambda: f"never came to {step}; {world.events}")
    world.remove_mark(all_annotations=all_annotations)
    fault.gate.open()
    await assert_ended(handle)
    await assert_runs(stage, world)


async def assert_ended(handle: Handle) -> None:
    """With whatever result."""

    async def has_ended() -> bool:
        description = await handle.describe()
        return description.close_time is not None

    await assert_eventually(has_ended, lambda: f"{handle.id} is open")


# --- the undo itself

DEAD: dict[str, RunnerPlan] = {
    "in_place": RunnerPlan("restore", ordinal=1, held=True),
    "rolling": RunnerPlan("restore", ordinal=1, held=True),
    "rolling, nothing serves": RunnerPlan("restore", ordinal=0, held=True),
    "staged": RunnerPlan("swap", ordinal=1, held=True),
}
"""What an operation is at when it, or its lease, is terminated."""
UNDO: dict[str, dict[str, Step]] = {
    "in_place": {**REVOKE, **LOOK, **_pod("finish-1"), **START},
    "rolling": {**REVOKE, **LOOK, **_pod("finish-1"), **START},
    "rolling, nothing serves": {**_pod("finish-0"), **FIRST, **_pod("finish-2"), **START},
    "staged": {**REVOKE, **LOOK, **_pod("back-1"), **START},
}
UNDO_CASES = [(operation, step) for operation, steps in UNDO.items() for step in steps]
BY_WHOM: list[tuple[Kill, bool]] = [("terminate", False), ("terminate", True), ("terminate lease", True)]
"""Who is killed, and whether all annotations go."""


@pytest.mark.parametrize(("how", "all_annotations"), BY_WHOM)
@pytest.mark.parametrize(("operation", "step"), UNDO_CASES)
async def test_in_a_step_of_the_undo(stage: Stage, operation: str, step: str, how: Kill, all_annotations: bool) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    plan = replace(DEAD[operation])  # the world counts down how often it applies
    world.plan(plan)
    handle = await stage.restore(world, strategy=operation.split(",", maxsplit=1)[0])
    began = 3 if plan.mode == "swap" else 1 + (plan.ordinal or 0)
    await assert_eventually(lambda: sum(f"started: {plan.mode}" in each for each in world.look().events) == began)
    fault = world.faults.add(UNDO[operation][step].held())
    assert fault.gate is not None
    await kill(stage, world, handle, how)
    await assert_eventually(fault.gate.entered.is_set, lambda: f"never came to {step}; {world.events}")
    world.remove_mark(all_annotations=all_annotations)
    fault.gate.open()
    await assert_ended(handle)
    if how == "terminate lease":  # nobody is left who would remove copies: the next restore does
        await assert_eventually(lambda: stage.lease_is_closed(world))
        world.volume.unpacked.clear()
        world.copies_may_stay = True
    await assert_runs(stage, world)


# --- the mark of a replica

REPLICA: dict[str, Step] = {
    "label": Step("move_primary", "set_label"),
    "on": Step("desync", "set_desync"),
    "out of service": Step("wait_out_of_service", "services_that_list"),
    "create": Step("run_runner", "create_pod"),
    "release": Step("run_runner", "release_pod"),
    "off": Step("resync", "set_desync"),
    "in service": Step("wait_in_service", "services_that_select"),
    "label back": Step("move_primary_back", "set_label"),
    "unmark": Step("unmark_replica", "set_mark"),
}


@pytest.mark.parametrize("all_annotations", [False, True], ids=["mark", "annotations"])
@pytest.mark.parametrize("step", REPLICA)
async def test_of_a_replica_in_a_step_of_a_backup(stage: Stage, step: str, all_annotations: bool) -> None:
    world = stage.world()
    fault = world.faults.add(REPLICA[step].held())
    assert fault.gate is not None
    handle = await stage.backup(world, replica=0)
    await assert_eventually(fault.gate.entered.is_set, lambda: f"never came to {step}; {world.events}")
    world.remove_mark(0, all_annotations=all_annotations)
    fault.gate.open()
    await assert_ended(handle)
    await stage.assert_settled(world)


@pytest.mark.parametrize("step", ["revoke", "off", "in service", "label back", "unmark"])
async def test_of_a_replica_whose_lease_is_terminated(stage: Stage, step: str) -> None:
    """The backup knows that its lease has desynced the replica, and where the primary label was."""
    world = stage.world()
    world.plan(RunnerPlan("backup", held=True))
    handle = await stage.backup(world, replica=0)
    await assert_eventually(lambda: any("started: backup" in event for event in world.look().events))
    fault = world.faults.add({**REPLICA, "revoke": Step("revoke_replica", "revoke")}[step].held())
    assert fault.gate is not None
    await stage.lease(world).terminate("by a test")
    await assert_eventually(fault.gate.entered.is_set, lambda: f"never came to {step}; {world.events}")
    world.remove_mark(0, all_annotations=True)
    fault.gate.open()
    await assert_ended(handle)
    await stage.assert_settled(world)
