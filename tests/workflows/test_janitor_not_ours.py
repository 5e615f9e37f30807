"""GaleraJanitor: what is not ours is not touched, and told."""

from __future__ import annotations

from galera_backup.models.janitor import Verdict
from tests.fakes.stage import Stage, assert_eventually
from tests.matrix.janitor import put_mark
from tests.workflows.janitors import SHORT, clean, has, left_desynced, verdicts


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
    left_desynced(world, namespace="another")
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
    left_desynced(world)
    with world.lock:
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
    left_desynced(world)
    with world.lock:
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
    world.scale_by_hand(0)
    result = await clean(stage, world)
    assert verdicts(result) == {"mariadb-server": Verdict.FOREIGN}
    assert result.mended == ()
    assert world.look().statefulset.replicas == 0
