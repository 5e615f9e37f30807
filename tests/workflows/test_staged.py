"""GaleraRestore, strategy staged: short outage, and whatever fails, one of two clusters, both whole."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from galera_backup.models.plan import RestorePlan
from galera_backup.models.volumes import SwapState
from tests.fakes.faults import ALWAYS
from tests.fakes.kill import EXECUTION_TIMEOUT, KILLS, Kill, Step, kill, kill_at_gate
from tests.fakes.stage import BACKUP_ID, Handle, Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan, World
from tests.workflows.test_restore_failures import assert_ended


def _pod(name: str) -> Any:
    return lambda arguments: f"z-{name}" in str(arguments["pod"].metadata.name)


def _is_down(arguments: Any) -> bool:
    return bool(arguments["replicas"] == 0)


BEFORE = {
    "tidy": Step("run_runner", "create_pod", _pod("tidy-1")),
    "try": Step("try_checks", "credentials", by_lease=False),
    "check": Step("run_runner", "create_pod", _pod("check-1"), by_lease=False),
    "stage": Step("run_runner", "create_pod", _pod("stage-1"), by_lease=False),
    "remove": Step("remove_runners", "delete_pod", lambda arguments: "z-stage-2" in arguments["name"], by_lease=False),
    "verify": Step("run_runner", "create_pod", _pod("verify-1"), by_lease=False),
    "scale down": Step("scale_down", "scale", _is_down),
}
OUTAGE = {
    "stopped": Step("wait_stopped", "members"),
    "swap": Step("run_runner", "create_pod", _pod("in-1"), by_lease=False),
    "scale up": Step("scale_up", "scale"),
    "formed": Step("wait_formed", "members"),
    "prove": Step("check_tables", "check_table", by_lease=False),
}
STEPS = {**BEFORE, **OUTAGE}
LATER = timedelta(seconds=60)
"""Execution timeout of a restore that shall come far on a busy machine, and not beyond the first attempt of a step."""


async def restore(stage: Stage, world: World, **fields: Any) -> Handle:
    return await stage.restore(world, strategy="staged", **fields)


async def assert_one_of_two(stage: Stage, world: World) -> str:
    """All replicas on the old data, or all on the restored; which."""
    await stage.assert_settled(world)
    [data] = {claim.data for claim in world.claims.values()}
    assert data in ("live", BACKUP_ID)
    return data


async def test_what_happens_in_which_order(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    result = await (await restore(stage, world)).result()
    assert await assert_one_of_two(stage, world) == BACKUP_ID
    phases = ["lease", "plan", "check", "tidy", "stage", "verify", "stop", "swap", "start", "prove"]
    assert [each.phase for each in result.phases] == phases
    assert [each.claim for each in result.claims] == [world.claim_name(ordinal) for ordinal in range(3)]
    assert result.untidy == ()
    assert 0 < result.outage_seconds < 60
    assert [claim.safe_to_bootstrap for claim in world.claims.values()] == [True, False, False]
    down, up = world.events.index("scale 0"), world.events.index("scale 3")
    modes = [event.rpartition(": ")[2] for event in world.events[down:up] if "started: " in event]
    assert modes == ["swap"] * 3
    assert sum("started: stage" in event for event in world.events[:down]) == 3
    assert sum("started: tidy" in event for event in world.events[up:]) == 3


async def test_claims_are_staged_and_swapped_beside_each_other(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    for mode in ("stage", "swap"):
        world.plan(RunnerPlan(mode, held=True, times=3))
    handle = await restore(stage, world)
    for mode in ("stage", "swap"):
        await assert_eventually(lambda: sum(f"started: {mode}" in each for each in world.look().events) == 3)  # noqa: B023
        with world.lock:
            for pod in world.runners.values():
                pod.let_go()
    await handle.result()
    assert await assert_one_of_two(stage, world) == BACKUP_ID


async def test_no_room_for_a_second_copy(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.claims[world.claim_name(2)].free_kb = 1_000_000
    handle = await restore(stage, world)
    failure = await failure_of(handle)
    assert failure.type == "NotEnoughSpace"
    plan: RestorePlan = await handle.query("plan", result_type=RestorePlan)
    [obstacle] = plan.obstacles
    assert obstacle.startswith(f"claim {world.claim_name(2)!r}: expected 1250000 KB free")
    assert obstacle in failure.message
    assert failure.message.index("'rolling'") < failure.message.index("'in_place'")
    await stage.assert_settled(world)
    assert "scale 0" not in world.events


@pytest.mark.parametrize("mode", ["stage", "tidy"])
async def test_failure_before_the_cut_leaves_the_cluster_alone(stage: Stage, mode: str) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan(mode, end="fails", error="NotEnoughSpace"))
    failure = await failure_of(await restore(stage, world))
    assert failure.type == ("NotEnoughSpace" if mode == "stage" else "RestoreFailed")
    assert await assert_one_of_two(stage, world) == "live"
    assert "scale 0" not in world.events


async def test_state_transfer_that_wipes_what_is_staged(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    gate = world.faults.add(STEPS["verify"].held()).gate
    assert gate is not None
    handle = await restore(stage, world)
    await assert_eventually(gate.entered.is_set)
    with world.lock:
        claim = world.claims[world.claim_name(1)]
        claim.staged = claim.journal = None
    gate.open()
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    expected = f"verifying what is staged on {world.claim_name(1)!r}: expected all of it, it is gone or not whole"
    assert failure.message.startswith(expected)
    assert await assert_one_of_two(stage, world) == "live"
    assert "scale 0" not in world.events


async def test_swap_that_fails_on_one_claim(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("swap", ordinal=1, end="fails", error="RestoreFailed", times=2))
    failure = await failure_of(await restore(stage, world))
    assert failure.type == "RestoreFailed"
    assert "The previous data was swapped back" in failure.message
    assert f"{world.claim_name(2)} untouched" in failure.message
    assert await assert_one_of_two(stage, world) == "live"
    assert not any("-look-" in event for event in world.events)


async def test_cluster_that_does_not_form_on_the_restored_data(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.never_ready_on = {BACKUP_ID}
    failure = await failure_of(await restore(stage, world, ready_timeout=4))
    assert failure.type == "RestoreFailed"
    assert "The previous data was swapped back" in failure.message
    assert await assert_one_of_two(stage, world) == "live"
    assert [event for event in world.events if event.startswith("scale")] == ["scale 0", "scale 3"] * 2


async def test_server_that_ends_on_the_restored_data_is_not_waited_for(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.ends_on = {BACKUP_ID}
    failure = await failure_of(await restore(stage, world, ready_timeout=600))
    assert "mariadb-server-0: expected its server to start on this data" in failure.message
    assert "The previous data was swapped back" in failure.message
    assert await assert_one_of_two(stage, world) == "live"


async def test_cluster_that_is_not_the_restored_one(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    manifest = world.volume.manifests[BACKUP_ID]
    other = manifest.position.model_copy(update={"uuid": "11111111-1111-1111-1111-111111111111"})
    world.volume.manifests[BACKUP_ID] = manifest.model_copy(update={"position": other})
    failure = await failure_of(await restore(stage, world))
    assert "expected wsrep_cluster_state_uuid 11111111" in failure.message
    assert await assert_one_of_two(stage, world) == "live"


@pytest.mark.parametrize("step", STEPS)
async def test_result_is_lost_after_the_effect(stage: Stage, step: str) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.faults.add(STEPS[step].result_is_lost())
    await (await restore(stage, world)).result()
    assert await assert_one_of_two(stage, world) == BACKUP_ID
    assert [event for event in world.events if event.startswith("scale")] == ["scale 0", "scale 3"]


@pytest.mark.parametrize("step", [step for step in STEPS if step not in ("remove", "formed")])
async def test_step_fails_for_good(stage: Stage, step: str) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.faults.add(STEPS[step].fails(times=1 if step == "scale up" else ALWAYS))
    failure = await failure_of(await restore(stage, world))
    assert "Check the worker's role" in failure.message or step == "tidy"
    assert await assert_one_of_two(stage, world) == "live"


@pytest.mark.parametrize("how", KILLS)
@pytest.mark.parametrize("step", STEPS)
async def test_killed_in_a_step(stage: Stage, step: str, how: Kill) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    fault = world.faults.add(STEPS[step].held())
    assert fault.gate is not None
    timeout = {"execution_timeout": LATER if step in OUTAGE else EXECUTION_TIMEOUT} if how == "time out" else {}
    handle = await restore(stage, world, **timeout)
    await kill_at_gate(stage, world, handle, how=how, step=STEPS[step], gate=fault.gate)
    await assert_ended(stage, world, handle)
    await assert_eventually(lambda: not stage_is_dirty(world) or how == "terminate lease")
    if how == "terminate lease":  # nobody is left who would remove the copies: the next staged restore does
        await assert_next_restore_tidies(stage, world)
    data = await assert_one_of_two(stage, world)
    if step in BEFORE and how != "terminate lease":
        assert data == "live"


async def assert_next_restore_tidies(stage: Stage, world: World) -> None:
    await assert_eventually(lambda: stage.lease_is_closed(world))
    await (await restore(stage, world)).result()


def stage_is_dirty(world: World) -> bool:
    return any(claim.journal is not None for claim in world.look().claims.values())


@pytest.mark.parametrize("ordinal", [0, 2])
async def test_restore_and_its_lease_terminated_between_renames(stage: Stage, ordinal: int) -> None:
    """The janitor finds a mixture, and puts the old data back."""
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("swap", ordinal=ordinal, held=True))
    handle = await restore(stage, world)
    await assert_eventually(lambda: sum("started: swap" in event for event in world.look().events) == 3)
    await asyncio.sleep(0.5)
    await handle.terminate("by a test")
    await stage.lease(world).terminate("by a test")
    await asyncio.sleep(2.5)
    assert world.look().claims[world.claim_name(ordinal)].data == "incomplete"
    result = await (await stage.janitor(world)).result()
    [mended] = [each for each in result.mended if each.name == "mariadb-server"]
    assert f"{world.claim_name(ordinal)} untouched" in mended.text
    assert await assert_one_of_two(stage, world) == "live"


async def test_cancelled_after_the_swap(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    fault = world.faults.add(STEPS["formed"].held())
    assert fault.gate is not None
    handle = await restore(stage, world)
    await assert_eventually(fault.gate.entered.is_set)
    assert {claim.journal.state for claim in world.claims.values() if claim.journal} == {SwapState.SWAPPED}
    await kill(stage, world, handle, "cancel")
    fault.gate.open()
    failure = await failure_of(handle)
    assert "runs on the restored data" in failure.message
    assert await assert_one_of_two(stage, world) == BACKUP_ID


async def test_clients_write_while_the_others_join(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.never_ready = {2}
    handle = await restore(stage, world)
    await assert_eventually(lambda: "label mariadb-server-0 primary" in world.look().events)
    with world.lock:
        world.never_ready = set()
        late = world.members.get("mariadb-server-2")
        assert late is None or not late.ready
        if late is not None:
            late.up = True
            late.follow_state()
    await handle.result()
    assert await assert_one_of_two(stage, world) == BACKUP_ID
