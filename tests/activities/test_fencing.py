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
from galera_backup.models.activities import FormTask, RemoveRunners, ReplicaTask, RunnerTask
from galera_backup.models.jobs import BackupJob, RestoreJob, RunnerJob
from galera_backup.models.lease import Mark
from tests.fakes.bench import LEASE, OTHER, Bench, Frozen
from tests.fakes.faults import Fault
from tests.fakes.stage import BACKUP_ID
from tests.fakes.world import RunnerPlan
from tests.support.eventually import assert_eventually

REPLICA = "mariadb-server-2"


@pytest.fixture(autouse=True)
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "DESYNC_WINDOW", timedelta(seconds=0.5))


# --- what undoing is made of, in the order of `workflows.lease.undo`


async def bring_back(bench: Bench, task: ReplicaTask) -> None:
    await bench.run(bench.kubernetes.revoke_replica, task)
    await bench.run(bench.runner.remove_runners, RemoveRunners(cluster=bench.world.cluster, lease=task.lease))
    await asyncio.sleep(timing.DESYNC_WINDOW.total_seconds())
    await bench.run(bench.galera.resync, task)
    await bench.run(bench.kubernetes.take_back_primary, task)
    await bench.run(bench.kubernetes.unmark_replica, task)


async def bring_up(bench: Bench) -> None:
    await bench.run(bench.kubernetes.revoke_statefulset, bench.scale(3))
    await bench.run(bench.runner.remove_runners, RemoveRunners(cluster=bench.world.cluster, lease=LEASE))
    await bench.run(bench.kubernetes.scale_up, bench.scale(3))


def end_lease(bench: Bench) -> None:
    bench.leases.status[LEASE.run_id] = WorkflowExecutionStatus.COMPLETED


async def next_lease(bench: Bench, **changes: Any) -> ReplicaTask:
    """Another lease has marked and desynced the replica."""
    end_lease(bench)
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.RUNNING
    mark = Mark(lease=OTHER, owner="p", until=datetime.now(UTC))
    task = bench.replica(lease=OTHER, mark=mark, **changes)
    task = task.model_copy(update={"mark": await bench.run(bench.galera.mark_replica, task)})
    if task.mark.handover is not None:
        await bench.run(bench.kubernetes.hand_over_primary, task)
    await bench.run(bench.galera.desync, task)
    return task


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
async def test_handover(bench: Bench, member: str) -> None:
    """Frozen before the heir gets the label, or before the replica loses it."""
    task = await marked_primary(bench)
    frozen = await bench.freeze(
        "set_label", bench.kubernetes.hand_over_primary, task, lambda arguments: arguments["pod"].name == member
    )
    await bring_back(bench, task)
    end_lease(bench)
    await assert_nothing_comes(bench, frozen, lambda: bench.run(bench.kubernetes.hand_over_primary, task))
    assert bench.world.labels() == bench.world.labels_before


async def test_handover_whose_plan_went_with_the_pod(bench: Bench) -> None:
    """The second line knows the heir from the pod's mark alone, and the pod came anew."""
    task = await marked_primary(bench)
    frozen = await bench.freeze("set_label", bench.kubernetes.hand_over_primary, task)
    bench.world.member(0).annotations.clear()
    bench.world.member(0).version += 1
    plain = bench.replica(pod="mariadb-server-0", only_if_marked=True)
    await bring_back(bench, plain)
    end_lease(bench)
    await assert_nothing_comes(bench, frozen, lambda: bench.run(bench.kubernetes.hand_over_primary, task))
    assert bench.world.labels() == bench.world.labels_before


@pytest.mark.parametrize("member", ["mariadb-server-1", "mariadb-server-0"])
async def test_taking_back_does_not_meet_the_next_handover(bench: Bench, member: str) -> None:
    task = await marked_primary(bench)
    await bench.run(bench.kubernetes.hand_over_primary, task)
    frozen = await bench.freeze(
        "set_label", bench.kubernetes.take_back_primary, task, lambda arguments: arguments["pod"].name == member
    )
    await bring_back(bench, task)
    await next_lease(bench, pod="mariadb-server-0")
    before = bench.state()
    assert isinstance(await frozen.goes_on(), KubernetesUnavailable)
    assert bench.state() == before


