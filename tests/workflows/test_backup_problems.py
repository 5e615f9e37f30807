"""A backup that goes on in spite of something: what is recorded of it, and who serves meanwhile."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from galera_backup.errors import PreflightRefused
from galera_backup.models.shape import ClusterShape
from tests.fakes.runner import RunnerPod
from tests.fakes.stage import Handle, Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan, World

LOST = "db/t (CONNECT)"


def seen(world: World, **fields: Any) -> None:
    """By the pods that look at the data volumes."""
    for claim in world.claims.values():
        claim.seen = fields


async def shown(handle: Handle) -> str:
    """By the Temporal UI."""
    return str(await handle.query("__temporal_workflow_metadata"))


async def working(world: World) -> RunnerPod:
    """The pod that takes the backup."""
    await assert_eventually(lambda: any(pod.working and pod.job.mode == "backup" for pod in world.runners.values()))
    return next(pod for pod in world.runners.values() if pod.job.mode == "backup")


async def test_tables_that_no_backup_holds(stage: Stage) -> None:
    world = stage.world()
    seen(world, not_backed_up=(LOST,))
    error = await failure_of(await stage.backup(world))
    assert isinstance(error, PreflightRefused)
    assert not world.volume.manifests
    result = await (await stage.backup(world, accept=["tables-not-backed-up"])).result()
    assert result.manifest.unsafe
    assert result.problems == result.manifest.problems
    assert len(result.problems) == 1
    assert LOST in result.problems[0]
    assert "accept" not in result.problems[0]
    restore = await stage.restore(world, backup_id=result.manifest.backup_id)
    await restore.result()
    assert LOST in (await restore.query("plan"))["problems"][0]
    await stage.assert_settled(world)


# --- in service


async def test_the_primary_is_spared(stage: Stage) -> None:
    """Its writes would wait for the tool."""
    world = stage.world(replicas=2, primary=1)
    result = await (await stage.backup(world)).result()
    assert (result.manifest.replica, result.manifest.in_service) == ("mariadb-server-0", True)
    named = await (await stage.backup(world, replica=1)).result()
    assert named.manifest.replica == "mariadb-server-1"
    await stage.assert_settled(world)


async def test_the_last_that_serves_goes_on_serving(stage: Stage) -> None:
    world = stage.world()
    world.member(1).up = world.member(2).up = False
    result = await (await stage.backup(world, allow_unsafe=True)).result()
    assert (result.manifest.replica, result.manifest.in_service) == ("mariadb-server-0", True)
    assert not any("desync" in event for event in world.events)
    world.member(1).up = world.member(2).up = True
    await stage.assert_settled(world)


async def test_clients_of_a_server_that_serves_do_not_wait_for_long(stage: Stage) -> None:
    world = stage.world(replicas=2)
    world.plan(RunnerPlan("backup", held=True))
    handle = await stage.backup(world, write_wait_timeout=1)
    pod = await working(world)
    replica = world.member(1 if pod.claim is world.claims[world.claim_name(1)] else 0)
    with world.lock:
        replica.other_holders = 1
        replica.settle()
    error = await failure_of(handle)
    assert error.type == "BackupBlocked"
    assert "for less than 0:00:01; so long clients' writes there have waited" in error.message
    assert "given back" not in error.message
    with world.lock:
        replica.other_holders = 0
        replica.settle()
    await stage.assert_settled(world)


# --- forecasts


@pytest.mark.parametrize(
    ("replicas", "told"),
    [(3, "as much as 400 s while it copies 9765625 KB"), (2, "is 0:00:30. Raise that")],
)
async def test_tables_that_hold_the_server_up(stage: Stage, replicas: int, told: str) -> None:
    world = stage.world(replicas=replicas)
    seen(world, outside_innodb_kb=9_765_625)
    handle = await stage.backup(world)
    await handle.result()
    assert told in await shown(handle)
    await stage.assert_settled(world)


async def test_too_slow_without_a_rate_in_the_request(stage: Stage) -> None:
    """The agent's own rate is no faster."""
    world = stage.world()
    seen(world, read_kb=9_765_625, processors=2)
    error = await failure_of(await stage.backup(world, runner_timeout=199))
    assert error.type == "InvalidInput"
    assert "expected at least 0:03:20, which reading 9765625 KB takes" in error.message
    assert "'max_mb_per_second': 50, its default on this node" in error.message
    await (await stage.backup(world, runner_timeout=200)).result()
    await stage.assert_settled(world)


async def test_names_from_the_future_are_told(stage: Stage) -> None:
    world = stage.world()
    world.volume.store("29990101T000000Z-full", world.cluster)
    handle = await stage.backup(world)
    result = await handle.result()
    assert result.future == ("29990101T000000Z-full",)
    assert "29990101T000000Z-full; retention leaves them alone" in await shown(handle)
    await stage.assert_settled(world)


# --- out of service


@pytest.mark.parametrize(("unready_after", "seconds"), [(1, 120), (9, 120), (90, 180)])
async def test_a_slow_probe_has_its_time(stage: Stage, unready_after: int, seconds: int) -> None:
    """Period times threshold of the readiness probe may be longer than two minutes."""
    world = stage.world()

    def reshape(shape: ClusterShape) -> ClusterShape:
        members = tuple(each.model_copy(update={"unready_after": unready_after}) for each in shape.members)
        return shape.model_copy(update={"members": members})

    world.reshape = reshape
    await (await stage.backup(world)).result()
    history = await stage.lease(world).fetch_history()
    scheduled = [each.activity_task_scheduled_event_attributes for each in history.events]
    [waits] = [each for each in scheduled if each.activity_type.name == "wait_out_of_service"]
    assert waits.schedule_to_close_timeout.ToSeconds() == seconds
    await stage.assert_settled(world)


# --- the time of the runner


async def test_a_second_attempt_has_the_rest_of_the_time(stage: Stage) -> None:
    world = stage.world()
    world.plan(RunnerPlan("backup", end="fails", error="BackupFailed"))
    await (await stage.backup(world)).result()
    jobs = [pod for pod in world.created if pod.metadata.name.endswith(("-backup", "-backup-2"))]
    first, second = (pod.spec.active_deadline_seconds for pod in jobs)
    assert first - 60 < second < first == timedelta(hours=6).total_seconds()
    await stage.assert_settled(world)


async def test_no_second_attempt_that_cannot_come_as_far(stage: Stage) -> None:
    """As after a deadline: the replica was out for twice `runner_timeout`."""
    world = stage.world()
    world.plan(RunnerPlan("backup", end="fails", error="BackupFailed", held=True))
    handle = await stage.backup(world, runner_timeout=5)
    await working(world)
    await asyncio.sleep(3)
    world.let_go()
    assert (await failure_of(handle)).type == "BackupFailed"
    assert sum(event.endswith("started: backup") for event in world.events) == 1
    await stage.assert_settled(world)
