"""Two other members stay in sync while one is backed up, or the replica goes back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from galera_backup.errors import DatabaseUnavailable, GaleraBackupError, KubernetesRefused, KubernetesUnavailable
from galera_backup.models.blocked import BackupWait, Statement
from tests.fakes.faults import Fault, Gate
from tests.fakes.stage import Handle, Stage, failure_of, open_stage, serving
from tests.fakes.world import RunnerPlan, World
from tests.support.eventually import assert_eventually

ENOUGH_LOOKS = 3
"""Seconds in which the watch looks more often than it needs to, also on a busy machine."""


async def working_backup(stage: Stage, **fields: object) -> tuple[World, Handle]:
    world = stage.world()
    world.plan(RunnerPlan("backup", held=True))
    handle = await stage.backup(world, **fields)
    await assert_eventually(lambda: has_started(world), lambda: world.events)
    return world, handle


def has_started(world: World) -> bool:
    return any("started: backup" in event for event in world.look().events)


def set_up(world: World, up: bool) -> None:
    """The server of the member in the middle."""
    with world.lock:
        world.member(1).up = up


# --- refused


async def held_at(stage: Stage, fault: Fault, **fields: object) -> tuple[World, Handle]:
    """A backup that waits at a gate, after its cluster check."""
    world = stage.world()
    fault.gate = gate = Gate()
    world.faults.add(fault)
    handle = await stage.backup(world, **fields)
    await assert_eventually(gate.entered.is_set)
    return world, handle


@pytest.mark.parametrize("unsafe", [False, True])
async def test_desync_is_refused(stage: Stage, unsafe: bool) -> None:
    fault = Fault("set_mark", "mark_replica")
    world, handle = await held_at(stage, fault, allow_unsafe=unsafe)
    set_up(world, False)
    assert fault.gate is not None
    fault.gate.open()
    if unsafe:
        await handle.result()
    else:
        failure = await failure_of(handle)
        assert failure.type == "ClusterUnhealthy"
        assert "desyncing 'mariadb-server-2': expected at least 2 other members in sync" in failure.message
        assert "| mariadb-server-1 | Running, Ready | unreachable |" in failure.message
        assert "start the backup again" in failure.message
        assert "desync ON mariadb-server-2" not in world.events
    set_up(world, True)
    await stage.assert_settled(world)


@pytest.mark.parametrize("unsafe", [False, True])
async def test_runner_is_refused(stage: Stage, unsafe: bool) -> None:
    fault = Fault("create_pod", "run_runner", lambda arguments: arguments["pod"].metadata.name.endswith("-backup"))
    world, handle = await held_at(stage, fault, allow_unsafe=unsafe, give_back_when_degraded=False)
    set_up(world, False)
    assert fault.gate is not None
    fault.gate.open()
    if unsafe:
        await handle.result()
    else:
        failure = await failure_of(handle)
        assert failure.type == "ClusterUnhealthy"
        assert "starting runner pod" in failure.message
        assert not has_started(world)
    set_up(world, True)
    await stage.assert_settled(world)


# --- given back


async def test_replica_goes_back_when_the_cluster_needs_it(stage: Stage) -> None:
    world, handle = await working_backup(stage)
    set_up(world, False)
    failure = await failure_of(handle)
    assert failure.type == "ClusterDegraded"
    assert "saw 1 for 3 looks in a row" in failure.message
    assert "| mariadb-server-1 | Running, Ready | unreachable |" in failure.message
    assert "start the backup again" in failure.message
    assert not world.look().member(2).desync
    assert not world.volume.manifests
    set_up(world, True)
    await stage.assert_settled(world)


@pytest.mark.parametrize("fields", [{"give_back_when_degraded": False}, {"allow_unsafe": True}])
async def test_not_given_back_where_that_is_not_wanted(stage: Stage, fields: dict[str, Any]) -> None:
    world, handle = await working_backup(stage, **fields)
    set_up(world, False)
    await asyncio.sleep(ENOUGH_LOOKS)
    assert world.look().member(2).desync
    world.let_go()
    await handle.result()
    set_up(world, True)
    await stage.assert_settled(world)


@pytest.mark.parametrize(
    ("method", "error", "looks"),
    [
        ("wsrep_status", DatabaseUnavailable("MariaDB error 2013: Lost connection"), 2),
        ("statefulset", KubernetesUnavailable("Kubernetes answered 503"), 9),
        ("members", KubernetesRefused("Kubernetes answered 403"), 9),
    ],
)
async def test_blip(stage: Stage, method: str, error: GaleraBackupError, looks: int) -> None:
    """A member that did not answer twice, or an API server that did not answer at all, gives nothing back."""

    def is_meant(arguments: Any) -> bool:
        return "server" not in arguments or arguments["server"].pod == "mariadb-server-1"

    world, handle = await working_backup(stage)
    fault = world.faults.add(Fault(method, "run_runner", is_meant, before=error, times=looks))
    await assert_eventually(lambda: fault.times == 0)
    await asyncio.sleep(1)
    world.let_go()
    await handle.result()
    await stage.assert_settled(world)


# --- the watch itself


async def test_cancelled_while_it_is_watched(stage: Stage) -> None:
    world, handle = await working_backup(stage)
    await handle.cancel()
    assert await stage.end_of(handle) == WorkflowExecutionStatus.CANCELED
    await stage.assert_settled(world)
    assert sum("started: backup" in event for event in world.events) == 1


async def test_watch_survives_its_worker(stage: Stage) -> None:
    async with open_stage(stage.client, workers=False) as own:
        async with serving(own, graceful=timedelta(milliseconds=500)):
            world, handle = await working_backup(own)
        async with serving(own):
            set_up(world, False)
            assert (await failure_of(handle)).type == "ClusterDegraded"
            set_up(world, True)
            await own.assert_settled(world)


async def test_a_lock_that_somebody_holds(stage: Stage) -> None:
    """The replica is given back, without a second attempt, and the statement is named."""
    world = stage.world()
    world.plan(RunnerPlan("backup", held=True))
    handle = await stage.backup(world, lock_wait_timeout=60)
    await assert_eventually(
        lambda: any(pod.working and pod.job.mode == "backup" for pod in world.look().runners.values())
    )
    statement = Statement(id=7, user="app", seconds=90, text="ALTER TABLE orders ...")
    with world.lock:
        world.member(2).backup_wait = BackupWait(seconds=59, state="Waiting for backup lock", running=(statement,))
    await asyncio.sleep(0.5)
    assert world.member(2).desync
    with world.lock:
        world.member(2).backup_wait = BackupWait(seconds=60, state="Waiting for backup lock", running=(statement,))
    error = await failure_of(handle)
    assert error.type == "BackupBlocked"
    assert "connection 7 of 'app' since 90 s: ALTER TABLE orders ..." in error.message
    assert sum(event.endswith("started: backup") for event in world.events) == 1
    await stage.assert_settled(world)
