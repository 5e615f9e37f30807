"""Runner pods whose worker freezes while it starts them; its lease ends and is undone; it goes on."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from galera_backup import timing
from galera_backup.errors import (
    GaleraBackupError,
    KubernetesRefused,
    KubernetesUnavailable,
    LeaseLost,
    QuotaExceeded,
    RunnerNotStarted,
)
from galera_backup.kube.runner_pod import runner_pod
from galera_backup.models.activities import RemoveRunners, RunnerTask
from galera_backup.models.jobs import BackupJob, InspectJob, RestoreJob, RunnerJob
from tests.activities.undoing import end_lease, undo_desync, undo_stop
from tests.fakes.bench import LEASE, OTHER, Bench
from tests.fakes.faults import Fault
from tests.fakes.stage import BACKUP_ID
from tests.fakes.world import RunnerPlan
from tests.support.eventually import assert_eventually

REPLICA = "mariadb-server-2"


@pytest.fixture(autouse=True)
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "DESYNC_WINDOW", timedelta(seconds=0.5))


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
    await bench.stopped()
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
        await (undo_desync(bench, bench.replica()) if fence == "desynced" else undo_stop(bench))
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
    await bench.run(bench.holds.release_names, bench.hold("mariadb-server-0"))
    await bench.run(bench.kubernetes.scale_up, bench.scale(1))
    await assert_eventually(lambda: len(bench.world.look().members) == 1)
    job = task.job.model_copy(update={"ordinal": ordinal})
    claim = bench.world.claim_name(ordinal)
    return task.model_copy(update={"fence": fence, "job": job, "data_claim": claim, "stopped_from": ordinal})


@pytest.mark.parametrize("fence", ["stopped", "undo"])
async def test_runner_beside_the_replicas_below_it(bench: Bench, fence: str) -> None:
    bench.world.volume.store(BACKUP_ID, bench.world.cluster)
    task = await first_alone(bench, fence)
    assert (await bench.run(bench.runner.run_runner, task)).error is None


@pytest.mark.parametrize("fence", ["stopped", "undo"])
async def test_runner_on_the_volume_of_a_replica_that_serves(bench: Bench, fence: str) -> None:
    task = await first_alone(bench, fence, ordinal=0)
    with pytest.raises(LeaseLost, match="expected the names mariadb-server-0 to be held"):
        await bench.run(bench.runner.run_runner, task)
    assert not [event for event in bench.world.events if "started: " in event]


@pytest.mark.parametrize("fence", ["stopped", "undo"])
async def test_runner_on_a_volume_whose_name_is_not_held(bench: Bench, fence: str) -> None:
    """Somebody has removed the pod that held it."""
    task = await first_alone(bench, fence)
    with bench.world.lock:
        del bench.world.holds["mariadb-server-1"]
    with pytest.raises(LeaseLost, match="expected the names mariadb-server-1 to be held"):
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
    orphans = RemoveRunners(cluster=bench.world.cluster, lease=OTHER)
    await bench.run(bench.runner.remove_orphans, orphans)
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


async def test_orphans(bench: Bench) -> None:
    """Pods of other leases go, this one's and those that need no lease stay."""
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.RUNNING
    bench.world.plan(RunnerPlan("list", times=3))
    for task in (
        bench.job("lease", pod="old"),
        bench.job("lease", pod="mine", lease=OTHER),
        bench.job(pod="nobodys"),
    ):
        await bench.run(bench.runner.run_runner, task)
    await bench.twice(bench.runner.remove_orphans, RemoveRunners(cluster=bench.world.cluster, lease=OTHER))
    assert sorted(pod.name for pod in bench.world.present_runners()) == ["mine", "nobodys"]


async def test_removing_orphans_does_not_meet_the_next_lease(bench: Bench) -> None:
    await bench.run(bench.runner.run_runner, bench.job("lease", pod="old", lease=LEASE))
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.RUNNING
    orphans = RemoveRunners(cluster=bench.world.cluster, lease=OTHER)
    frozen = await bench.freeze("delete_pod", bench.runner.remove_orphans, orphans)
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.COMPLETED
    await bench.run(bench.runner.run_runner, bench.job("lease", pod="next"))
    failure = await frozen.goes_on()
    assert isinstance(failure, LeaseLost)
    assert [pod.name for pod in bench.world.present_runners()] == ["next"]


async def test_a_pod_of_another_run_stays(bench: Bench) -> None:
    """It has the name by chance, or by a person: nobody but its own run removes it."""
    world = bench.world
    world.plan(RunnerPlan("list", held=True))
    theirs = bench.job(run="theirs")
    world.create_runner(runner_pod(theirs, world.statefulset_facts(None), None, "agent:1"))
    with pytest.raises(RunnerNotStarted, match="there is a pod of this name already"):
        await bench.run(bench.runner.run_runner, bench.job(run="ours"))
    await bench.run(bench.runner.remove_runners, RemoveRunners(cluster=world.cluster, pod=theirs.pod, run="ours"))
    assert not world.runners[theirs.pod].deleting
    await bench.run(bench.runner.remove_runners, RemoveRunners(cluster=world.cluster, pod=theirs.pod, run="theirs"))
    assert theirs.pod not in {pod.name for pod in world.present_runners()}


@pytest.mark.parametrize(("in_outage", "error"), [(True, QuotaExceeded), (False, KubernetesRefused)])
async def test_a_quota_that_is_full(bench: Bench, in_outage: bool, error: type[GaleraBackupError]) -> None:
    """What the stop has freed is counted a moment later: then another try creates the pod."""
    bench.world.faults.add(Fault("create_pod", before=QuotaExceeded("creating pod: exceeded quota", "q")))
    job = InspectJob(cluster=bench.world.cluster, restore_id="r", in_outage=in_outage)
    with pytest.raises(error) as failed:
        await bench.run(bench.runner.run_runner, bench.job(job=job))
    assert failed.value.retryable == in_outage


@pytest.mark.parametrize(("attempt", "error"), [(1, "RunnerNotStarted"), (2, "RunnerFailed")])
async def test_the_first_pod_that_changes_data_may_have_had_another_before_it(
    bench: Bench, attempt: int, error: str
) -> None:
    """One that an earlier attempt has made may have worked, and be gone with its node: then the volumes must tell."""
    bench.env.info = dataclasses.replace(bench.env.info, attempt=attempt)
    bench.world.plan(RunnerPlan("restore", end="never starts"))
    task = await a_runner(bench, "stopped")
    outcome = await bench.run(bench.runner.run_runner, task.model_copy(update={"begins": True}))
    assert outcome.error.type == error
