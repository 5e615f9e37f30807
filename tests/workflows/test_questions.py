"""A restore that waits for a person: the plan, its approval, and the decision after a failure."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError

from galera_backup.errors import GaleraBackupError
from galera_backup.models.plan import Answer, Decision, RestorePlan
from galera_backup.models.progress import Progress
from galera_backup.rules.plan import STOP_AND_START_SECONDS
from tests.fakes.kill import Step
from tests.fakes.stage import BACKUP_ID, Handle, Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan, World

ANSWER = Answer(who="ada", why="the change was announced")


async def in_phase(handle: Handle, phase: str) -> None:
    """Wait until it is there."""

    async def is_there() -> bool:
        progress: Progress = await handle.query("progress", result_type=Progress)
        return progress.phase == phase

    await assert_eventually(is_there)


async def refusal(handle: Handle, update: str, argument: Any) -> GaleraBackupError:
    """Why an update was refused."""
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await handle.execute_update(update, argument)
    cause = caught.value.cause
    assert getattr(cause, "type", None) == "InvalidInput"
    return GaleraBackupError(getattr(cause, "message", ""))


async def test_plan_is_approved(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    handle = await stage.restore(world, strategy="staged", require_approval=True)
    await in_phase(handle, "approve")
    plan: RestorePlan = await handle.query("plan", result_type=RestorePlan)
    assert (plan.strategy, plan.backup_id, plan.replicas) == ("staged", BACKUP_ID, 3)
    assert [claim.claim for claim in plan.claims] == [world.claim_name(ordinal) for ordinal in range(3)]
    assert plan.claims[0].free_kb == world.claims[world.claim_name(0)].free_kb
    assert plan.obstacles == ()
    assert plan.expected_outage_seconds == STOP_AND_START_SECONDS
    assert not any("stage" in event or "tidy" in event for event in world.look().events)
    await handle.execute_update("approve", ANSWER)
    result = await handle.result()
    assert result.approved_by == "ada"
    await stage.assert_settled(world)


async def test_plan_is_rejected(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    handle = await stage.restore(world, require_approval=True)
    await in_phase(handle, "approve")
    await handle.execute_update("reject", ANSWER)
    failure = await failure_of(handle)
    assert failure.type == "RestoreRejected"
    assert "ada rejected the plan: the change was announced" in failure.message
    await stage.assert_settled(world)
    assert "scale 0" not in world.events


async def test_nobody_approves_in_time(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    failure = await failure_of(await stage.restore(world, require_approval=True, approval_timeout=1))
    assert failure.type == "RestoreRejected"
    assert "not approved within 0:00:01" in failure.message
    await stage.assert_settled(world)
    assert "scale 0" not in world.events


async def test_answers_that_nobody_asked_for(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    gate = world.faults.add(Step("wait_stopped", "members").held()).gate
    assert gate is not None
    handle = await stage.restore(world, strategy="staged", require_approval=True)
    await in_phase(handle, "approve")
    decision = Decision(who="ada", why="because", choice="keep")
    assert (
        "waits for a person's decision; this one waits for a person's approval"
        in (await refusal(handle, "decide", decision)).message
    )
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("approve", {"who": "", "why": "x"})
    await handle.execute_update("approve", ANSWER)
    await assert_eventually(gate.entered.is_set)
    assert "this one waits for no answer" in (await refusal(handle, "reject", ANSWER)).message
    gate.open()
    await handle.result()
    await stage.assert_settled(world)


async def test_cluster_that_changes_after_the_plan(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    handle = await stage.restore(world, strategy="staged", require_approval=True)
    await in_phase(handle, "approve")
    with world.lock:
        world.claims[world.claim_name(1)].uid = "another"
    await handle.execute_update("approve", ANSWER)
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert f"saw others: {world.claim_name(1)}" in failure.message
    assert "unlike when the restore was planned. The cluster was not touched" in failure.message
    await stage.assert_settled(world)
    assert "scale 0" not in world.events


async def asked(stage: Stage, world: World, **fields: Any) -> Handle:
    """A restore that has failed in the outage and waits."""
    handle = await stage.restore(world, strategy="staged", on_failure="ask", **fields)
    await in_phase(handle, "decide")
    return handle


def decision(choice: str) -> Decision:
    """What a person says."""
    return Decision.model_validate({"who": "ada", "why": "looked at it", "choice": choice})


async def test_swap_is_tried_again(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("swap", ordinal=1, end="fails", error="RestoreFailed", times=2))
    handle = await asked(stage, world)
    assert "'keep' needs a cluster that has formed" in (await refusal(handle, "decide", decision("keep"))).message
    await handle.execute_update("decide", decision("retry"))
    result = await handle.result()
    assert result.kept_despite is None
    await stage.assert_settled(world)
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}


async def test_start_is_tried_again(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.never_ready_on = {BACKUP_ID}
    handle = await asked(stage, world, ready_timeout=3)
    with world.lock:
        world.never_ready_on = set()
        for member in world.members.values():
            member.up = True
            member.follow_state()
    await handle.execute_update("decide", decision("retry"))
    await handle.result()
    await stage.assert_settled(world)
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}


async def test_cancelled_on_restored_data_that_does_not_start(stage: Stage) -> None:
    """It stays there, marked, and the failure says what puts the previous data back."""
    world = stage.world(backups=(BACKUP_ID,))
    world.never_ready_on, world.copies_may_stay = {BACKUP_ID}, True
    handle = await asked(stage, world, ready_timeout=3)
    journal = world.claims[world.claim_name(0)].journal
    assert journal is not None
    await handle.cancel()
    failure = await failure_of(handle)
    assert f"galera-backup rollback {world.cluster} {journal.restore_id}" in failure.message
    await (await stage.rollback(world, journal.restore_id)).result()
    await stage.assert_settled(world)
    assert {claim.data for claim in world.claims.values()} == {"live"}


def keep_the_old_uuid(world: World) -> None:
    """The restored cluster will not have the uuid that the restore gives to its data."""
    for claim in world.claims.values():
        claim.keeps_uuid = True


@pytest.mark.parametrize("choice", ["rollback", "keep"])
async def test_cluster_that_is_up_but_not_as_expected(stage: Stage, choice: str) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    query = "SELECT COUNT(*) FROM nova.instances"
    world.proof.answers = {("live", query): (1, ["3"]), (BACKUP_ID, query): (1, ["2"])}
    handle = await asked(stage, world, checks=[{"query": query, "expected": 3}])
    await handle.execute_update("decide", decision(choice))
    if choice == "keep":
        assert "expected '3', seen '2'" in ((await handle.result()).kept_despite or "")
    else:
        assert "The previous data was swapped back" in (await failure_of(handle)).message
    await stage.assert_settled(world)
    [data] = {claim.data for claim in world.claims.values()}
    assert data == (BACKUP_ID if choice == "keep" else "live")


async def test_another_cluster_than_the_restored_one_cannot_be_kept(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    keep_the_old_uuid(world)
    handle = await asked(stage, world)
    assert "'keep' needs a cluster that has formed" in (await refusal(handle, "decide", decision("keep"))).message
    await handle.execute_update("decide", decision("rollback"))
    await failure_of(handle)
    await stage.assert_settled(world)
    assert {claim.data for claim in world.claims.values()} == {"live"}


async def test_nobody_decides_in_time(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    keep_the_old_uuid(world)
    failure = await failure_of(await stage.restore(world, strategy="staged", on_failure="ask", decision_timeout=1))
    assert "The previous data was swapped back" in failure.message
    await stage.assert_settled(world)
    assert {claim.data for claim in world.claims.values()} == {"live"}


async def test_cancelled_while_it_asks(stage: Stage) -> None:
    """All claims are swapped: the cluster starts on the restored data."""
    world = stage.world(backups=(BACKUP_ID,))
    world.never_ready_on = {BACKUP_ID}
    handle = await asked(stage, world, ready_timeout=3)
    await handle.cancel()
    await asyncio.sleep(0.5)
    with world.lock:
        world.never_ready_on = set()
        for member in world.members.values():
            member.up = True
            member.follow_state()
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert "the restore was cancelled when claims were changed already, so it was finished" in failure.message
    await stage.assert_settled(world)
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}


async def test_volumes_are_looked_at_again_after_the_approval(stage: Stage) -> None:
    """It may have taken a day."""
    world = stage.world(backups=(BACKUP_ID,))
    handle = await stage.restore(world, strategy="in_place", require_approval=True)
    await in_phase(handle, "approve")
    with world.lock:
        world.claims[world.claim_name(1)].free_kb = world.claims[world.claim_name(1)].used_kb = 0
    await handle.execute_update("approve", ANSWER)
    failure = await failure_of(handle)
    assert failure.type == "NotEnoughSpace"
    assert "scale 0" not in world.events
    await stage.assert_settled(world)
