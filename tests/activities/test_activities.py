"""Each activity over the fakes: what it does, that it may run twice, and when it refuses."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from galera_backup import names
from galera_backup.errors import DatabaseRefused, DatabaseUnavailable, DesyncFailed, KubernetesUnavailable, LeaseLost
from galera_backup.marks import mark_of
from galera_backup.models.activities import FormTask, Observe, RemoveRunners, ReplicaTask
from galera_backup.models.common import PrimaryLabel
from galera_backup.models.mark import Mark, PrimaryMove, ResyncRecipe
from tests.fakes.bench import LEASE, OTHER, Bench, without_note
from tests.fakes.faults import Fault
from tests.fakes.gateways import FakeKube, Worlds
from tests.fakes.member import Delays
from tests.fakes.world import RunnerPlan
from tests.support.eventually import assert_eventually

# --- twice is as once


async def test_mark(bench: Bench) -> None:
    mark = await bench.twice(bench.galera.mark_replica, bench.replica())
    assert mark.lease == LEASE
    assert mark.moved is None


async def test_mark_plans_the_move_of_the_label_once(bench: Bench) -> None:
    task = bench.replica(pod="mariadb-server-0")
    mark = await bench.twice(bench.galera.mark_replica, task)
    assert (mark.moved.successor, mark.moved.successor_role) == ("mariadb-server-1", None)
    task = task.model_copy(update={"mark": mark})
    await bench.twice(bench.kubernetes.move_primary, task)
    assert bench.world.member(1).labels["mariadb-role"] == "primary"
    assert bench.world.member(0).labels["mariadb-role"] == "backup"
    again = await bench.run(bench.galera.mark_replica, task)  # the label has moved, the plan stays
    assert again.moved == mark.moved
    await bench.twice(bench.kubernetes.move_primary_back, task)
    assert bench.world.labels() == bench.world.labels_before
    await bench.twice(bench.kubernetes.unmark_replica, task)
    assert not without_note(bench.world.member(0).annotations)


async def test_label_without_a_successor(bench: Bench) -> None:
    for ordinal in (1, 2):
        bench.world.member(ordinal).up = False
    with pytest.raises(DesyncFailed, match="there is none"):
        await bench.run(bench.galera.mark_replica, bench.replica(pod="mariadb-server-0"))
    assert not bench.world.member(0).annotations


async def test_label_that_somebody_else_has_moved_is_not_moved_back(bench: Bench) -> None:
    task = bench.replica(pod="mariadb-server-0")
    task = task.model_copy(update={"mark": await bench.run(bench.galera.mark_replica, task)})
    await bench.run(bench.kubernetes.move_primary, task)
    bench.world.member(1).labels["mariadb-role"] = "other"
    await bench.twice(bench.kubernetes.move_primary_back, task)
    assert bench.world.member(0).labels["mariadb-role"] == "backup"


async def test_desync_and_out_of_service(bench: Bench) -> None:
    task = bench.replica()
    await bench.run(bench.galera.mark_replica, task)
    await bench.twice(bench.galera.desync, task)
    await bench.twice(bench.kubernetes.wait_out_of_service, task)
    assert not bench.world.member(2).ready
    assert bench.world.listing("mariadb-server-2") == []


async def test_resync_and_back_in_service(bench: Bench) -> None:
    task = await bench.desynced()
    await bench.run(bench.kubernetes.wait_out_of_service, task)
    first = await bench.run(bench.galera.resync, task)
    assert (first.was_desynced, first.drained) == (True, True)
    second = await bench.twice(bench.galera.resync, task)
    assert not second.was_desynced
    await bench.twice(bench.kubernetes.wait_in_service, task)
    assert bench.world.listing("mariadb-server-2") == ["mariadb"]


async def test_endpoints_that_lag_are_waited_for(bench: Bench) -> None:
    """Ready or not is one thing, where clients are sent to is another."""
    bench.world.member(2).delays = Delays(endpoints=0.6)
    task = await bench.desynced()
    await bench.run(bench.kubernetes.wait_out_of_service, task)
    assert bench.world.listing("mariadb-server-2") == []
    await bench.run(bench.galera.resync, task)
    await bench.run(bench.kubernetes.wait_in_service, task)
    assert bench.world.listing("mariadb-server-2") == ["mariadb"]


async def test_a_service_that_lists_none_of_its_pods_is_not_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of another IP family: whoever waited for it would keep the replica's lease for ever."""
    task = await bench.desynced()
    await bench.run(bench.galera.resync, task)
    selecting = bench.world.selecting
    monkeypatch.setattr(bench.world, "selecting", lambda labels: [*selecting(labels), "ipv6"])
    await bench.run(bench.kubernetes.wait_in_service, task)
    assert bench.world.listing("mariadb-server-2") == ["mariadb"]


