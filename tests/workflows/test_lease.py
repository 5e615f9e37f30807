"""GaleraLease: one operation at a time, and whatever it changed is undone in the end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from temporalio.client import WorkflowExecutionStatus

from galera_backup import names
from galera_backup.errors import DatabaseRefused, KubernetesRefused
from galera_backup.models.common import LeaseRef
from galera_backup.models.lease import DesyncCommand, LeaseRequest, LeaseResult, StartCommand
from galera_backup.models.mark import Mark
from galera_backup.models.site import Site
from tests.fakes.faults import Fault
from tests.fakes.kill import reset, workflow_tasks
from tests.fakes.stage import Handle, Stage, failure_of, open_stage, serving
from tests.fakes.world import RunnerPlan, World
from tests.support.eventually import assert_eventually


async def held_backup(stage: Stage, **fields: object) -> tuple[World, Handle]:
    """A backup whose runner works until the test lets it go."""
    world = stage.world()
    world.plan(RunnerPlan("backup", held=True))
    handle = await stage.backup(world, **fields)
    await assert_eventually(lambda: has_started(world), lambda: world.events)
    return world, handle


def has_started(world: World, count: int = 1) -> bool:
    return sum("started: backup" in event for event in world.look().events) >= count


# --- the lock


async def test_second_operation_is_refused_and_told_who_holds_the_cluster(stage: Stage) -> None:
    world, first = await held_backup(stage)
    for second in (await stage.backup(world), await stage.restore(world)):
        failure = await failure_of(second)
        assert failure.type == "ClusterBusy"
        assert repr(first.id) in failure.message
        assert "wait_for_cluster" in failure.message
    world.let_go()
    await first.result()
    await stage.assert_settled(world)


async def test_waiting_operation_starts_only_when_the_first_has_undone_all(stage: Stage) -> None:
    world, first = await held_backup(stage)
    second = await stage.backup(world, wait_for_cluster=timedelta(minutes=1))
    await assert_eventually(lambda: waits_for(second, first))
    world.let_go()
    await asyncio.gather(first.result(), second.result())
    await stage.assert_settled(world)
    switched = [event for event in world.events if "mark" in event or event.startswith("desync")]
    once = [f"{what} mariadb-server-2" for what in ("mark", "desync ON", "desync OFF", "unmark")]
    assert switched == once * 2
    assert len(world.volume.manifests) == 2


async def waits_for(waiting: Handle, holder: Handle) -> bool:
    return f"waiting for {holder.id}" in str(await waiting.query("progress"))


async def test_waiting_ends_after_its_time(stage: Stage) -> None:
    world, first = await held_backup(stage)
    failure = await failure_of(await stage.backup(world, wait_for_cluster=timedelta(seconds=2)))
    assert failure.type == "ClusterBusy"
    assert "0:00:02" in failure.message
    world.let_go()
    await first.result()


async def test_cancelled_while_waiting(stage: Stage) -> None:
    world, first = await held_backup(stage)
    second = await stage.backup(world, wait_for_cluster=timedelta(minutes=5))
    await assert_eventually(lambda: waits_for(second, first))
    await second.cancel()
    await assert_eventually(lambda: is_at(stage, second, WorkflowExecutionStatus.CANCELED))
    assert world.look().member(2).desync
    world.let_go()
    await first.result()
    await stage.assert_settled(world)


async def is_at(stage: Stage, handle: Handle, status: WorkflowExecutionStatus) -> bool:
    return await stage.status(handle) == status


# --- its ends


def lease_request(world: World, ttl: timedelta) -> LeaseRequest:
    return LeaseRequest(site=Site(cluster=world.cluster), operation="backup", owner="nobody", ttl=ttl)


async def start_lease(stage: Stage, world: World, ttl: timedelta) -> Handle:
    return await stage.client.start_workflow(
        "GaleraLease",
        lease_request(world, ttl),
        id=names.lease_id(world.cluster),
        task_queue=names.lease_queue(stage.queue),
        result_type=LeaseResult,
    )


DESYNC = DesyncCommand(pod="mariadb-server-2", drain_timeout=timedelta(minutes=1), others_in_sync=2)


async def test_time_to_live_ends_it(stage: Stage) -> None:
    world = stage.world()
    lease = await start_lease(stage, world, timedelta(seconds=20))
    await lease.signal("desync", DESYNC)
    await assert_eventually(lambda: world.look().member(2).desync)
    result = await lease.result()
    assert result.reason == "its time to live of 0:00:20 is over"
    await stage.assert_settled(world)
    assert "desync OFF mariadb-server-2" in world.events


async def test_time_to_live_passes_while_on_is_under_way(stage: Stage) -> None:
    world = stage.world()
    loop = asyncio.get_running_loop()
    world.member(2).blocked_until = loop.time() + 25
    lease = await start_lease(stage, world, timedelta(seconds=20))
    await lease.signal("desync", DESYNC)
    await lease.result()
    await stage.assert_settled(world)
    switched = [event for event in world.events if event.startswith("desync O") and not event.endswith("blocked")]
    assert switched == ["desync ON mariadb-server-2", "desync OFF mariadb-server-2"]
    assert world.events[-1] == "unmark mariadb-server-2"


async def test_release_from_somebody_else_means_nothing(stage: Stage) -> None:
    world = stage.world()
    lease = await start_lease(stage, world, timedelta(minutes=5))
    await lease.signal("release", "somebody")
    await lease.signal("desync", DESYNC)
    await assert_eventually(lambda: world.look().member(2).desync)
    assert await stage.status(lease) == WorkflowExecutionStatus.RUNNING
    await lease.signal("release", "nobody")
    assert (await lease.result()).reason == "released by its owner"
    await stage.assert_settled(world)


async def test_commands_that_come_twice_do_nothing_more(stage: Stage) -> None:
    world = stage.world()
    lease = await start_lease(stage, world, timedelta(minutes=5))
    for command in ("desync", "desync"):
        await lease.signal(command, DESYNC)
    for command in ("resync", "resync"):
        await lease.signal(command)
    await lease.signal("start", StartCommand(claims=()))
    await assert_eventually(lambda: "unmark mariadb-server-2" in world.look().events)
    await lease.signal("release", "nobody")
    await lease.result()
    await stage.assert_settled(world)
    assert world.events.count("desync ON mariadb-server-2") == 1


async def test_lease_that_drains_does_not_let_a_second_runner_in(stage: Stage) -> None:
    world, handle = await held_backup(stage)
    member = world.member(2)
    member.queue, member.applied_per_look = 2000, 50
    await stage.lease(world).cancel()
    failure = await failure_of(handle)
    assert failure.type in ("LeaseLost", "RunnerFailed")
    await stage.assert_settled(world)
    assert not has_started(world, 2)


# --- a resync that nothing stops


async def test_resync_goes_on_while_mariadb_refuses(stage: Stage) -> None:
    world = stage.world()
    refused = DatabaseRefused("MariaDB error 1045: Access denied. Check the password")
    world.faults.add(Fault("set_desync", "resync", before=refused, times=4))
    await (await stage.backup(world)).result()
    await stage.assert_settled(world)


async def test_resync_goes_on_while_kubernetes_refuses(stage: Stage) -> None:
    world = stage.world()
    refused = KubernetesRefused("Kubernetes answered 403")
    world.faults.add(Fault("find_pod", "resync", before=refused, times=2))
    await (await stage.backup(world)).result()
    await stage.assert_settled(world)


async def test_replica_that_restarts_is_waited_for(stage: Stage) -> None:
    world, handle = await held_backup(stage)
    world.recreate(2)
    await assert_eventually(lambda: "mariadb-server-2 gone" in world.look().events)
    await handle.cancel()
    await assert_eventually(lambda: is_at(stage, handle, WorkflowExecutionStatus.CANCELED))
    world.violations.clear()  # the runner went on for a while beside the new server
    await stage.assert_settled(world)
    assert "desync OFF mariadb-server-2" not in world.events


async def test_replica_that_is_not_wanted_any_more_ends_the_wait(stage: Stage) -> None:
    world, handle = await held_backup(stage)
    world.scale_by_hand(2)
    await assert_eventually(lambda: "mariadb-server-2 gone" in world.look().events)
    await handle.cancel()
    await assert_eventually(lambda: is_at(stage, handle, WorkflowExecutionStatus.CANCELED))
    assert await stage.lease_is_closed(world)


async def test_mark_of_somebody_else_is_left_alone(stage: Stage) -> None:
    world, handle = await held_backup(stage)
    other = Mark(lease=LeaseRef(workflow_id="w", run_id="r"), owner="another", until=datetime.now(UTC))
    with world.lock:
        world.member(2).annotations[names.LEASE_ANNOTATION] = other.model_dump_json()
    await handle.cancel()
    await asyncio.sleep(1)
    assert world.look().member(2).desync
    with world.lock:
        world.member(2).set_desync(False)
    await assert_eventually(lambda: is_at(stage, handle, WorkflowExecutionStatus.CANCELED))
    assert await stage.lease_is_closed(world)
    assert world.member(2).annotations[names.LEASE_ANNOTATION] == other.model_dump_json()


async def test_undo_without_the_lease_leaves_a_foreign_mark_alone(stage: Stage) -> None:
    world, handle = await held_backup(stage)
    other = Mark(lease=LeaseRef(workflow_id="w", run_id="r"), owner="another", until=datetime.now(UTC))
    with world.lock:
        world.member(2).annotations[names.LEASE_ANNOTATION] = other.model_dump_json()
    await stage.lease(world).terminate("by a test")
    await assert_eventually(lambda: not list(world.look().present_runners()))
    await asyncio.sleep(1)
    assert world.look().member(2).desync
    with world.lock:
        world.member(2).set_desync(False)
    assert (await failure_of(handle)).type == "LeaseLost"
    assert world.member(2).annotations[names.LEASE_ANNOTATION] == other.model_dump_json()


async def test_mark_of_a_dead_lease_is_replaced(stage: Stage) -> None:
    world = stage.world()
    dead = Mark(lease=LeaseRef(workflow_id="w", run_id="r"), owner="dead", until=datetime.now(UTC))
    world.member(2).annotations[names.LEASE_ANNOTATION] = dead.model_dump_json()
    await (await stage.backup(world)).result()
    await stage.assert_settled(world)


async def test_runners_of_a_lease_that_was_killed_with_its_owner_are_removed(stage: Stage) -> None:
    world, first = await held_backup(stage)
    lease = stage.lease(world)
    await asyncio.gather(first.terminate("by a test"), lease.terminate("by a test"))
    with world.lock:
        world.member(2).set_desync(False)  # a person mended the replica, and overlooked the pod
    await assert_eventually(lambda: not world.look().member(2).desync and world.member(2).ready)
    world.violations.clear()
    result = await (await stage.backup(world)).result()
    await stage.assert_settled(world)
    assert list(world.volume.manifests) == [result.manifest.backup_id]


# --- reset


async def test_reset_to_the_first_task_meets_its_own_old_lease(stage: Stage) -> None:
    world, handle = await held_backup(stage)
    again = await reset(stage, handle, (await workflow_tasks(handle))[0])
    await assert_eventually(lambda: has_started(world, 2), lambda: world.events)
    await again.result()
    await stage.assert_settled(world)
    assert world.events.count("desync ON mariadb-server-2") == world.events.count("desync OFF mariadb-server-2")


async def test_reset_to_the_last_task_goes_on(stage: Stage) -> None:
    world, handle = await held_backup(stage)
    again = await reset(stage, handle, (await workflow_tasks(handle))[-1])
    await asyncio.sleep(1)
    world.let_go()
    await stage.end_of(again)
    await stage.assert_settled(world)


async def test_reset_of_a_terminated_backup_never_runs_in_sync(stage: Stage) -> None:
    world, handle = await held_backup(stage)
    await handle.terminate("by a test")
    await stage.end_of(stage.lease(world))
    again = await reset(stage, handle, (await workflow_tasks(handle))[-1])
    await stage.end_of(again)
    await stage.assert_settled(world)
    assert (await failure_of(again)).type == "LeaseLost"


# --- the worker


async def test_worker_that_stops_leaves_the_runner_to_the_next_one(stage: Stage) -> None:
    async with open_stage(stage.client, workers=False) as own:
        async with serving(own, graceful=timedelta(milliseconds=500)):
            world, handle = await held_backup(own)
        assert [pod.working for pod in world.look().present_runners()] == [True]
        async with serving(own):
            world.let_go()
            result = await handle.result()
            await own.assert_settled(world)
        assert list(world.volume.manifests) == [result.manifest.backup_id]
        assert not has_started(world, 2)
