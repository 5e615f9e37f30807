"""The data from before a staged restore is kept, put back by a rollback, or removed when its time is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import WorkflowExecutionStatus

from galera_backup import names
from galera_backup.errors import PreflightRefused
from galera_backup.models.restore import RestoreResult
from galera_backup.models.shape import ClusterShape
from tests.fakes.stage import BACKUP_ID, Handle, Stage, failure_of
from tests.fakes.world import RunnerPlan, World
from tests.workflows.test_preflight import statefulset

HOUR = 3600


async def restored(stage: Stage, world: World, **fields: Any) -> RestoreResult:
    """A restore that kept the old data."""
    world.copies_may_stay = True
    handle = await stage.restore(world, **{"strategy": "staged", "keep_previous_for": HOUR, **fields})
    result = await handle.result()
    assert data_of(world) == BACKUP_ID
    return result


def data_of(world: World) -> str:
    """What all claims hold."""
    [data] = {claim.data for claim in world.look().claims.values()}
    return data


def keeps(world: World) -> set[str | None]:
    """What lies aside on the claims."""
    return {claim.previous for claim in world.look().claims.values()}


def timer(stage: Stage, world: World, restore_id: str) -> Handle:
    """What removes the data that this restore kept."""
    return stage.client.get_workflow_handle(names.tidy_id(world.cluster, restore_id))


async def test_a_restore_is_rolled_back(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    restore = await restored(stage, world)
    await stage.assert_settled(world)
    assert keeps(world) == {"live"}
    assert restore.kept_until is not None
    left = restore.kept_until - datetime.now(UTC)
    assert timedelta(seconds=HOUR - 300) < left < timedelta(seconds=HOUR)
    assert await stage.status(timer(stage, world, restore.restore_id)) == WorkflowExecutionStatus.RUNNING
    result = await (await stage.rollback(world, restore.restore_id)).result()
    await stage.assert_settled(world)
    assert data_of(world) == "live"
    assert keeps(world) == {None}
    assert [each.phase for each in result.phases] == ["lease", "plan", "check", "stop", "swap", "start"]
    assert (result.replicas, result.untidy) == (3, ())
    assert 0 < result.outage_seconds < 60
    assert all(claim.journal is None for claim in world.claims.values())


async def test_what_is_kept_goes_when_its_time_is_over(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    restore = await restored(stage, world, keep_previous_for=1)
    await timer(stage, world, restore.restore_id).result()
    assert keeps(world) == {None}
    failure = await failure_of(await stage.rollback(world, restore.restore_id))
    assert failure.type == "RestoreFailed"
    assert "expected the data from before it on 'mysql-data-" in failure.message
    await stage.assert_settled(world)
    assert data_of(world) == BACKUP_ID
    assert world.events.count("scale 0") == 1


async def test_nothing_is_kept_if_not_asked_for(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    restore = await restored(stage, world, keep_previous_for=0)
    assert restore.kept_until is None
    assert keeps(world) == {None}
    assert await stage.status(timer(stage, world, restore.restore_id)) is None


async def test_nothing_is_kept_of_a_restore_that_went_back(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.ends_on = {BACKUP_ID}
    await failure_of(await stage.restore(world, strategy="staged", keep_previous_for=HOUR))
    await stage.assert_settled(world)
    assert data_of(world) == "live"


async def test_a_late_timer_leaves_alone_what_a_later_restore_keeps(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    first = await restored(stage, world, keep_previous_for=8)
    second = await restored(stage, world)
    assert first.restore_id != second.restore_id
    await timer(stage, world, first.restore_id).result()
    assert keeps(world) == {BACKUP_ID}


async def test_swap_that_fails_on_one_claim(stage: Stage) -> None:
    """The others are on the old data already: the lease finishes."""
    world = stage.world(backups=(BACKUP_ID,))
    restore = await restored(stage, world)
    world.plan(RunnerPlan("swap", ordinal=1, end="fails", error="RestoreFailed", times=2))
    failure = await failure_of(await stage.rollback(world, restore.restore_id))
    assert failure.type == "RestoreFailed"
    assert f"{world.claim_name(1)} untouched" in failure.message
    await stage.assert_settled(world)
    assert data_of(world) == "live"


async def test_what_changes_before_the_stop(stage: Stage) -> None:
    """As before the stop of a restore: the last look is as good as the first."""
    world = stage.world(backups=(BACKUP_ID,))
    restore = await restored(stage, world)
    looks = []

    def reshape(shape: ClusterShape) -> ClusterShape:
        looks.append(shape)
        return statefulset(claims_when_scaled="Delete")(shape) if len(looks) > 1 else shape

    world.reshape = reshape
    failure = await failure_of(await stage.rollback(world, restore.restore_id))
    assert isinstance(failure, PreflightRefused)
    assert world.events.count("scale 0") == 1, "of the restore"
    assert keeps(world) == {"live"}
    await stage.assert_settled(world)


async def test_what_cannot_be_moved_is_found_before_the_stop(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    restore = await restored(stage, world)
    world.claims[world.claim_name(1)].seen = {"in_the_way": ("nova: another file system is mounted there",)}
    failure = await failure_of(await stage.rollback(world, restore.restore_id))
    assert isinstance(failure, PreflightRefused)
    assert "nova: another file system is mounted there" in failure.message
    assert world.events.count("scale 0") == 1
    await stage.assert_settled(world)


async def test_the_backup_volume_is_not_needed(stage: Stage) -> None:
    """It may be what was lost."""
    world = stage.world(backups=(BACKUP_ID,))
    restore = await restored(stage, world)
    before = len(world.created)

    def reshape(shape: ClusterShape) -> ClusterShape:
        backups = shape.claims[-1].model_copy(update={"phase": "Lost"})
        return shape.model_copy(update={"claims": (*shape.claims[:-1], backups)})

    world.reshape = reshape
    result = await (await stage.rollback(world, restore.restore_id, backup_claim="backups")).result()
    assert result.warnings == ()
    assert data_of(world) == "live"
    claims = {
        volume.persistent_volume_claim.claim_name
        for pod in world.created[before:]
        for volume in pod.spec.volumes
        if volume.persistent_volume_claim is not None
    }
    assert claims == set(world.claims)
    failure = await failure_of(await stage.restore(world, backup_claim="backups"))
    assert "expected it to be bound" in failure.message