async def test_unmark_does_not_meet_the_next_mark(bench: Bench) -> None:
    task = await bench.desynced()
    await bench.run(bench.kubernetes.revoke_replica, task)
    frozen = await bench.freeze("set_mark", bench.kubernetes.unmark_replica, task)
    await bring_back(bench, task)
    await next_lease(bench)
    before = bench.state()
    assert isinstance(await frozen.goes_on(), KubernetesUnavailable)
    assert bench.state() == before


# --- wsrep_desync


async def test_desync(bench: Bench) -> None:
    task = bench.replica()
    await bench.run(bench.galera.mark_replica, task)
    frozen = await bench.freeze("set_desync", bench.galera.desync, task)
    await bring_back(bench, task)
    end_lease(bench)
    await assert_nothing_comes(bench, frozen, lambda: bench.run(bench.galera.desync, task), NotYet)
    assert "desync ON mariadb-server-2" not in bench.world.events


async def test_desync_that_only_begins_while_the_replica_is_brought_back(bench: Bench) -> None:
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
    await bring_back(bench, task)
    await next_lease(bench)
    await frozen.goes_on()
    assert bench.world.look().member(2).desync


# --- the replica count


async def test_scale_down(bench: Bench) -> None:
    frozen = await bench.freeze("scale", bench.kubernetes.scale_down, bench.scale(0))
    await bring_up(bench)
    end_lease(bench)
    await assert_nothing_comes(bench, frozen, lambda: bench.run(bench.kubernetes.scale_down, bench.scale(0)))
    assert bench.world.statefulset.replicas == 3


async def test_pods_of_a_started_cluster_are_not_stopped(bench: Bench) -> None:
    await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    frozen = await bench.freeze("delete_member", bench.kubernetes.wait_stopped, bench.scale(0))
    await bench.run(bench.kubernetes.wait_stopped, bench.scale(0))
    await bring_up(bench)
    await assert_eventually(lambda: len(bench.world.look().members) == 3)
    pods = {name: member.uid for name, member in bench.world.members.items()}
    await frozen.goes_on()
    assert {name: member.uid for name, member in bench.world.look().members.items() if not member.deleting} == pods


async def test_scale_up_does_not_meet_the_next_restore(bench: Bench) -> None:
    await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    frozen = await bench.freeze("scale", bench.kubernetes.scale_up, bench.scale(3))
    await bring_up(bench)
    end_lease(bench)
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.RUNNING
    await bench.run(bench.kubernetes.scale_down, bench.scale(0, OTHER))
    assert isinstance(await frozen.goes_on(), KubernetesUnavailable)
    assert bench.world.statefulset.replicas == 0


@pytest.mark.parametrize("held_by", [0, 1])
async def test_label_after_a_restore(bench: Bench, held_by: int) -> None:
    world = bench.world
    world.member(0).labels.pop("mariadb-role")
    form = FormTask(
        site=bench.site,
        lease=LEASE,
        replicas=3,
        primary_pod="mariadb-server-0",
    )
    frozen = await bench.freeze("set_label", bench.galera.wait_formed, form)
    world.member(held_by).labels["mariadb-role"] = "primary"  # by the attempt that took over, or by somebody else
    await bench.run(bench.galera.wait_formed, form)
    world.member(held_by).labels["mariadb-role"] = "other"
    assert isinstance(await frozen.goes_on(), KubernetesUnavailable)
    assert [labels.get("mariadb-role") for labels in world.labels().values()].count("primary") == 0


# --- runner pods