async def test_stop_and_start(bench: Bench) -> None:
    await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    await bench.twice(bench.kubernetes.wait_stopped, bench.scale(0))
    assert not bench.world.members
    await bench.twice(bench.kubernetes.scale_down, bench.scale(0))
    await bench.run(bench.kubernetes.scale_up, bench.scale(3))
    form = FormTask(
        site=bench.site,
        lease=LEASE,
        replicas=3,
        primary_pod="mariadb-server-0",
        stop=LEASE.run_id,
    )
    await bench.twice(bench.galera.wait_formed, form)
    await bench.twice(bench.kubernetes.scale_up, bench.scale(3))
    assert mark_of(bench.world.statefulset.annotations) is not None
    await bench.twice(bench.kubernetes.unmark_statefulset, bench.scale(3))
    assert mark_of(bench.world.statefulset.annotations) is None
    assert bench.world.labels() == bench.world.labels_before


async def test_each_stops_when_the_one_before_has_left(bench: Bench) -> None:
    """The first is the last, so that the cluster can be started from it again; nobody waits for a pod of the others."""
    bench.world.delays = Delays(pod=1.5)
    await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    await bench.run(bench.kubernetes.wait_stopped, bench.scale(0))
    gone = [event for event in bench.world.events if event.endswith("gone")]
    assert gone[-1] == "mariadb-server-0 gone"
    assert bench.world.deleted == ["mariadb-server-2", "mariadb-server-1", "mariadb-server-0"]
    assert bench.world.violations == []


async def test_clients_write_until_the_first_replica_goes(bench: Bench) -> None:
    """The primary label of a replica that goes before it is moved to it, and back where the stop does not end."""
    first, last = bench.world.member(0), bench.world.member(2)
    first.labels["mariadb-role"], last.labels["mariadb-role"] = "replica", "primary"
    before = bench.world.labels()
    await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    labels = bench.world.events[: bench.world.events.index("down 2")]
    assert [each for each in labels if each.startswith("label")][-2:] == [
        "label mariadb-server-0 primary",
        "label mariadb-server-2 None",
    ]
    form = FormTask(
        site=bench.site, lease=LEASE, replicas=3, primary_pod="mariadb-server-2", first_role="replica", stop="s"
    )
    await bench.run(bench.kubernetes.scale_up, bench.scale(3))
    await bench.twice(bench.galera.wait_formed, form)
    assert bench.world.labels() == before


async def test_a_first_replica_that_is_not_ready_gets_no_writes(bench: Bench) -> None:
    bench.world.member(0).ready, bench.world.member(0).labels["mariadb-role"] = False, "replica"
    bench.world.member(2).labels["mariadb-role"] = "primary"
    await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    assert bench.world.labels()["mariadb-server-0"]["mariadb-role"] == "replica"


async def test_scale_up_is_conditional_on_the_mark(bench: Bench) -> None:
    await bench.run(bench.kubernetes.scale_up, bench.scale(7))  # no mark: a person has decided
    assert bench.world.statefulset.replicas == 3
    await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    with pytest.raises(LeaseLost):
        await bench.run(bench.kubernetes.scale_up, bench.scale(3, OTHER))
    await bench.run(bench.kubernetes.unmark_statefulset, bench.scale(3, OTHER))
    left = mark_of(bench.world.statefulset.annotations)
    assert left is not None
    assert left.lease == LEASE
    assert bench.world.statefulset.replicas == 2


async def test_runner_is_created_once(bench: Bench) -> None:
    bench.world.plan(RunnerPlan("list"))
    outcome = await bench.run(bench.runner.run_runner, bench.job())
    assert outcome == await bench.run(bench.runner.run_runner, bench.job())
    assert sum("started" in event for event in bench.world.events) == 1
    await bench.twice(bench.runner.remove_runners, RemoveRunners(cluster=bench.world.cluster, pod="runner-1"))
    assert not list(bench.world.present_runners())


