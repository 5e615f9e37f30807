"""The failure matrix of GaleraRestore: the cluster starts again on data that fits together, or says why not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from galera_backup.errors import KubernetesUnavailable
from tests.fakes.faults import ALWAYS, Fault
from tests.fakes.kill import EXECUTION_TIMEOUT, KILLS, Kill, Step, kill, kill_at_gate, reset, workflow_tasks
from tests.fakes.stage import BACKUP_ID, Handle, Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan, World


def _is_restore_of(ordinal: int) -> Any:
    return lambda arguments: str(arguments["pod"].metadata.name).endswith(f"z-{ordinal}")


def _is_down(arguments: Any) -> bool:
    return bool(arguments["replicas"] == 0)


BEFORE = {
    "plan": Step("observe_cluster", "statefulset", by_lease=False),
    "check": Step("run_runner", "create_pod", by_lease=False),
    "scale down": Step("scale_down", "scale", _is_down),
}
OUTAGE = {
    "stopped": Step("wait_stopped", "members"),
    "restore-0": Step("run_runner", "create_pod", _is_restore_of(0), by_lease=False),
    "restore-1": Step("run_runner", "create_pod", _is_restore_of(1), by_lease=False),
    "restore-2": Step("run_runner", "create_pod", _is_restore_of(2), by_lease=False),
    "remove": Step("remove_runners", "delete_pod", lambda arguments: arguments["name"].endswith("z-1"), by_lease=False),
}
START = {
    "scale up": Step("scale_up", "scale"),
    "formed": Step("wait_formed", "members"),
}
FORWARD = {**BEFORE, **OUTAGE}
STEPS = {**FORWARD, **START}
LATER = timedelta(seconds=55)
"""Execution timeout of a restore that shall come far on a busy machine."""
BY_WHOM = 2
"""A runner has two attempts in the restore, and two more when the lease finishes it."""
TOUCHED = {"restore-1", "restore-2", "remove"}
"""Steps at whose begin some claims are restored, and others are not."""


async def assert_whole_or_told(stage: Stage, world: World, handle: Handle) -> None:
    """Up on data that fits together; or at 0, the state of each claim is told, and a second restore mends it."""
    await assert_eventually(lambda: stage.lease_is_closed(world), lambda: f"open lease; {world.events}")
    if world.look().statefulset.replicas:
        await stage.assert_settled(world)
        return
    assert not world.members
    assert not list(world.present_runners())
    assert world.violations == []
    assert len({claim.data for claim in world.claims.values()}) > 1 or world.claims_are_incomplete()
    for text in await last_words(stage, world, handle):
        for claim in world.claims:
            assert f"{claim} " in text
        assert "Start the restore again" in text
    result = await (await stage.restore(world, replicas=3)).result()
    assert result.replicas == 3
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}
    await stage.assert_settled(world)


async def last_words(stage: Stage, world: World, handle: Handle) -> list[str]:
    """What the operation and its lease say of their end, as far as they could."""
    texts = []
    for each in (handle, stage.lease(world)):
        try:
            await each.result()
        except WorkflowFailureError as error:
            if isinstance(error.cause, ApplicationError):
                texts.append(error.cause.message)
    assert texts, "nobody said that the database is down"
    return texts


@pytest.mark.parametrize("step", FORWARD)
async def test_step_fails_for_good(stage: Stage, step: str) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    fault = world.faults.add(STEPS[step].fails(times=1 if step == "remove" else 1000))
    handle = await stage.restore(world)
    failure = await failure_of(handle)
    assert failure.type == ("KubernetesRefused" if step in ("plan", "check") else "RestoreFailed")
    assert "Check the worker's role" in failure.message
    if step in OUTAGE:
        assert world.claim_name(0) in failure.message
    fault.times = 0
    await assert_whole_or_told(stage, world, handle)
    if step in TOUCHED:
        assert f"{world.claim_name(2)} restored" in failure.message
        assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}


@pytest.mark.parametrize("step", FORWARD)
async def test_step_fails_after_its_effect(stage: Stage, step: str) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.faults.add(STEPS[step].fails_after_its_effect())
    handle = await stage.restore(world)
    await failure_of(handle)
    await assert_whole_or_told(stage, world, handle)


async def test_start_that_fails_is_tried_until_it_works(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.faults.add(STEPS["scale up"].fails(times=1))
    await (await stage.restore(world)).result()
    await stage.assert_settled(world)


@pytest.mark.parametrize("step", STEPS)
async def test_result_is_lost_after_the_effect(stage: Stage, step: str) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.faults.add(STEPS[step].result_is_lost())
    await (await stage.restore(world)).result()
    await stage.assert_settled(world)
    assert sum("started: restore" in event for event in world.events) == 3
    assert [event for event in world.events if event.startswith("scale")] == ["scale 0", "scale 3"]


@pytest.mark.parametrize("how", KILLS)
@pytest.mark.parametrize("step", STEPS)
async def test_killed_in_a_step(stage: Stage, step: str, how: Kill) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    fault = world.faults.add(STEPS[step].held())
    assert fault.gate is not None
    handle = await start(stage, world, how, LATER if step in (*OUTAGE, *START) else EXECUTION_TIMEOUT)
    await kill_at_gate(stage, world, handle, how=how, step=STEPS[step], gate=fault.gate)
    await assert_ended(stage, world, handle)
    await assert_whole_or_told(stage, world, handle)


@pytest.mark.parametrize("how", KILLS)
@pytest.mark.parametrize("ordinal", [0, 1])
async def test_killed_while_a_runner_works(stage: Stage, ordinal: int, how: Kill) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=ordinal, held=True))
    handle = await start(stage, world, how, LATER)
    await assert_eventually(lambda: sum("started: restore" in event for event in world.look().events) == ordinal + 1)
    await kill(stage, world, handle, how)
    await assert_ended(stage, world, handle)
    await assert_whole_or_told(stage, world, handle)
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}


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


async def start(stage: Stage, world: World, how: Kill, timeout: timedelta) -> Handle:
    return await stage.restore(world, **({"execution_timeout": timeout} if how == "time out" else {}))


async def assert_ended(stage: Stage, world: World, handle: Handle) -> None:
    await assert_eventually(lambda: _has_ended(stage, handle), lambda: f"still open: {world.events}")
    if await stage.status(handle) == WorkflowExecutionStatus.FAILED:
        failure = await failure_of(handle)
        assert failure.type in ("RestoreFailed", "LeaseLost")


async def _has_ended(stage: Stage, handle: Handle) -> bool:
    return await stage.status(handle) != WorkflowExecutionStatus.RUNNING
