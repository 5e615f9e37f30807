"""Something removes `.galera-backup` once the swap has begun: the cluster starts on data of one kind, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from galera_backup.errors import KubernetesRefused
from galera_backup.models.janitor import Verdict
from galera_backup.models.restore import RollbackResult
from tests.fakes.faults import Gate
from tests.fakes.kill import Step
from tests.fakes.stage import BACKUP_ID, Handle, Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan, World
from tests.support.runners import is_pod

HOUR = 3600
QUERY = "SELECT COUNT(*) FROM nova.instances"
CHECKS = [{"query": QUERY, "expected": "3"}]
Who = Literal["lease", "owner", "janitor"]
"""Who undoes: the lease; the operation when the lease was terminated; the janitor when both were."""
PERSON, STATE_TRANSFER = False, True
"""What removes it: a person leaves the data directory; a state transfer replaces it, the marker included."""


def lose(world: World, ordinal: int, with_data: bool) -> None:
    with world.lock:
        world.claims[world.claim_name(ordinal)].lose_copies(with_data=with_data)


def data_of(world: World) -> list[str]:
    """By ordinal."""
    return [claim.data for claim in world.look().claims.values()]


def scaled(world: World) -> list[str]:
    return [event for event in world.events if event.startswith("scale ")]


def emptied(world: World) -> list[str]:
    """Claims on which a pod that empties has begun, by its pod's name."""
    return sorted({event.split()[1][-1] for event in world.events if event.endswith("started: empty")})


async def assert_left_stopped(stage: Stage, world: World) -> None:
    await assert_eventually(lambda: stage.lease_is_closed(world))
    assert world.look().statefulset.replicas == 0
    assert not world.members
    assert world.violations == []
    assert emptied(world) == []


def proof_that_fails(stage: Stage) -> tuple[World, Gate]:
    """The restored cluster is up, and waits at this gate before its check fails."""
    world = stage.world(backups=(BACKUP_ID,))
    world.proof.answers = {("live", QUERY): (1, ["3"]), (BACKUP_ID, QUERY): (1, ["2"])}
    gate = world.faults.add(Step("run_checks", "ask", by_lease=False).held()).gate
    assert gate is not None
    return world, gate


def asked_when_stopped(world: World) -> Gate:
    """Holds the first step of the way back once the cluster is stopped, on all claims."""
    fault = Step("run_runner", "create_pod", _asks_when_stopped, by_lease=False).held()
    assert fault.gate is not None
    fault.times = 3
    world.faults.add(fault)
    return fault.gate


def _asks_when_stopped(arguments: Mapping[str, Any]) -> bool:
    return is_pod(arguments["pod"].metadata.name, r"prove-\d")


async def proving(stage: Stage, world: World, gate: Gate) -> Handle:
    handle = await stage.restore(world, strategy="staged", checks=CHECKS)
    await assert_eventually(gate.entered.is_set, lambda: world.events)
    return handle


# --- the restore itself


@pytest.mark.parametrize("ordinal", [0, 1])
async def test_restored_data_that_is_whole_everywhere_stays_up(stage: Stage, ordinal: int) -> None:
    world, gate = proof_that_fails(stage)
    handle = await proving(stage, world, gate)
    lose(world, ordinal, PERSON)
    gate.open()
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert f"the previous data is lost on {world.claim_name(ordinal)}" in failure.message
    assert "The cluster was not stopped, and runs on the restored data" in failure.message
    await stage.assert_settled(world)
    assert data_of(world) == [BACKUP_ID] * 3
    assert scaled(world) == ["scale 0", "scale 3"]


async def test_lost_claim_is_filled_by_the_others(stage: Stage) -> None:
    world, gate = proof_that_fails(stage)
    handle = await proving(stage, world, gate)
    lose(world, 2, STATE_TRANSFER)
    gate.open()
    failure = await failure_of(handle)
    assert "The previous data was swapped back; the previous data is lost on" in failure.message
    assert f"{world.claim_name(2)} emptied (its previous data is lost)" in failure.message
    await stage.assert_settled(world)
    assert data_of(world) == ["live"] * 3
    assert emptied(world) == ["2"]
    assert "state transfer to mariadb-server-2" in world.events
    assert [claim.safe_to_bootstrap for claim in world.claims.values()][:2] == [True, False]


async def test_a_cluster_that_is_up_is_not_stopped_for_nothing(stage: Stage) -> None:
    """Ordinal 0 has to form the cluster, and has only what a state transfer left there."""
    world, gate = proof_that_fails(stage)
    handle = await proving(stage, world, gate)
    lose(world, 0, STATE_TRANSFER)
    gate.open()
    failure = await failure_of(handle)
    assert "has to form the cluster. The cluster was not stopped" in failure.message
    await stage.assert_settled(world)
    assert data_of(world) == [BACKUP_ID] * 3