async def test_remove_by_lease(bench: Bench) -> None:
    await bench.run(bench.runner.run_runner, bench.job("lease", pod="mine"))
    await bench.run(bench.runner.run_runner, bench.job(pod="nobodys"))
    await bench.twice(bench.runner.remove_runners, RemoveRunners(cluster=bench.world.cluster, lease=LEASE))
    assert [pod.name for pod in bench.world.present_runners()] == ["nobodys"]


async def test_conflict_is_worth_a_retry(bench: Bench) -> None:
    kube, namespace = FakeKube(Worlds()), bench.world.cluster.namespace
    kube.worlds.add(bench.world)
    found = kube.pod(namespace, "mariadb-server-2")
    kube.set_label(namespace, found, "a", "b")
    with pytest.raises(KubernetesUnavailable) as raised:
        kube.set_mark(namespace, found, None)
    assert not raised.value.non_retryable


# --- the resync that cannot be fooled


async def test_on_that_lands_after_off_is_undone(bench: Bench) -> None:
    task = bench.replica()
    await bench.run(bench.galera.mark_replica, task)
    bench.world.member(2).blocked_until = time.monotonic() + 1
    with pytest.raises(DatabaseUnavailable):
        await bench.run(bench.galera.desync, task)
    report = await bench.run(bench.galera.resync, task)
    assert report.was_desynced
    switched = [event for event in bench.world.events if event.startswith("desync") and not event.endswith("blocked")]
    assert switched == ["desync ON mariadb-server-2", "desync OFF mariadb-server-2"]
    assert not bench.world.look().member(2).desync


async def test_one_good_reading_proves_nothing(bench: Bench) -> None:
    """The processlist does not show the late ON; it lands between the first good reading and the second."""
    task = await bench.desynced()
    member = bench.world.member(2)
    readings = 0
    original = member.status

    def status(size: int, uuid: str) -> Any:
        nonlocal readings
        seen = original(size, uuid)
        if not seen.desync and seen.local_state == 4:
            readings += 1
            if readings == 1:
                member.set_desync(True)
        return seen

    member.status = status  # type: ignore[method-assign,assignment]
    await bench.run(bench.galera.resync, task)
    assert not member.desync
    assert readings == 3


async def test_other_holders_are_waited_for(bench: Bench) -> None:
    task = await bench.desynced()
    bench.world.member(2).other_holders = 1
    running = asyncio.ensure_future(bench.run(bench.galera.resync, task))
    await asyncio.sleep(0.6)
    assert not bench.world.look().member(2).desync
    assert not running.done()
    with bench.world.lock:
        bench.world.member(2).other_holders = 0
        bench.world.member(2).settle()
    await running


@pytest.mark.parametrize(("seconds", "drained"), [(60, True), (-1, False)])
async def test_drain(bench: Bench, seconds: int, drained: bool) -> None:
    task = await bench.desynced()
    task = task.model_copy(update={"drain_until": datetime.now(UTC) + timedelta(seconds=seconds)})
    member = bench.world.member(2)
    member.queue, member.applied_per_look = 400, 100
    report = await bench.run(bench.galera.resync, task)
    assert report.drained == drained
    waited = [beat for beat in bench.beats if any("write-sets to apply" in str(each) for each in beat)]
    assert waited


async def test_resync_of_what_is_not_there(bench: Bench) -> None:
    report = await bench.run(bench.galera.resync, bench.replica(pod="mariadb-server-9"))
    assert not report.was_desynced


@pytest.mark.parametrize("only_if_marked", [True, False])
async def test_resync_without_a_mark(bench: Bench, only_if_marked: bool) -> None:
    bench.world.member(2).set_desync(True)
    await bench.run(bench.galera.resync, bench.replica(only_if_marked=only_if_marked))
    assert bench.world.look().member(2).desync == only_if_marked


async def test_resync_leaves_a_foreign_mark_alone(bench: Bench) -> None:
    await bench.desynced()
    await bench.run(bench.galera.resync, bench.replica(lease=OTHER))
    assert bench.world.look().member(2).desync


async def test_every_error_of_a_resync_is_worth_a_retry(bench: Bench) -> None:
    task = await bench.desynced()
    bench.world.faults.add(Fault("set_desync", before=DatabaseRefused("MariaDB error 1045")))
    with pytest.raises(DatabaseUnavailable, match="1045") as raised:
        await bench.run(bench.galera.resync, task)
    assert not raised.value.non_retryable