async def a_runner(bench: Bench, fence: str) -> RunnerTask[RunnerJob]:
    """As in the middle of a backup, or of a restore."""
    if fence == "desynced":
        await bench.desynced()
        job: Any = BackupJob(
            cluster=bench.world.cluster,
            backup_id=BACKUP_ID,
            replica=REPLICA,
            node="node-1",
            claim=bench.world.claim_name(2),
            claim_uid="uid",
            lease_run=LEASE.run_id,
            required_space_ratio=1.2,
            unsafe=False,
            problems=(),
        )
        return bench.job(fence, job=job, replica=REPLICA, data_claim=bench.world.claim_name(2))
    await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    await bench.run(bench.kubernetes.wait_stopped, bench.scale(0))
    job = RestoreJob(
        cluster=bench.world.cluster,
        backup_id=BACKUP_ID,
        restore_id="r",
        ordinal=0,
        last=False,
        safe_to_bootstrap=True,
    )
    return bench.job(fence, job=job, data_claim=bench.world.claim_name(0))


@pytest.mark.parametrize("lease", ["ended", "open"])
@pytest.mark.parametrize("call", ["create_pod", "release_pod"])
@pytest.mark.parametrize("fence", ["desynced", "stopped"])
async def test_runner(bench: Bench, fence: str, call: str, lease: str) -> None:
    """While the lease undoes it is open and its mark is there: that the pod is late must be seen all the same."""
    task = await a_runner(bench, fence)
    frozen = await bench.freeze(call, bench.runner.run_runner, task)
    if fence == "desynced":
        await bench.run(bench.kubernetes.revoke_replica, bench.replica())
    else:
        await bench.run(bench.kubernetes.revoke_statefulset, bench.scale(3))
    await bench.run(bench.runner.remove_runners, RemoveRunners(cluster=bench.world.cluster, lease=LEASE))
    if lease == "ended":
        await (bring_back(bench, bench.replica()) if fence == "desynced" else bring_up(bench))
        end_lease(bench)
    failure = await frozen.goes_on()
    assert isinstance(failure, LeaseLost) == (call == "create_pod" or lease == "ended"), failure
    await assert_eventually(lambda: not list(bench.world.look().present_runners()))
    assert not [event for event in bench.world.events if "started: " in event]
    assert bench.world.violations == []
    assert not bench.world.claims_are_incomplete()


async def first_alone(bench: Bench, fence: str = "stopped", ordinal: int = 1) -> RunnerTask[RunnerJob]:
    """As in a rolling restore while its first replica serves."""
    task = await a_runner(bench, "stopped")
    await bench.run(bench.kubernetes.scale_up, bench.scale(1))
    await assert_eventually(lambda: len(bench.world.look().members) == 1)
    job = task.job.model_copy(update={"ordinal": ordinal})
    claim = bench.world.claim_name(ordinal)
    return task.model_copy(update={"fence": fence, "job": job, "data_claim": claim, "stopped_from": ordinal})


@pytest.mark.parametrize("fence", ["stopped", "undo"])
async def test_runner_beside_the_replicas_below_it(bench: Bench, fence: str) -> None:
    task = await first_alone(bench, fence)
    assert (await bench.run(bench.runner.run_runner, task)).error is None


@pytest.mark.parametrize("fence", ["stopped", "undo"])
async def test_runner_on_the_volume_of_a_replica_that_serves(bench: Bench, fence: str) -> None:
    task = await first_alone(bench, fence, ordinal=0)
    with pytest.raises(LeaseLost, match="expected at most 0 replicas, it has 1"):
        await bench.run(bench.runner.run_runner, task)
    assert not [event for event in bench.world.events if "started: " in event]


@pytest.mark.parametrize("fence", ["stopped", "undo"])
async def test_runner_on_the_volume_of_a_pod_that_is_not_gone_yet(bench: Bench, fence: str) -> None:
    """Somebody scaled it up, and down again."""
    task = await first_alone(bench, fence)
    with bench.world.lock:
        bench.world._create(1)
        bench.world.violations.clear()
    with pytest.raises(LeaseLost, match="found mariadb-server-1, which may use the volumes"):
        await bench.run(bench.runner.run_runner, task)
    assert not [event for event in bench.world.events if "started: " in event]


