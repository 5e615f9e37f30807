"""GaleraJanitor: what is left when the lease was lost with its owner is mended; what is not ours is not touched."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from galera_backup.marks import mark_of
from galera_backup.models.common import LeaseRef, PrimaryLabel
from galera_backup.models.janitor import JanitorResult, Verdict
from galera_backup.models.mark import RECIPE_VERSION, PrimaryMove, ResyncRecipe
from tests.fakes.faults import ALWAYS, Fault
from tests.fakes.kill import Step
from tests.fakes.stage import BACKUP_ID, Handle, Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan, World
from tests.matrix.in_place import STEPS
from tests.matrix.janitor import put_mark, recipe, stop
from tests.matrix.play import DEAD

SHORT = timedelta(seconds=2)


async def kill_both(stage: Stage, world: World, operation: Handle) -> None:
    """By hand, the lease first: nobody is left who would undo."""
    await asyncio.gather(stage.lease(world).terminate("by a test"), operation.terminate("by a test"))


async def clean(stage: Stage, world: World, **fields: Any) -> JanitorResult:
    """One run of the janitor."""
    return await (await stage.janitor(world, **fields)).result()


def verdicts(result: JanitorResult) -> dict[str, Verdict]:
    return {each.name: each.verdict for each in result.found}


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


def has(world: World, text: str) -> bool:
    return any(text in event for event in world.look().events)


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


async def working_backup(stage: Stage, **fields: Any) -> tuple[World, Handle]:
    world = stage.world()
    world.plan(RunnerPlan("backup", held=True))
    backup = await stage.backup(world, **fields)
    await assert_eventually(lambda: has(world, "started: backup"), lambda: world.events)
    return world, backup


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
        put_mark(world, ordinal)
        with world.lock:
            world.member(ordinal).set_desync(True)
    assert len((await clean(stage, world)).mended) == 3
    await stage.assert_settled(world)


# --- not ours


async def test_desync_of_an_operator_is_not_touched(stage: Stage) -> None:
    world = stage.world()
    with world.lock:
        world.member(1).set_desync(True)
    result = await clean(stage, world)
    assert verdicts(result)["mariadb-server-1"] == Verdict.FOREIGN
    [left] = result.left_alone
    assert "SET GLOBAL wsrep_desync=OFF" in left
    assert (result.mended, result.busy) == ((), None)
    assert world.look().member(1).desync
    assert await stage.status(stage.lease(world)) is None


async def test_desync_of_an_operator_beside_one_of_ours(stage: Stage) -> None:
    world = stage.world()
    put_mark(world)
    with world.lock:
        world.member(1).set_desync(True)
        world.member(2).set_desync(True)
    result = await clean(stage, world)
    assert [each.name for each in result.mended] == ["mariadb-server-2"]
    assert len(result.left_alone) == 1
    assert world.look().member(1).desync
    assert not world.member(2).desync


async def test_work_from_another_temporal_namespace_is_not_touched(stage: Stage) -> None:
    world = stage.world()
    put_mark(world, namespace="another")
    with world.lock:
        world.member(2).set_desync(True)
    result = await clean(stage, world)
    assert verdicts(result)["mariadb-server-2"] == Verdict.FOREIGN
    assert "'another'" in result.left_alone[0]
    assert world.look().member(2).desync


async def test_donor_is_not_touched(stage: Stage) -> None:
    world = stage.world()
    with world.lock:
        world.member(1).other_holders = 1
        world.member(1).settle()
    result = await clean(stage, world)
    assert verdicts(result)["mariadb-server-1"] == Verdict.DONOR
    assert result.mended == ()
    assert not has(world, "desync O")


async def test_our_desync_of_a_donor_is_taken_back_and_the_donation_goes_on(stage: Stage) -> None:
    world = stage.world()
    put_mark(world)
    with world.lock:
        world.member(2).set_desync(True)
        world.member(2).other_holders = 1
    janitor = await stage.janitor(world)
    await assert_eventually(lambda: not world.look().member(2).desync)
    assert world.member(2).other_holders == 1
    with world.lock:
        world.member(2).other_holders = 0
        world.member(2).settle()
    assert len((await janitor.result()).mended) == 1
    await stage.assert_settled(world)


async def test_donation_that_outlasts_the_janitor_is_no_failure(stage: Stage) -> None:
    world = stage.world()
    put_mark(world)
    with world.lock:
        world.member(2).set_desync(True)
        world.member(2).other_holders = 1
    result = await clean(stage, world, drain_timeout=SHORT, step_timeout=SHORT)
    assert verdicts(result)["mariadb-server-2"] == Verdict.DONOR
    assert len(result.left_alone) == 1
    assert not world.look().member(2).desync


async def test_unreachable_member_is_reported(stage: Stage) -> None:
    world = stage.world()
    put_mark(world)
    with world.lock:
        world.member(2).up = False
    result = await clean(stage, world)
    assert verdicts(result)["mariadb-server-2"] == Verdict.UNREACHABLE
    assert "2003" in result.left_alone[0]
    assert await stage.status(stage.lease(world)) is None


async def test_stopped_by_a_person_is_only_told(stage: Stage) -> None:
    world = stage.world()
    with world.lock:
        world.statefulset.replicas = 0
        world._reconcile_soon()
    result = await clean(stage, world)
    assert verdicts(result) == {"mariadb-server": Verdict.FOREIGN}
    assert result.mended == ()
    assert world.look().statefulset.replicas == 0


# --- restore and lease terminated


async def test_mixture_of_a_terminated_restore_is_refused(stage: Stage) -> None:
    """Both are terminated between two claims, and one of the claims cannot be restored."""
    world = stage.world(backups=(BACKUP_ID,))
    fault = world.faults.add(STEPS["restore-1"].held())
    assert fault.gate is not None
    world.plan(RunnerPlan("restore", ordinal=1, end="fails", error="RestoreFailed", times=2))
    restore = await stage.restore(world)
    await assert_eventually(fault.gate.entered.is_set, lambda: world.events, seconds=100)
    await kill_both(stage, world, restore)
    fault.before = DEAD  # the call never comes: its worker is gone
    fault.gate.open()
    await asyncio.sleep(2.5)
    assert world.look().statefulset.replicas == 0
    await assert_mixture_is_refused(stage, world, await stage.janitor(world))


async def assert_mixture_is_refused(stage: Stage, world: World, janitor: Handle) -> None:
    failure = await failure_of(janitor)
    assert failure.type == "ClusterLeftStopped"
    assert "Start the restore again" in failure.message
    assert world.look().statefulset.replicas == 0
    again = await clean(stage, world)
    assert verdicts(again) == {"mariadb-server": Verdict.STAYS_STOPPED}
    assert "Start the restore again" in again.left_alone[0]
    await (await stage.restore(world, replicas=3)).result()
    await stage.assert_settled(world)


async def test_mixture_is_looked_at_again_after_an_hour(stage: Stage) -> None:
    world = stage.world()
    put_mark(world, None, undo=recipe(world), tried="a mixture", tried_at=datetime.now(UTC) - timedelta(hours=2))
    stop(world)
    assert len((await clean(stage, world)).mended) == 1
    await stage.assert_settled(world)


async def test_stopped_with_a_mark_that_does_not_say_how_to_start_is_reported(stage: Stage) -> None:
    world = stage.world()
    put_mark(world, None)
    stop(world)
    result = await clean(stage, world)
    assert verdicts(result) == {"mariadb-server": Verdict.STAYS_STOPPED}
    assert "'replicas' set to the size" in result.left_alone[0]


@pytest.mark.parametrize("ordinal", [None, 2])
async def test_recipe_of_a_newer_version_is_reported_and_not_touched(stage: Stage, ordinal: int | None) -> None:
    world = stage.world()
    mark = put_mark(world, ordinal, undo={"version": RECIPE_VERSION + 1, "undo": "resync", "unheard": "of"})
    if ordinal is None:
        stop(world)
    else:
        with world.lock:
            world.member(ordinal).set_desync(True)
    result = await clean(stage, world)
    name = "mariadb-server" if ordinal is None else f"mariadb-server-{ordinal}"
    assert verdicts(result)[name] == Verdict.NEWER
    assert result.mended == ()
    [text] = result.left_alone
    assert "Run the janitor of that version" in text
    carrier = world.look().statefulset if ordinal is None else world.member(ordinal)
    assert mark_of(carrier.annotations) == mark
    assert world.statefulset.replicas == (0 if ordinal is None else 3)
    assert ordinal is None or world.member(ordinal).desync


async def test_restored_cluster_gets_its_new_size(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    fault = world.faults.add(Step("scale_up", "scale").held())
    assert fault.gate is not None
    stop(world)
    await assert_eventually(lambda: not world.look().members)
    restore = await stage.restore(world, replicas=3)
    await assert_eventually(fault.gate.entered.is_set, lambda: world.events, seconds=100)
    await kill_both(stage, world, restore)
    fault.before = DEAD
    fault.gate.open()
    await clean(stage, world)
    assert world.look().statefulset.replicas == 3
    assert mark_of(world.statefulset.annotations) is None


async def test_mark_on_a_statefulset_that_somebody_scaled_up(stage: Stage) -> None:
    world = stage.world()
    put_mark(world, None, undo=recipe(world))
    result = await clean(stage, world)
    [mended] = result.mended
    assert mended.name == "mariadb-server"
    assert "mark removed" in mended.text
    await stage.assert_settled(world)
    assert world.events == []


async def turn(world: World, ordinal: int, *, up: bool) -> None:
    """A server goes, or comes, and readiness and endpoints have followed."""
    with world.lock:
        member = world.member(ordinal)
        member.up = up
        member.follow_state()
    await assert_eventually(lambda: (world.look().member(ordinal).ready, member.listed) == (up, up))


async def test_restore_and_its_lease_terminated_when_the_cluster_starts(stage: Stage) -> None:
    """It is up, but its primary's Service has no endpoint, for the label was not put back."""
    world = stage.world(backups=(BACKUP_ID,))
    fault = world.faults.add(Step("wait_formed", "set_label").held())
    assert fault.gate is not None
    restore = await stage.restore(world)
    await assert_eventually(fault.gate.entered.is_set, lambda: world.events, seconds=100)
    await kill_both(stage, world, restore)
    fault.before = DEAD
    fault.gate.open()
    await assert_eventually(lambda: [member.ready for member in world.look().members.values()] == [True] * 3)
    assert world.listing("mariadb-server-0") == ["mariadb"]
    await turn(world, 2, up=False)
    assert verdicts(await clean(stage, world))["mariadb-server"] == Verdict.NOT_IN_SYNC
    await turn(world, 2, up=True)
    result = await clean(stage, world)
    assert [(each.name, each.text) for each in result.mended] == [
        ("mariadb-server", "primary label as before, mark removed")
    ]
    await stage.assert_settled(world)
    assert not any("look" in event for event in world.events)