async def test_lost_after_the_cluster_was_stopped(stage: Stage) -> None:
    """All claims had their previous data when they were asked while it was up."""
    world, gate = proof_that_fails(stage)
    handle = await proving(stage, world, gate)
    stopped = asked_when_stopped(world)
    gate.open()
    await assert_eventually(stopped.entered.is_set, lambda: world.events)
    lose(world, 1, PERSON)
    stopped.open()
    failure = await failure_of(handle)
    assert "The cluster was started again on the restored data" in failure.message
    await stage.assert_settled(world)
    assert data_of(world) == [BACKUP_ID] * 3
    assert scaled(world) == ["scale 0", "scale 3"] * 2


@pytest.mark.parametrize("ordinal", [0, 2])
async def test_restored_data_that_does_not_start_is_not_started_again(stage: Stage, ordinal: int) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.ends_on = {BACKUP_ID}
    gate = world.faults.add(Step("scale_up", "scale").held()).gate
    assert gate is not None
    handle = await stage.restore(world, strategy="staged")
    await assert_eventually(gate.entered.is_set, lambda: world.events)
    lose(world, ordinal, PERSON)
    gate.open()
    failure = await failure_of(handle)
    if ordinal == 2:
        await stage.assert_settled(world)
        assert data_of(world) == ["live"] * 3
        return
    world.copies_may_stay = True
    assert "has to form the cluster" in failure.message
    assert "strategy 'in_place'" in failure.message
    await assert_left_stopped(stage, world)
    assert scaled(world) == ["scale 0", "scale 3", "scale 0"]
    again = await failure_of(await stage.janitor(world))
    assert again.type == "ClusterLeftStopped"
    assert scaled(world)[-1] == "scale 0"


async def test_claim_that_cannot_be_read_is_never_emptied(stage: Stage) -> None:
    world, gate = proof_that_fails(stage)
    handle = await proving(stage, world, gate)
    stopped = asked_when_stopped(world)
    gate.open()
    await assert_eventually(stopped.entered.is_set, lambda: world.events)
    world.copies_may_stay = True
    lose(world, 2, STATE_TRANSFER)
    world.plan(RunnerPlan("inspect", ordinal=1, end="fails", error="RestoreFailed", times=4))  # twice by each of two
    stopped.open()
    failure = await failure_of(handle)
    assert "its volume cannot be read" in failure.message
    assert f"{world.claim_name(1)} unknown" in failure.message
    await assert_left_stopped(stage, world)
    world.copies_may_stay = False
    await (await stage.janitor(world)).result()
    await stage.assert_settled(world)
    assert data_of(world) == ["live"] * 3
    assert emptied(world) == ["2"]


# --- who undoes


async def undone_by(who: Who, stage: Stage, world: World, handle: Handle) -> Handle:
    """End the operation, its lease, or both; the workflow that undoes."""
    lease = stage.lease(world)
    world.copies_may_stay = world.copies_may_stay or who == "owner"  # the next restore removes them
    if who in ("owner", "janitor"):
        await lease.terminate("by a test")
    if who in ("lease", "janitor"):
        await handle.terminate("by a test")
    if who == "janitor":
        await asyncio.sleep(2.5)  # the pods hear that nobody wants them
        return await stage.janitor(world)
    return handle if who == "owner" else lease


async def half_swapped(stage: Stage, world: World, held: int) -> Handle:
    """The claim `held` is between two renames, the others are swapped in."""
    world.plan(RunnerPlan("swap", ordinal=held, held=True))
    handle = await stage.restore(world, strategy="staged")
    expected = [BACKUP_ID if each != held else "incomplete" for each in range(3)]
    await assert_eventually(lambda: data_of(world) == expected, lambda: world.events)
    return handle


@pytest.mark.parametrize("with_data", [PERSON, STATE_TRANSFER])
@pytest.mark.parametrize("who", ["lease", "owner", "janitor"])
async def test_mixture_with_a_lost_claim_goes_back(stage: Stage, who: Who, with_data: bool) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    handle = await half_swapped(stage, world, held=0)
    lose(world, 2, with_data)
    last = await undone_by(who, stage, world, handle)
    ended: Any = await failure_of(last) if who == "owner" else await last.result()
    told = ended.message if who == "owner" else str(ended)
    assert "emptied" in told
    await stage.assert_settled(world)
    assert data_of(world) == ["live"] * 3
    assert emptied(world) == ["2"]


@pytest.mark.parametrize("who", ["lease", "owner", "janitor"])
async def test_mixture_in_which_ordinal_0_is_lost_stays_stopped(stage: Stage, who: Who) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.copies_may_stay = True
    handle = await half_swapped(stage, world, held=2)
    lose(world, 0, STATE_TRANSFER)
    last = await undone_by(who, stage, world, handle)
    failure = await failure_of(last)
    assert f"{world.claim_name(0)} unknown" in failure.message
    assert f"It is whole on: {world.claim_name(1)} at " in failure.message
    await assert_left_stopped(stage, world)
    if who == "janitor":
        again = await (await stage.janitor(world)).result()
        assert [each.verdict for each in again.found if each.kind == "statefulset"] == [Verdict.STAYS_STOPPED]


