"""GaleraRestore in place that fails, beyond the matrix of `tests/matrix/in_place.py`."""

from __future__ import annotations

import asyncio

from galera_backup.errors import KubernetesUnavailable
from tests.fakes.faults import ALWAYS, Fault
from tests.fakes.kill import Step, reset, workflow_tasks
from tests.fakes.stage import BACKUP_ID, Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan
from tests.matrix.in_place import assert_whole_or_told

BY_WHOM = 2
"""A runner has two attempts in the restore, and two more when the lease finishes it."""


async def test_runner_that_fails_early_leaves_the_old_data(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=0, end="fails early", error="BackupDamaged"))
    failure = await failure_of(await stage.restore(world))
    assert failure.type == "RestoreFailed"
    assert "The cluster was started again" in failure.message
    assert f"{world.claim_name(2)} untouched" in failure.message
    assert {claim.data for claim in world.claims.values()} == {"live"}
    await stage.assert_settled(world)


async def test_runner_that_fails_in_the_middle_keeps_the_cluster_down(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=1, end="fails", error="RestoreFailed", times=2 * BY_WHOM))
    handle = await stage.restore(world)
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert world.statefulset.replicas == 0
    for ordinal, state in enumerate(("restored", "incomplete", "untouched")):
        assert f"{world.claim_name(ordinal)} {state}" in failure.message
    assert (await failure_of(stage.lease(world))).type == "ClusterLeftStopped"
    await assert_whole_or_told(stage, world, handle)


async def test_restore_that_is_cancelled_between_two_claims_is_finished(stage: Stage) -> None:
    """A mixture could not be started, and what was there is gone."""
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=1, held=True))
    handle = await stage.restore(world)
    await assert_eventually(lambda: sum("started: restore" in event for event in world.look().events) == 2)
    await handle.cancel()
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert "runs on the restored data" in failure.message
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}
    await stage.assert_settled(world)


async def test_cancelled_restore_says_that_the_database_is_down(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=1, held=True))
    world.plan(RunnerPlan("restore", ordinal=1, end="fails", error="RestoreFailed", times=2))
    handle = await stage.restore(world)
    await assert_eventually(lambda: sum("started: restore" in event for event in world.look().events) == 2)
    await handle.cancel()
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert "the restore was cancelled" in failure.message
    assert "stays at 0 replicas" in failure.message
    await assert_whole_or_told(stage, world, handle)


async def test_volume_that_cannot_be_read_is_not_overwritten(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=0, end="fails early", error="BackupDamaged"))
    look = Step("run_runner", "create_pod", lambda arguments: "-look-1" in arguments["pod"].metadata.name)
    world.faults.add(look.fails())
    failure = await failure_of(await stage.restore(world))
    assert failure.type == "RestoreFailed"
    assert f"{world.claim_name(1)} unknown" in failure.message
    assert world.statefulset.replicas == 0
    assert {claim.data for claim in world.claims.values()} == {"live"}


async def test_cluster_that_does_not_form(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=2, held=True))
    handle = await stage.restore(world, ready_timeout=3)
    await assert_eventually(lambda: sum("started: restore" in event for event in world.look().events) == 3)
    world.never_ready = {2}
    world.let_go()
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert "was scaled back to 3 on restored data" in failure.message
    assert "mariadb-server-2" in failure.message
    assert (await failure_of(stage.lease(world))).type == "ClusterNotFormed"
    assert world.statefulset.replicas == 3


async def test_reset_of_a_terminated_restore_does_not_look_into_live_volumes(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=0, end="fails early", held=True))
    handle = await stage.restore(world)
    await assert_eventually(lambda: any("started: restore" in event for event in world.look().events))
    await handle.terminate("by a test")
    await stage.assert_settled(world)
    looked = sum("-look-" in event for event in world.events)
    assert looked
    again = await reset(stage, handle, (await workflow_tasks(handle))[-1])
    assert (await failure_of(again)).type == "RestoreFailed"
    await stage.assert_settled(world)
    assert sum("-look-" in event for event in world.events) == looked


async def test_reset_to_the_first_task_in_the_outage(stage: Stage) -> None:
    """The new run finds a StatefulSet at 0 and a lease that no server cancels: a reset closes no child."""
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=0, held=True))
    handle = await stage.restore(world)
    await assert_eventually(lambda: any("started: restore" in event for event in world.look().events))
    again = await reset(stage, handle, (await workflow_tasks(handle))[0])
    await again.result()
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}
    await stage.assert_settled(world)


async def test_lease_terminated_when_a_check_is_over(stage: Stage) -> None:
    """Removing its pod is cancelled with the rest."""
    world = stage.world(backups=(BACKUP_ID,))
    away = KubernetesUnavailable("Kubernetes answered 503")
    fault = world.faults.add(Fault("delete_pod", "remove_runners", before=away, times=ALWAYS))
    handle = await stage.restore(world)
    await assert_eventually(lambda: fault.times < ALWAYS)
    await stage.lease(world).terminate("by a test")
    await assert_eventually(lambda: stage.lease_is_closed(world))
    await asyncio.sleep(1)
    fault.times = 0
    assert (await failure_of(handle)).type == "LeaseLost"
    await stage.assert_settled(world)


async def test_second_restore_in_the_outage_is_refused(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=0, held=True))
    handle = await stage.restore(world)
    await assert_eventually(lambda: any("started: restore" in event for event in world.look().events))
    assert (await failure_of(await stage.restore(world))).type == "ClusterBusy"
    world.let_go()
    await handle.result()
    await stage.assert_settled(world)