# --- janitors


async def test_two_janitors_at_once(stage: Stage) -> None:
    world = stage.world()
    put_mark(world)
    with world.lock:
        world.member(2).set_desync(True)
    results = await asyncio.gather(*[(await stage.janitor(world)).result() for _ in range(4)])
    mended = [each for result in results for each in result.mended]
    assert [each.name for each in mended] == ["mariadb-server-2"]
    await stage.assert_settled(world)


async def test_busy_cluster_is_left_to_its_holder(stage: Stage) -> None:
    world, backup = await working_backup(stage, give_back_when_degraded=False)  # for two desynced at once
    put_mark(world, 1)
    with world.lock:
        world.member(1).set_desync(True)
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
    put_mark(world)
    with world.lock:
        world.member(2).set_desync(True)
    fault = world.faults.add(Step("resync", "set_desync").fails(times=ALWAYS))
    failure = await failure_of(await stage.janitor(world, drain_timeout=SHORT, step_timeout=SHORT))
    assert failure.type == "JanitorFailed"
    assert "bringing 'mariadb-server-2' back" in failure.message
    fault.times = 0
    assert len((await clean(stage, world)).mended) == 1
    await stage.assert_settled(world)


async def test_backup_after_the_janitor(stage: Stage) -> None:
    world = stage.world()
    put_mark(world)
    with world.lock:
        world.member(2).set_desync(True)
    await clean(stage, world)
    await (await stage.backup(world)).result()
    await stage.assert_settled(world)
