"""GaleraRestore, strategy staged: short outage, and whatever fails, one of two clusters, both whole."""

from __future__ import annotations

from typing import Any

import pytest

from galera_backup.models.plan import RestorePlan
from galera_backup.models.volumes import SwapState
from tests.fakes.kill import Kill, kill
from tests.fakes.stage import BACKUP_ID, Handle, Stage, assert_eventually, failure_of
from tests.fakes.volumes import CLUSTER_UUID
from tests.fakes.world import RunnerPlan, World
from tests.matrix.ends import assert_whole
from tests.matrix.staged import STEPS
from tests.matrix.steps import NOTE_CHANGE, create

OTHER_UUID = "0f0f0f0f-0f0f-0f0f-0f0f-0f0f0f0f0f0f"


async def restore(stage: Stage, world: World, **fields: Any) -> Handle:
    return await stage.restore(world, strategy="staged", **fields)


async def test_what_happens_in_which_order(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    result = await (await restore(stage, world)).result()
    assert await assert_whole(stage, world) == BACKUP_ID
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
    assert await assert_whole(stage, world) == BACKUP_ID


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
    assert await assert_whole(stage, world) == "live"
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
    assert await assert_whole(stage, world) == "live"
    assert "scale 0" not in world.events


async def test_swap_that_fails_on_one_claim(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("swap", ordinal=1, end="fails", error="RestoreFailed", times=2))
    failure = await failure_of(await restore(stage, world))
    assert failure.type == "RestoreFailed"
    assert "The previous data was swapped back" in failure.message
    assert f"{world.claim_name(2)} untouched" in failure.message
    assert await assert_whole(stage, world) == "live"
    assert not any("-look-" in event for event in world.events)


async def test_cluster_that_does_not_form_on_the_restored_data(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.never_ready_on = {BACKUP_ID}
    failure = await failure_of(await restore(stage, world, ready_timeout=4))
    assert failure.type == "RestoreFailed"
    assert "The previous data was swapped back" in failure.message
    assert await assert_whole(stage, world) == "live"
    assert [event for event in world.events if event.startswith("scale")] == ["scale 0", "scale 3"] * 2


async def test_another_cluster_starts_where_the_previous_data_was(stage: Stage) -> None:
    """As one that a start script makes, new and empty: it is never taken for the one that was stopped."""
    world = stage.world(backups=(BACKUP_ID,))
    world.never_ready_on = {BACKUP_ID}
    gate = world.faults.add(NOTE_CHANGE.held()).gate
    assert gate is not None
    handle = await restore(stage, world, ready_timeout=4)
    await assert_eventually(gate.entered.is_set)
    for claim in world.claims.values():
        claim.uuids["live"] = OTHER_UUID
    gate.open()
    failure = await failure_of(handle)
    assert f"expected all members in the group with wsrep_cluster_state_uuid {CLUSTER_UUID}" in failure.message
    assert f"mariadb-server-0 is in the one with {OTHER_UUID}" in failure.message


async def test_server_that_ends_on_the_restored_data_is_not_waited_for(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.ends_on = {BACKUP_ID}
    failure = await failure_of(await restore(stage, world, ready_timeout=600))
    assert "mariadb-server-0: expected its server to start on this data" in failure.message
    assert "The previous data was swapped back" in failure.message
    assert await assert_whole(stage, world) == "live"


async def test_cluster_that_is_not_the_restored_one(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    for claim in world.claims.values():
        claim.keeps_uuid = True
    failure = await failure_of(await restore(stage, world))
    assert "with wsrep_cluster_state_uuid" in failure.message
    assert CLUSTER_UUID in failure.message
    assert await assert_whole(stage, world) == "live"


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
    assert await assert_whole(stage, world) == BACKUP_ID


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
    assert await assert_whole(stage, world) == BACKUP_ID


# --- a way back that fails too


def fails_and_goes_back(world: World) -> None:
    """The first server ends on the restored data."""
    world.ends_on = {BACKUP_ID}


WHY = "expected its server to start on this data"
BACK = create("back-1")


async def test_way_back_that_fails_does_not_hide_why_it_was_taken(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    fails_and_goes_back(world)
    world.faults.add(BACK.fails(1))
    failure = await failure_of(await restore(stage, world))
    assert failure.type == "RestoreFailed"
    assert WHY in failure.message
    assert "Going back to the previous data failed too: swapping the previous data back: expected" in failure.message
    assert f"The cluster was started again; claims: {world.claim_name(0)} untouched" in failure.message
    assert await assert_whole(stage, world) == "live"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cancel", "the restore was cancelled"),
        ("terminate lease", "the lease of cluster"),
        ("cancel lease", "the lease of cluster"),
    ],
)
async def test_way_back_that_is_cut_short_does_not_hide_why_it_was_taken(stage: Stage, how: Kill, said: str) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    fails_and_goes_back(world)
    fault = world.faults.add(BACK.held())
    assert fault.gate is not None
    handle = await restore(stage, world)
    await assert_eventually(fault.gate.entered.is_set, lambda: world.events)
    await kill(stage, world, handle, how)
    fault.gate.open()
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert WHY in failure.message.partition(". While that was undone: ")[0]
    assert failure.message.partition(". While that was undone: ")[2].startswith(said)
    world.copies_may_stay = how == "terminate lease"  # the next restore removes them
    assert await assert_whole(stage, world) == "live"
