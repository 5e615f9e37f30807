"""Somebody scales the cluster up while it is stopped: no server starts on data that is being replaced."""

from __future__ import annotations

import asyncio

import pytest

from galera_backup import names
from galera_backup.errors import RestoreFailed
from tests.fakes.stage import BACKUP_ID, Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan, World


def servers_started(world: World, since: int) -> list[str]:
    return [event for event in world.events[since:] if " created on " in event]


@pytest.mark.parametrize(
    ("strategy", "mode", "ordinal"), [("staged", "swap", 0), ("staged", "swap", 2), ("in_place", "restore", 1)]
)
async def test_scaled_up_while_data_is_replaced(stage: Stage, strategy: str, mode: str, ordinal: int) -> None:
    """The restore goes on: what has begun is finished, and then all replicas start on it."""
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan(mode, ordinal=ordinal, held=True))
    handle = await stage.restore(world, strategy=strategy)
    await assert_eventually(lambda: any(pod.working and pod.job.mode == mode for pod in world.look().runners.values()))
    since = len(world.events)
    world.scale_by_hand(3)
    for _ in range(20):
        await asyncio.sleep(world.delays.pod)
        assert world.look().members == {}
    assert servers_started(world, since) == []
    world.let_go()
    await handle.result()
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}
    assert world.violations == []
    assert world.holds == {}
    await stage.assert_settled(world)


@pytest.mark.parametrize("strategy", ["staged", "rolling", "in_place"])
async def test_scaled_up_while_it_is_stopped(stage: Stage, strategy: str) -> None:
    """Nothing was changed yet: the restore ends at once, and says what was seen."""
    world = stage.world(backups=(BACKUP_ID,))
    world.delays = type(world.delays)(pod=0.4)
    handle = await stage.restore(world, strategy=strategy, stop_timeout=600)
    await assert_eventually(lambda: "down 1" in world.look().events)
    world.scale_by_hand(3)
    error = await failure_of(handle)
    assert isinstance(error, RestoreFailed)
    assert "expected at most 1 replicas, it was scaled to 3" in error.message
    assert {claim.data for claim in world.claims.values()} == {"live"}
    assert world.holds == {}
    await stage.assert_settled(world)


@pytest.mark.parametrize("strategy", ["staged", "in_place"])
async def test_a_name_that_is_taken(stage: Stage, strategy: str) -> None:
    """As by a person's pod: it was not held, so nothing is renamed."""
    world = stage.world(backups=(BACKUP_ID,))
    name = names.pod(world.cluster, 1)
    world.taken = frozenset({name})
    error = await failure_of(await stage.restore(world, strategy=strategy))
    assert f"expected {name} to be free or held by us" in error.message
    assert {claim.data for claim in world.claims.values()} == {"live"}
    assert world.holds == {}
    world.taken = frozenset()
    await stage.assert_settled(world)


async def test_holds_that_somebody_removes_before_the_swap(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    handle = await stage.restore(world, strategy="staged")
    await assert_eventually(lambda: len(world.look().holds) == 3)
    with world.lock:
        world.holds.clear()
    error = await failure_of(handle)
    assert "somebody has removed the pods that held them" in error.message
    assert {claim.data for claim in world.claims.values()} == {"live"}
    await stage.assert_settled(world)