@pytest.mark.parametrize("who", ["lease", "owner", "janitor"])
async def test_killed_while_a_claim_is_emptied(stage: Stage, who: Who) -> None:
    world, gate = proof_that_fails(stage)
    handle = await proving(stage, world, gate)
    lose(world, 1, STATE_TRANSFER)
    world.plan(RunnerPlan("empty", held=True))
    gate.open()
    await assert_eventually(lambda: emptied(world) == ["1"], lambda: world.look().events)
    assert data_of(world)[0] == data_of(world)[2] == "live"
    last = await undone_by(who, stage, world, handle)
    await (failure_of(last) if who == "owner" else last.result())
    await stage.assert_settled(world)
    assert data_of(world) == ["live"] * 3


@pytest.mark.parametrize("who", ["lease", "owner", "janitor"])
async def test_restored_everywhere_is_started_whoever_undoes(stage: Stage, who: Who) -> None:
    """All is swapped in, and the restore ends before it starts the cluster."""
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("swap", ordinal=1, held=True))
    handle = await stage.restore(world, strategy="staged")
    await assert_eventually(lambda: data_of(world)[2] == BACKUP_ID, lambda: world.events)
    gate = world.faults.add(Step("scale_up", "scale").held()).gate
    assert gate is not None
    world.let_go()
    await assert_eventually(lambda: data_of(world) == [BACKUP_ID] * 3)
    lose(world, 2, PERSON)
    last = await undone_by(who, stage, world, handle)
    gate.open()
    ended: Any = await failure_of(last) if who == "owner" else await last.result()
    assert ended is not None
    await stage.assert_settled(world)
    assert data_of(world) == [BACKUP_ID] * 3


# --- before the swap


@pytest.mark.parametrize("who", ["lease", "owner"])
async def test_before_the_swap_the_claims_are_as_they_were(stage: Stage, who: Who) -> None:
    """No rename has begun, so the claims hold what they held: the cluster starts, whatever became of the copies."""
    world = stage.world(backups=(BACKUP_ID,))
    world.copies_may_stay = who == "owner"  # nobody is left who would remove them: the next restore does
    fault = world.faults.add(Step("renew_mark", "mark_statefulset").held())
    assert fault.gate is not None
    handle = await stage.restore(world, strategy="staged")
    await assert_eventually(fault.gate.entered.is_set, lambda: world.events)
    lose(world, 1, PERSON)
    fault.before = KubernetesRefused("Kubernetes answered 403. Check the worker's role")
    if who == "owner":
        await stage.lease(world).terminate("by a test")
    fault.gate.open()
    assert (await failure_of(handle)).type == "RestoreFailed"
    await stage.assert_settled(world)
    assert {claim.data for claim in world.claims.values()} == {"live"}
    assert emptied(world) == []


async def test_swap_begins_after_the_lease_has_noted_it(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("swap", held=True, times=3))
    handle = await stage.restore(world, strategy="staged")
    await assert_eventually(lambda: any("started: swap" in event for event in world.look().events))
    mark = world.statefulset.annotations["galera-backup/lease"]
    assert '"data_may_have_changed":true' in mark
    world.let_go()
    await handle.result()
    await stage.assert_settled(world)


# --- rollback


async def stopped_rollback(stage: Stage, world: World) -> tuple[Handle, Gate]:
    """It has found the previous data on every claim, and the cluster is stopped."""
    world.copies_may_stay = True
    restored = await (await stage.restore(world, strategy="staged", keep_previous_for=HOUR)).result()
    gate = world.faults.add(Step("renew_mark", "mark_statefulset").held()).gate
    assert gate is not None
    handle = await stage.rollback(world, restored.restore_id)
    await assert_eventually(gate.entered.is_set, lambda: world.events)
    return handle, gate


async def test_rollback_that_is_not_possible_any_more(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    handle, gate = await stopped_rollback(stage, world)
    lose(world, 1, PERSON)
    gate.open()
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert f"the previous data is lost on {world.claim_name(1)}" in failure.message
    assert "The cluster was started again on that" in failure.message
    await stage.assert_settled(world)
    assert data_of(world) == [BACKUP_ID] * 3


async def test_rollback_with_a_claim_that_the_others_fill(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    handle, gate = await stopped_rollback(stage, world)
    lose(world, 2, STATE_TRANSFER)
    gate.open()
    result: RollbackResult = await handle.result()
    assert result.emptied == (world.claim_name(2),)
    await stage.assert_settled(world)
    assert data_of(world) == ["live"] * 3