# --- the fence


def with_successor(task: ReplicaTask) -> ReplicaTask:
    moved = PrimaryMove(label=PrimaryLabel(), successor="mariadb-server-1", successor_role=None)
    return task.model_copy(update={"mark": task.mark.model_copy(update={"undo": ResyncRecipe(moved=moved)})})


async def test_nothing_happens_under_a_closed_lease(bench: Bench) -> None:
    task = with_successor(await bench.desynced())
    bench.leases.status[LEASE.run_id] = WorkflowExecutionStatus.TERMINATED
    before = bench.state()
    for activity, argument in (
        (bench.galera.mark_replica, bench.replica(pod="mariadb-server-1")),
        (bench.galera.desync, task),
        (bench.kubernetes.move_primary, task),
        (bench.kubernetes.scale_down, bench.scale(0)),
        (bench.runner.run_runner, bench.job("lease")),
        (bench.runner.run_runner, bench.job("desynced", replica="mariadb-server-2")),
        (bench.runner.run_runner, bench.job("stopped")),
    ):
        with pytest.raises(LeaseLost, match="it is TERMINATED") as raised:
            await bench.run(activity, argument)
        assert raised.value.non_retryable
    assert bench.state() == before


async def test_lease_that_temporal_does_not_know(bench: Bench) -> None:
    bench.leases.status.clear()
    with pytest.raises(LeaseLost, match="unknown to Temporal"):
        await bench.run(bench.galera.mark_replica, bench.replica())


async def test_nothing_happens_without_the_mark(bench: Bench) -> None:
    before = bench.state()
    for activity, argument in (
        (bench.galera.desync, bench.replica()),
        (bench.kubernetes.move_primary, with_successor(bench.replica())),
        (bench.runner.run_runner, bench.job("desynced", replica="mariadb-server-2")),
        (bench.runner.run_runner, bench.job("stopped")),
    ):
        with pytest.raises(LeaseLost, match="it has none"):
            await bench.run(activity, argument)
    assert bench.state() == before


async def test_nothing_happens_under_a_foreign_mark(bench: Bench) -> None:
    other = Mark(lease=OTHER, owner="o", until=datetime.now(UTC))
    bench.world.member(2).annotations[names.LEASE_ANNOTATION] = other.model_dump_json()
    with pytest.raises(LeaseLost, match="other-run"):
        await bench.run(bench.galera.desync, bench.replica())
    bench.world.member(2).annotations[names.LEASE_ANNOTATION] = "not JSON"
    with pytest.raises(LeaseLost, match="it has one that cannot be read"):
        await bench.run(bench.galera.desync, bench.replica())


async def test_no_runner_on_a_replica_in_sync(bench: Bench) -> None:
    await bench.desynced()
    bench.world.member(2).set_desync(False)
    with pytest.raises(LeaseLost, match="expected wsrep_desync=ON on 'mariadb-server-2', it is OFF"):
        await bench.run(bench.runner.run_runner, bench.job("desynced", replica="mariadb-server-2"))
    assert not list(bench.world.present_runners())


async def test_runner_that_ends_after_its_lease_is_removed(bench: Bench) -> None:
    bench.world.plan(RunnerPlan("list", held=True))
    running = asyncio.ensure_future(bench.run(bench.runner.run_runner, bench.job("lease")))
    await assert_eventually(lambda: any("started" in event for event in bench.world.look().events))
    bench.leases.status[LEASE.run_id] = WorkflowExecutionStatus.COMPLETED
    bench.world.let_go()
    with pytest.raises(LeaseLost):
        await running
    await assert_eventually(lambda: not list(bench.world.look().present_runners()))


async def test_observe_tells_what_cannot_be_asked(bench: Bench) -> None:
    bench.world.member(1).up = False
    bench.world.recreate(2)  # and it stays away: the controller waits for the one before it
    await assert_eventually(lambda: "mariadb-server-2" not in bench.world.look().members)
    request = Observe(site=bench.site)
    seen = await bench.twice(bench.galera.observe_cluster, request)
    assert seen.members[0].wsrep is not None
    assert "2003" in (seen.members[1].error or "")
    assert [claim.claim for claim in seen.claims] == [bench.world.claim_name(each) for each in range(3)]
