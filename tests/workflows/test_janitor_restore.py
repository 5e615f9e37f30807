"""GaleraJanitor: a cluster that a restore left stopped, when the lease was lost with it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from galera_backup.marks import mark_of
from galera_backup.models.janitor import Verdict
from galera_backup.models.mark import RECIPE_VERSION
from tests.fakes.kill import Step
from tests.fakes.stage import BACKUP_ID, Handle, Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan, World
from tests.matrix.in_place import STEPS
from tests.matrix.janitor import put_mark, recipe
from tests.matrix.play import DEAD
from tests.workflows.janitors import clean, kill_both, verdicts


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
    world.scale_by_hand(0)
    assert len((await clean(stage, world)).mended) == 1
    await stage.assert_settled(world)


async def test_stopped_with_a_mark_that_does_not_say_how_to_start_is_reported(stage: Stage) -> None:
    world = stage.world()
    put_mark(world, None)
    world.scale_by_hand(0)
    result = await clean(stage, world)
    assert verdicts(result) == {"mariadb-server": Verdict.STAYS_STOPPED}
    assert "'replicas' set to the size" in result.left_alone[0]


@pytest.mark.parametrize("ordinal", [None, 2])
async def test_recipe_of_a_newer_version_is_reported_and_not_touched(stage: Stage, ordinal: int | None) -> None:
    world = stage.world()
    mark = put_mark(world, ordinal, undo={"version": RECIPE_VERSION + 1, "undo": "resync", "unheard": "of"})
    if ordinal is None:
        world.scale_by_hand(0)
    else:
        with world.lock:
            world.member(ordinal).set_desync(True)
    result = await clean(stage, world)
    name = "mariadb-server" if ordinal is None else f"mariadb-server-{ordinal}"
    assert verdicts(result)[name] == Verdict.NEWER
    assert result.mended == ()
    [text] = result.left_alone
    assert "Run the janitor of the newer version" in text
    carrier = world.look().statefulset if ordinal is None else world.member(ordinal)
    assert mark_of(carrier.annotations) == mark
    assert world.statefulset.replicas == (0 if ordinal is None else 3)
    assert ordinal is None or world.member(ordinal).desync


async def test_restored_cluster_gets_its_new_size(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    fault = world.faults.add(Step("scale_up", "scale").held())
    assert fault.gate is not None
    world.scale_by_hand(0)
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


async def _killed_between_two_claims(stage: Stage, world: World) -> None:
    """The restore and its lease are lost when one claim is restored."""
    fault = world.faults.add(STEPS["restore-1"].held())
    assert fault.gate is not None
    restore = await stage.restore(world)
    await assert_eventually(fault.gate.entered.is_set, lambda: world.events, seconds=100)
    await kill_both(stage, world, restore)
    fault.before = DEAD  # the call never comes: its worker is gone
    fault.gate.open()
    await asyncio.sleep(1)


async def test_scaled_up_when_nobody_is_left(stage: Stage) -> None:
    """The names are held, so no server runs, whatever the StatefulSet wants: the janitor finishes the restore."""
    world = stage.world(backups=(BACKUP_ID,))
    await _killed_between_two_claims(stage, world)
    world.scale_by_hand(3)
    result = await clean(stage, world)
    assert [each.name for each in result.mended] == ["mariadb-server"]
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}
    assert world.holds == {}
    await stage.assert_settled(world)


async def test_names_that_are_held_without_a_mark(stage: Stage) -> None:
    """As where the StatefulSet was created again meanwhile: a restore lets them go."""
    world = stage.world(backups=(BACKUP_ID,))
    await _killed_between_two_claims(stage, world)
    world.remove_mark(all_annotations=True)
    world.scale_by_hand(3)
    result = await clean(stage, world)
    assert verdicts(result)["mariadb-server"] == Verdict.STAYS_STOPPED
    assert "pods of ours hold the names of mariadb-server-0, mariadb-server-1, mariadb-server-2" in result.left_alone[0]
    assert world.look().members == {}
    await (await stage.restore(world)).result()
    assert (len(world.members), world.holds, world.violations) == (3, {}, [])