async def test_starting_the_first_alone_does_not_come_after_the_others(bench: Bench) -> None:
    await a_runner(bench, "stopped")
    frozen = await bench.freeze("scale", bench.kubernetes.scale_up, bench.scale(1))
    await bench.run(bench.kubernetes.scale_up, bench.scale(1))
    rest = bench.scale(3).model_copy(update={"serving": 1})
    await bench.twice(bench.kubernetes.scale_up, rest)
    assert isinstance(await frozen.goes_on(), KubernetesUnavailable)
    await bench.run(bench.kubernetes.scale_up, bench.scale(1))
    assert bench.world.statefulset.replicas == 3


@pytest.mark.parametrize("call", ["create_pod", "release_pod"])
async def test_runner_of_a_lease_that_was_killed_with_its_owner(bench: Bench, call: str) -> None:
    """Nothing was undone; the next lease removes what it finds before it begins."""
    task = await a_runner(bench, "desynced")
    frozen = await bench.freeze(call, bench.runner.run_runner, task)
    end_lease(bench)
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.RUNNING
    strangers = RemoveRunners(cluster=bench.world.cluster, lease=OTHER)
    await bench.run(bench.runner.remove_strangers, strangers)
    await frozen.goes_on()
    await assert_eventually(lambda: not list(bench.world.look().present_runners()))
    assert not [event for event in bench.world.events if "started: " in event]


async def test_gated_pod_is_adopted(bench: Bench) -> None:
    task = await a_runner(bench, "desynced")
    bench.world.faults.add(Fault("release_pod", before=KubernetesUnavailable("Kubernetes answered 503")))
    with pytest.raises(KubernetesUnavailable):
        await bench.run(bench.runner.run_runner, task)
    (pod,) = bench.world.present_runners()
    assert pod.gated
    outcome = await bench.run(bench.runner.run_runner, task)
    assert outcome.error is None
    assert len(bench.world.created) == 1


async def test_gated_pod_is_removed_when_the_replica_is_back(bench: Bench) -> None:
    task = await a_runner(bench, "desynced")
    bench.world.faults.add(Fault("release_pod", before=KubernetesUnavailable("Kubernetes answered 503")))
    with pytest.raises(KubernetesUnavailable):
        await bench.run(bench.runner.run_runner, task)
    bench.world.member(2).set_desync(False)
    with pytest.raises(LeaseLost, match="it is OFF"):
        await bench.run(bench.runner.run_runner, task)
    await assert_eventually(lambda: not list(bench.world.look().present_runners()))


async def test_pod_without_a_lease_has_no_gate(bench: Bench) -> None:
    await bench.run(bench.runner.run_runner, bench.job())
    assert bench.world.created[0].spec.scheduling_gates is None


async def test_strangers(bench: Bench) -> None:
    """Pods of other leases go, this one's and those that need no lease stay."""
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.RUNNING
    bench.world.plan(RunnerPlan("list", times=3))
    for task in (
        bench.job("lease", pod="old"),
        bench.job("lease", pod="mine", lease=OTHER),
        bench.job(pod="nobodys"),
    ):
        await bench.run(bench.runner.run_runner, task)
    await bench.twice(bench.runner.remove_strangers, RemoveRunners(cluster=bench.world.cluster, lease=OTHER))
    assert sorted(pod.name for pod in bench.world.present_runners()) == ["mine", "nobodys"]


async def test_removing_strangers_does_not_meet_the_next_lease(bench: Bench) -> None:
    await bench.run(bench.runner.run_runner, bench.job("lease", pod="old", lease=LEASE))
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.RUNNING
    strangers = RemoveRunners(cluster=bench.world.cluster, lease=OTHER)
    frozen = await bench.freeze("delete_pod", bench.runner.remove_strangers, strangers)
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.COMPLETED
    await bench.run(bench.runner.run_runner, bench.job("lease", pod="next"))
    failure = await frozen.goes_on()
    assert isinstance(failure, LeaseLost)
    assert [pod.name for pod in bench.world.present_runners()] == ["next"]
