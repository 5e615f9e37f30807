"""Failures that others' users reported, each tried here; `docs/lessons.md` has the list."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from tests.fakes.stage import BACKUP_ID, Handle, Stage, failure_of, open_stage, serving
from tests.fakes.world import RunnerPlan, World
from tests.support.eventually import assert_eventually


async def held_backup(stage: Stage, plan: RunnerPlan) -> tuple[World, Handle]:
    """A backup whose runner works until the test lets it go."""
    world = stage.world()
    plan.held = True
    world.plan(plan)
    handle = await stage.backup(world)
    await assert_eventually(lambda: any("started: backup" in event for event in world.look().events))
    return world, handle


async def assert_next_backup_runs(stage: Stage, world: World) -> None:
    """Nothing of a backup that failed is in the way of the next one."""
    await stage.assert_settled(world)
    result = await (await stage.backup(world)).result()
    assert list(world.volume.manifests) == [result.manifest.backup_id]
    await stage.assert_settled(world)


def is_whole(world: World) -> bool:
    """All members are there again, and Ready."""
    return [member.ready for member in world.look().members.values()] == [True] * 3


async def test_cloudnative_pg_7905_the_pod_that_is_backed_up_is_killed(stage: Stage) -> None:
    """There, the backup of a pod that was killed stayed `running` for ever."""
    world, handle = await held_backup(stage, RunnerPlan("backup", end="fails", error="BackupFailed"))
    world.recreate(2)
    await assert_eventually(lambda: "mariadb-server-2 gone" in world.look().events)
    await assert_eventually(lambda: is_whole(world))
    world.let_go()
    failure = await failure_of(handle)
    assert failure.type == "LeaseLost"
    assert "expected the mark of lease" in failure.message
    world.violations.clear()  # the first runner went on for a while beside the new server
    await assert_next_backup_runs(stage, world)


async def test_cloudnative_pg_5420_the_nodes_of_the_cluster_are_shut_down(stage: Stage) -> None:
    """There, a backup that was running when the nodes went down stayed so, and no scheduled one came after it."""
    async with open_stage(stage.client, workers=False) as own:
        async with serving(own):
            world, handle = await held_backup(own, RunnerPlan("backup", end="vanishes"))
        for ordinal in range(3):
            world.recreate(ordinal)
        world.let_go()
        await assert_eventually(lambda: is_whole(world))
        world.violations.clear()  # the runner ended beside the new server
        async with serving(own):
            failure = await failure_of(handle)
            assert failure.type in ("RunnerFailed", "LeaseLost")
            world.labels_before = world.labels()
            await assert_next_backup_runs(own, world)


@pytest.mark.parametrize("end", ["evicted", "killed"])
async def test_cloudnative_pg_10384_the_log_of_a_runner_outlives_its_pod(stage: Stage, end: str) -> None:
    """There, what ran the backup was restarted now and then: the backup had failed, and the logs were gone."""
    world = stage.world()
    world.plan(RunnerPlan("backup", end=end))  # type: ignore[arg-type]
    await (await stage.backup(world)).result()  # once is not enough to fail it
    world.plan(RunnerPlan("backup", end=end, times=2))  # type: ignore[arg-type]
    with pytest.raises(WorkflowFailureError) as caught:
        await (await stage.backup(world)).result()
    assert isinstance(caught.value.cause, ApplicationError)
    [log] = caught.value.cause.details
    assert log["tail"] == "working"
    assert log["path"].endswith("/runner.log")
    await stage.assert_settled(world)


@pytest.mark.parametrize("error", ["BackupFailed", "RunnerFailed"])
async def test_mariadb_operator_1913_1914_a_failed_backup_disables_no_later_one(stage: Stage, error: str) -> None:
    """There, a failed backup left replication of its replica stopped: Not Ready, which paused every later backup."""
    world = stage.world()
    world.plan(RunnerPlan("backup", end="fails", error=error, times=2))  # type: ignore[arg-type]
    failure = await failure_of(await stage.backup(world))
    assert failure.type == error
    await assert_next_backup_runs(stage, world)


async def test_mariadb_operator_1711_a_runner_for_a_node_that_is_gone(stage: Stage) -> None:
    """There, a job was bound to a node that had been replaced, failed, and blocked all that were scheduled later."""
    world = stage.world()
    world.plan(RunnerPlan("backup", end="never starts"))
    failure = await failure_of(await stage.backup(world))
    assert failure.type == "RunnerNotStarted"
    assert "it did not start within" in failure.message
    with world.lock:
        world.member(2).node = "node-2"
    await assert_next_backup_runs(stage, world)
    assert [manifest.node for manifest in world.volume.manifests.values()] == ["node-2"]
    nodes = [pod.spec.affinity.to_str() for pod in world.created if pod.metadata.name.endswith("-backup")]
    assert "node-1" in nodes[0]
    assert "node-2" in nodes[1]


async def test_k8ssandra_operator_1198_the_worker_goes_away_and_another_one_comes(stage: Stage) -> None:
    """There, a backup never finished when the operator was stopped in the middle of it."""
    async with open_stage(stage.client, workers=False) as own:
        async with serving(own):
            world, handle = await held_backup(own, RunnerPlan("backup"))
        world.let_go()
        async with serving(own):
            result = await handle.result()
            await own.assert_settled(world)
    assert list(world.volume.manifests) == [result.manifest.backup_id]
    assert sum("started: backup" in event for event in world.events) == 1


@pytest.mark.parametrize("ordinal", [0, 2])
async def test_percona_xtradb_cluster_operator_1610_the_worker_restarts_in_a_restore(
    stage: Stage, ordinal: int
) -> None:
    """There, a restore stuck when the operator restarted, with the cluster stopped."""
    async with open_stage(stage.client, workers=False) as own:
        async with serving(own):
            world = own.world(backups=(BACKUP_ID,))
            world.plan(RunnerPlan("restore", ordinal=ordinal, held=True))
            handle = await own.restore(world, ready_timeout=timedelta(minutes=2))
            await assert_eventually(
                lambda: sum("started: restore" in event for event in world.look().events) == ordinal + 1
            )
        assert world.look().statefulset.replicas == 0
        world.let_go()
        async with serving(own):
            await handle.result()
            await own.assert_settled(world)
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}
    assert sum("started: restore" in event for event in world.events) == 3
