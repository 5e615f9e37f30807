"""GaleraRestore in place that fails, beyond the matrix of `tests/matrix/in_place.py`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError

from galera_backup import names
from galera_backup.errors import KubernetesUnavailable
from galera_backup.models.restore import RestoreResult, Strategy
from tests.fakes.faults import ALWAYS, Fault
from tests.fakes.kill import Kill, Step, kill, reset, workflow_tasks
from tests.fakes.stage import BACKUP_ID, Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan, World
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


async def _cancelled_at_zero(stage: Stage, world: World, **fields: Any) -> WorkflowHandle[Any, RestoreResult]:
    """All its servers have ended, and no data was changed."""
    gate = world.faults.add(Step("hold_names", "create_pod").held()).gate
    assert gate is not None
    handle = await stage.restore(world, **fields)
    await assert_eventually(gate.entered.is_set, lambda: world.events, seconds=100)
    await handle.cancel()
    gate.open()
    return handle


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("strategy", Strategy)
async def test_the_server_that_left_last_forms_the_cluster(stage: Stage, strategy: Strategy, killed: bool) -> None:
    """Killed, it has not noted that it may, and without that none of them would."""
    world = stage.world(backups=(BACKUP_ID,))
    world.kills_the_last = killed
    with pytest.raises(WorkflowFailureError) as caught:
        await (await _cancelled_at_zero(stage, world, strategy=strategy)).result()
    assert isinstance(caught.value.cause, CancelledError)
    assert any("bootstrap" in event for event in world.events) == killed
    assert {claim.data for claim in world.claims.values()} == {"live"}
    await stage.assert_settled(world)


async def test_what_to_do_where_it_cannot_be_told_that_it_may(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.kills_the_last = True
    look = Step("run_runner", "create_pod", lambda arguments: "-look-" in arguments["pod"].metadata.name)
    world.faults.add(look.fails())
    failure = await failure_of(await _cancelled_at_zero(stage, world, ready_timeout=3))
    assert "set 'safe_to_bootstrap: 1' in its grastate.dat" in failure.message
    assert {claim.data for claim in world.look().claims.values()} == {"live"}


async def test_the_first_server_is_behind_another(stage: Stage) -> None:
    """It was killed, and was not in sync before: what the others have is not lost."""
    world = stage.world(backups=(BACKUP_ID,))
    world.kills_the_last = True
    world.member(0).state = 1
    failure = await failure_of(await _cancelled_at_zero(stage, world, accept=["*"]))
    assert "another claim may be ahead of it" in failure.message
    assert (await failure_of(stage.lease(world))).type == "ClusterLeftStopped"
    assert world.look().statefulset.replicas == 0


async def test_untouched_cluster_that_does_not_form(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    gate = world.faults.add(Step("wait_stopped", "members").held()).gate
    assert gate is not None
    handle = await stage.restore(world, ready_timeout=3)
    await assert_eventually(gate.entered.is_set)
    world.never_ready = {0}
    await handle.cancel()
    gate.open()
    failure = await failure_of(handle)
    assert "was scaled back to 3 on its old data" in failure.message
    assert "safe_to_bootstrap" not in failure.message
    assert {claim.data for claim in world.look().claims.values()} == {"live"}


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


# --- a cluster that was at 0 replicas before


async def assert_at_zero(stage: Stage, world: World) -> None:
    """As it was found, and nothing of the restore is left on it; the next restore works."""
    await stage.end_of(stage.lease(world))
    await assert_eventually(lambda: names.LEASE_ANNOTATION not in world.look().statefulset.annotations)
    assert world.statefulset.replicas == 0
    assert not world.look().members
    assert {claim.data for claim in world.claims.values()} == {"live"}
    await (await stage.restore(world, replicas=3)).result()
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}
    await stage.end_of(stage.lease(world))
    assert names.LEASE_ANNOTATION not in world.statefulset.annotations


STOPPED = Step("wait_stopped", "members")
BOTH: tuple[Kill, ...] = ("terminate", "terminate lease")


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_undone_to_0_replicas_it_is_unmarked(stage: Stage, strategy: Strategy) -> None:
    world = stage.world(backups=(BACKUP_ID,), at_zero=True)
    world.faults.add(STOPPED.fails(1))
    failure = await failure_of(await stage.restore(world, strategy=strategy, replicas=3))
    assert failure.type == "RestoreFailed"
    assert "Check the worker's role" in failure.message
    assert "The StatefulSet stays at 0 replicas, as it was before" in failure.message
    await assert_at_zero(stage, world)


KILLED: list[tuple[Strategy, tuple[Kill, ...]]] = [
    *((strategy, ("cancel",)) for strategy in Strategy),
    (Strategy.STAGED, ("terminate",)),
    (Strategy.ROLLING, ("terminate lease",)),
    (Strategy.IN_PLACE, BOTH),
]
"""Each strategy and each way; the table of the matrix has both for a cluster that ran before."""


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize(("strategy", "how"), KILLED)
async def test_killed_at_0_replicas_it_is_unmarked(
    stage: Stage, strategy: Strategy, how: tuple[Kill, ...], removed: bool
) -> None:
    world = stage.world(backups=(BACKUP_ID,), at_zero=True)
    fault = world.faults.add(STOPPED.held())
    assert fault.gate is not None
    handle = await stage.restore(world, strategy=strategy, replicas=3)
    await assert_eventually(fault.gate.entered.is_set)
    if removed:
        world.remove_mark()
    for each in how:
        await kill(stage, world, handle, each)
    fault.gate.open()
    await stage.end_of(handle)
    if how == BOTH:
        result = await (await stage.janitor(world)).result()
        assert removed or "left at 0 replicas, as it was before" in result.mended[0].text
    await assert_at_zero(stage, world)


async def test_gone_back_to_0_replicas_it_is_unmarked(stage: Stage) -> None:
    """The restored data was started and failed; the previous data is not started, because it did not run."""
    world = stage.world(backups=(BACKUP_ID,), at_zero=True)
    world.ends_on = {BACKUP_ID}
    failure = await failure_of(await stage.restore(world, strategy="staged", replicas=3))
    assert "expected its server to start on this data" in failure.message
    assert "The previous data was swapped back" in failure.message
    assert "The StatefulSet stays at 0 replicas, as it was before" in failure.message
    world.ends_on = set()
    await assert_at_zero(stage, world)


# --- an undo that fails too


async def test_undo_by_the_owner_that_fails_does_not_hide_why_it_began(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=1, held=True))
    handle = await stage.restore(world)
    await assert_eventually(lambda: sum("started: restore" in event for event in world.look().events) == 2)
    world.plan(RunnerPlan("restore", ordinal=1, end="fails", error="RestoreFailed", times=2))
    await stage.lease(world).terminate("by a test")
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert "ended while the operation needed it: Terminated" in failure.message
    assert "What it had changed was undone" not in failure.message
    assert "stays at 0 replicas: expected all data claims untouched or all restored" in failure.message
    await assert_whole_or_told(stage, world, handle)


async def test_lease_that_cannot_undo_after_all_steps_is_a_failure(stage: Stage) -> None:
    """The restored cluster was proved, and breaks before the lease has removed its mark."""
    world = stage.world(backups=(BACKUP_ID,))
    fault = world.faults.add(Step("revoke_statefulset", "revoke_statefulset").held())
    assert fault.gate is not None
    handle = await stage.restore(world, strategy="staged", ready_timeout=4)
    await assert_eventually(fault.gate.entered.is_set, lambda: world.events)
    with world.lock:
        world.member(2).up = False
        world.member(2).follow_state()
    fault.gate.open()
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert "all steps of the restore were done" in failure.message
    assert "was scaled back to 3 on restored data" in failure.message
    assert "Look at the logs of its pods" in failure.message
