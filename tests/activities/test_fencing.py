"""A worker freezes between the check and the effect of an activity; its lease ends and is undone; it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from galera_backup import names, timing
from galera_backup.errors import GaleraBackupError, KubernetesUnavailable, LeaseLost, NotYet
from galera_backup.models.activities import FormTask, ReplicaTask
from galera_backup.models.mark import Mark
from tests.activities.undoing import end_lease, next_lease, undo_desync, undo_stop
from tests.fakes.bench import LEASE, OTHER, Bench, Frozen
from tests.support.eventually import assert_eventually

REPLICA = "mariadb-server-2"


@pytest.fixture(autouse=True)
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "DESYNC_WINDOW", timedelta(seconds=0.5))


async def assert_nothing_comes(
    bench: Bench, frozen: Frozen, again: Callable[[], Any], error: type[GaleraBackupError] = KubernetesUnavailable
) -> None:
    """The late call changes nothing, its error is worth a retry, and the retry meets the fence."""
    before = bench.state()
    failure = await frozen.goes_on()
    assert isinstance(failure, error), failure
    assert not failure.non_retryable
    with pytest.raises(LeaseLost):
        await again()
    await asyncio.sleep(0.2)
    assert bench.state() == before


# --- marks and labels


@pytest.mark.parametrize("dead_mark", [False, True])
async def test_mark(bench: Bench, dead_mark: bool) -> None:
    if dead_mark:
        dead = Mark(lease=OTHER, owner="dead", until=datetime.now(UTC))
        bench.world.member(2).annotations[names.LEASE_ANNOTATION] = dead.model_dump_json()
    task = bench.replica()
    frozen = await bench.freeze("set_mark", bench.galera.mark_replica, task)
    await bench.run(bench.kubernetes.revoke_replica, task)
    await bench.run(bench.kubernetes.unmark_replica, task)
    end_lease(bench)
    await assert_nothing_comes(bench, frozen, lambda: bench.run(bench.galera.mark_replica, task))


async def marked_primary(bench: Bench) -> ReplicaTask:
    task = bench.replica(pod="mariadb-server-0")
    return task.model_copy(update={"mark": await bench.run(bench.galera.mark_replica, task)})


@pytest.mark.parametrize("member", ["mariadb-server-1", "mariadb-server-0"])
async def test_move_of_the_label(bench: Bench, member: str) -> None:
    """Frozen before the successor gets the label, or before the replica loses it."""
    task = await marked_primary(bench)
    frozen = await bench.freeze(
        "set_label", bench.kubernetes.move_primary, task, lambda arguments: arguments["pod"].name == member
    )
    await undo_desync(bench, task)
    end_lease(bench)
    await assert_nothing_comes(bench, frozen, lambda: bench.run(bench.kubernetes.move_primary, task))
    assert bench.world.labels() == bench.world.labels_before


async def test_move_whose_plan_went_with_the_pod(bench: Bench) -> None:
    """An undo that knows the successor from the mark alone, of a pod that was created again."""
    task = await marked_primary(bench)
    frozen = await bench.freeze("set_label", bench.kubernetes.move_primary, task)
    bench.world.member(0).annotations.clear()
    bench.world.member(0).version += 1
    plain = bench.replica(pod="mariadb-server-0", only_if_marked=True)
    await undo_desync(bench, plain)
    end_lease(bench)
    await assert_nothing_comes(bench, frozen, lambda: bench.run(bench.kubernetes.move_primary, task))
    assert bench.world.labels() == bench.world.labels_before


@pytest.mark.parametrize("member", ["mariadb-server-1", "mariadb-server-0"])
async def test_moving_back_does_not_meet_the_next_move(bench: Bench, member: str) -> None:
    task = await marked_primary(bench)
    await bench.run(bench.kubernetes.move_primary, task)
    frozen = await bench.freeze(
        "set_label", bench.kubernetes.move_primary_back, task, lambda arguments: arguments["pod"].name == member
    )
    await undo_desync(bench, task)
    await next_lease(bench, pod="mariadb-server-0")
    before = bench.state()
    assert isinstance(await frozen.goes_on(), KubernetesUnavailable)
    assert bench.state() == before


async def test_unmark_does_not_meet_the_next_mark(bench: Bench) -> None:
    task = await bench.desynced()
    await bench.run(bench.kubernetes.revoke_replica, task)
    frozen = await bench.freeze("set_mark", bench.kubernetes.unmark_replica, task)
    await undo_desync(bench, task)
    await next_lease(bench)
    before = bench.state()
    assert isinstance(await frozen.goes_on(), KubernetesUnavailable)
    assert bench.state() == before


# --- wsrep_desync


async def test_desync(bench: Bench) -> None:
    task = bench.replica()
    await bench.run(bench.galera.mark_replica, task)
    frozen = await bench.freeze("set_desync", bench.galera.desync, task)
    await undo_desync(bench, task)
    end_lease(bench)
    await assert_nothing_comes(bench, frozen, lambda: bench.run(bench.galera.desync, task), NotYet)
    assert "desync ON mariadb-server-2" not in bench.world.events


async def test_desync_that_only_begins_while_the_replica_is_resynced(bench: Bench) -> None:
    """The lease is open and its mark is there until the end; what it undoes it does not begin again."""
    task = await bench.desynced()
    await bench.run(bench.kubernetes.revoke_replica, task)
    await bench.run(bench.galera.resync, task)
    for activity in (bench.galera.desync, bench.galera.mark_replica):
        with pytest.raises(LeaseLost, match="has begun to undo"):
            await bench.run(activity, task)
    assert not bench.world.look().member(2).desync


async def test_resync_does_not_meet_the_next_backup(bench: Bench) -> None:
    task = await bench.desynced()
    frozen = await bench.freeze("set_desync", bench.galera.resync, task)
    await undo_desync(bench, task)
    await next_lease(bench)
    await frozen.goes_on()
    assert bench.world.look().member(2).desync


# --- the replica count


async def test_scale_down(bench: Bench) -> None:
    frozen = await bench.freeze("scale", bench.kubernetes.scale_down, bench.scale(0))
    await undo_stop(bench)
    end_lease(bench)
    await assert_nothing_comes(bench, frozen, lambda: bench.run(bench.kubernetes.scale_down, bench.scale(0)))
    assert bench.world.statefulset.replicas == 3


async def test_pods_of_a_started_cluster_are_not_stopped(bench: Bench) -> None:
    await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    frozen = await bench.freeze("delete_member", bench.kubernetes.wait_stopped, bench.scale(0))
    await bench.run(bench.kubernetes.wait_stopped, bench.scale(0))
    await undo_stop(bench)
    await assert_eventually(lambda: len(bench.world.look().members) == 3)
    pods = {name: member.uid for name, member in bench.world.members.items()}
    await frozen.goes_on()
    assert {name: member.uid for name, member in bench.world.look().members.items() if not member.deleting} == pods


async def test_scale_up_does_not_meet_the_next_restore(bench: Bench) -> None:
    await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    frozen = await bench.freeze("scale", bench.kubernetes.scale_up, bench.scale(3))
    await undo_stop(bench)
    end_lease(bench)
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.RUNNING
    await bench.run(bench.kubernetes.scale_down, bench.scale(0, OTHER))
    assert isinstance(await frozen.goes_on(), KubernetesUnavailable)
    assert bench.world.statefulset.replicas == 2


@pytest.mark.parametrize("held_by", [0, 1])
async def test_label_after_a_restore(bench: Bench, held_by: int) -> None:
    world = bench.world
    world.member(0).labels.pop("mariadb-role")
    form = FormTask(
        site=bench.site,
        lease=LEASE,
        replicas=3,
        primary_pod="mariadb-server-0",
        stop=LEASE.run_id,
    )
    frozen = await bench.freeze("set_label", bench.galera.wait_formed, form)
    world.member(held_by).labels["mariadb-role"] = "primary"  # by the attempt that took over, or by somebody else
    await bench.run(bench.galera.wait_formed, form)
    world.member(held_by).labels["mariadb-role"] = "other"
    assert isinstance(await frozen.goes_on(), KubernetesUnavailable)
    assert [labels.get("mariadb-role") for labels in world.labels().values()].count("primary") == 0
