"""GaleraJanitor: what is left when the lease was lost with its owner is mended."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio.api.enums.v1 import PendingActivityState

from galera_backup.models.common import LeaseRef, PrimaryLabel
from galera_backup.models.janitor import Verdict
from galera_backup.models.mark import PrimaryMove, ResyncRecipe
from tests.fakes.faults import ALWAYS, Fault
from tests.fakes.kill import Step
from tests.fakes.stage import Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan
from tests.matrix.janitor import put_mark
from tests.workflows.janitors import SHORT, clean, has, kill_both, left_desynced, verdicts, working_backup

# --- nothing to do


async def test_cluster_in_order_is_looked_at_without_the_lease(stage: Stage) -> None:
    world = stage.world()
    result = await clean(stage, world)
    assert set(verdicts(result).values()) == {Verdict.IN_SYNC}
    assert len(result.found) == 3
    assert (result.mended, result.left_alone, result.busy) == ((), (), None)
    assert await stage.status(stage.lease(world)) is None
    assert world.look().events == []


async def test_open_lease_is_left_alone(stage: Stage) -> None:
    world = stage.world()
    world.plan(RunnerPlan("backup", held=True))
    backup = await stage.backup(world)
    await assert_eventually(lambda: has(world, "started: backup"), lambda: world.events)
    result = await clean(stage, world)
    assert verdicts(result)["mariadb-server-2"] == Verdict.HELD
    assert result.busy == backup.id
    assert (result.mended, result.left_alone) == ((), ())
    assert world.look().member(2).desync
    world.let_go()
    await backup.result()
    await stage.assert_settled(world)
    assert world.events.count("desync OFF mariadb-server-2") == 1


async def test_runner_that_still_works_is_removed_before_the_resync(stage: Stage) -> None:
    world, backup = await working_backup(stage)
    pods = [pod.name for pod in world.look().present_runners()]
    # The worker is a zombie: the activity that watches the runner does not hear that nobody wants it.
    fault = world.faults.add(Fault("find_pod", "run_runner", gate=(held := Step("", "").held()).gate))
    await assert_eventually(fault.gate.entered.is_set, lambda: world.events)  # type: ignore[union-attr]
    await kill_both(stage, world, backup)
    result = await clean(stage, world)
    assert [each.name for each in result.mended] == [*pods, "mariadb-server-2"]
    assert held.gate is not None
    held.gate.open()
    await stage.assert_settled(world)
    stopped, off = f"runner {pods[0]} stopped", "desync OFF mariadb-server-2"
    assert world.events.index(stopped) < world.events.index(off)


async def test_runner_of_a_dead_lease_beside_a_cluster_in_sync(stage: Stage) -> None:
    world, backup = await working_backup(stage)
    fault = world.faults.add(Step("run_runner", "find_pod").held())
    assert fault.gate is not None
    await assert_eventually(fault.gate.entered.is_set)
    await kill_both(stage, world, backup)
    with world.lock:  # a person resynced the replica and removed the mark
        world.member(2).set_desync(False)
        world.member(2).annotations.clear()
    await assert_eventually(lambda: world.look().member(2).ready)
    result = await clean(stage, world)
    assert [each.text for each in result.mended] == ["removed"]
    fault.gate.open()
    await stage.assert_settled(world)


async def test_owner_that_is_open_undoes_by_itself(stage: Stage) -> None:
    world, backup = await working_backup(stage)
    fault = world.faults.add(Step("resync", "set_desync").held())
    assert fault.gate is not None
    await stage.lease(world).terminate("by a test")
    await assert_eventually(fault.gate.entered.is_set, lambda: world.events)
    result = await clean(stage, world)
    assert verdicts(result)["mariadb-server-2"] == Verdict.OWNED
    assert result.mended == ()
    assert f"{backup.id!r} is open" in result.left_alone[0]
    fault.gate.open()
    assert (await failure_of(backup)).type == "LeaseLost"
    await stage.assert_settled(world)


# --- the Temporal database lost


async def test_mark_of_a_lease_that_this_server_never_knew(stage: Stage) -> None:
    world = stage.world()
    moved = PrimaryMove(label=PrimaryLabel(), successor="mariadb-server-1", successor_role=None)
    put_mark(world, 0, undo=ResyncRecipe(moved=moved))
    with world.lock:
        world.member(0).labels["mariadb-role"] = "backup"
        world.member(1).labels["mariadb-role"] = "primary"
        world.member(0).set_desync(True)
        world.member(0).queue, world.member(0).applied_per_look = 300, 100
    result = await clean(stage, world)
    [mended] = result.mended
    assert mended.desynced_seconds is not None
    assert timedelta(hours=3) <= timedelta(seconds=mended.desynced_seconds) < timedelta(hours=4)
    assert mended.drained
    await stage.assert_settled(world)


async def test_mark_of_a_lease_with_ids_that_no_server_gives(stage: Stage) -> None:
    world = stage.world()
    put_mark(world, lease=LeaseRef(workflow_id="w", run_id="r"))
    assert [each.text for each in (await clean(stage, world)).mended] == ["mark removed"]
    await stage.assert_settled(world)


async def test_on_that_lands_late_is_waited_for(stage: Stage) -> None:
    world = stage.world()
    put_mark(world)
    with world.lock:
        member = world.member(2)
        member.late.append(0.0)
        world.time.after(2, lambda: member._land(0.0))
    result = await clean(stage, world)
    assert [each.name for each in result.mended] == ["mariadb-server-2"]
    await stage.assert_settled(world)
    assert world.events.count("desync OFF mariadb-server-2") == 1


async def test_all_members_are_mended(stage: Stage) -> None:
    world = stage.world()
    for ordinal in range(3):
        left_desynced(world, ordinal)
    assert len((await clean(stage, world)).mended) == 3
    await stage.assert_settled(world)


# --- janitors


async def test_two_janitors_at_once(stage: Stage) -> None:
    world = stage.world()
    left_desynced(world)
    results = await asyncio.gather(*[(await stage.janitor(world)).result() for _ in range(4)])
    mended = [each for result in results for each in result.mended]
    assert [each.name for each in mended] == ["mariadb-server-2"]
    await stage.assert_settled(world)


async def test_busy_cluster_is_left_to_its_holder(stage: Stage) -> None:
    world, backup = await working_backup(stage, give_back_when_degraded=False)  # for two desynced at once
    left_desynced(world, 1)
    result = await clean(stage, world)
    assert verdicts(result)["mariadb-server-1"] == Verdict.ABANDONED
    assert (result.busy, result.mended) == (backup.id, ())
    assert world.look().member(1).desync
    world.let_go()
    await backup.result()
    assert len((await clean(stage, world)).mended) == 1
    await stage.assert_settled(world)


async def test_what_cannot_be_mended_in_time_fails_the_run(stage: Stage) -> None:
    world = stage.world()
    left_desynced(world)
    fault = world.faults.add(Step("resync", "set_desync").fails(times=ALWAYS))
    failure = await failure_of(await stage.janitor(world, drain_timeout=SHORT, step_timeout=SHORT))
    assert failure.type == "JanitorFailed"
    assert "undoing the desync of 'mariadb-server-2'" in failure.message
    fault.times = 0
    assert len((await clean(stage, world)).mended) == 1
    await stage.assert_settled(world)


async def test_cancel_that_a_step_does_not_hear_of_ends_the_undo(stage: Stage) -> None:
    """The activity ends normally right after the limit has passed: the cancel comes too late for it."""
    world = stage.world()
    left_desynced(world)
    held = world.faults.add(Step("revoke_replica", "revoke").held())
    refused = world.faults.add(Step("resync", "set_desync").fails(times=ALWAYS))
    janitor = await stage.janitor(world, drain_timeout=SHORT, step_timeout=SHORT)
    assert held.gate is not None

    async def is_cancelled() -> bool:
        return [each.state for each in (await janitor.describe()).raw_description.pending_activities] == [
            PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED
        ]

    await assert_eventually(is_cancelled)
    held.gate.open()
    assert (await failure_of(janitor)).type == "JanitorFailed"
    refused.times = 0
    await clean(stage, world)
    await stage.assert_settled(world)


async def test_backup_after_the_janitor(stage: Stage) -> None:
    world = stage.world()
    left_desynced(world)
    await clean(stage, world)
    await (await stage.backup(world)).result()
    await stage.assert_settled(world)
