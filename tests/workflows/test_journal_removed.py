"""Something removes `.galera-backup` after the swap has begun: nobody takes such a claim for an untouched one."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from galera_backup.errors import KubernetesRefused
from galera_backup.models.janitor import Verdict
from tests.fakes.kill import Step
from tests.fakes.stage import BACKUP_ID, Handle, Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan, World

Who = Literal["lease", "owner", "janitor"]
"""Who undoes: the lease; the operation when the lease was terminated; the janitor when both were."""


def lose_the_journal(world: World, ordinal: int) -> None:
    """By a state transfer, a start script, a person."""
    with world.lock:
        claim = world.claims[world.claim_name(ordinal)]
        claim.journal = claim.staged = claim.previous = None


async def assert_left_stopped(stage: Stage, world: World, ordinal: int) -> None:
    """Neither mixed data nor restored data as if it were the old."""
    await assert_eventually(lambda: stage.lease_is_closed(world))
    assert world.look().statefulset.replicas == 0
    assert not world.members
    assert world.violations == []
    assert world.claims[world.claim_name(ordinal)].data == BACKUP_ID


@pytest.mark.parametrize("ordinal", [0, 2])
async def test_way_back_of_the_operation(stage: Stage, ordinal: int) -> None:
    """All is swapped in, and no server starts on the restored data."""
    world = stage.world(backups=(BACKUP_ID,))
    world.copies_may_stay = True
    world.ends_on = {BACKUP_ID}
    gate = world.faults.add(Step("scale_up", "scale").held()).gate
    assert gate is not None
    handle = await stage.restore(world, strategy="staged")
    await assert_eventually(gate.entered.is_set, lambda: world.events)
    lose_the_journal(world, ordinal)
    gate.open()
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert f"{world.claim_name(ordinal)} unknown" in failure.message
    await assert_left_stopped(stage, world, ordinal)


@pytest.mark.parametrize("who", ["lease", "owner", "janitor"])
async def test_undo_of_a_swap(stage: Stage, who: Who) -> None:
    """One claim of three is not swapped yet; one that is has lost its journal."""
    world = stage.world(backups=(BACKUP_ID,))
    world.copies_may_stay = True
    world.plan(RunnerPlan("swap", ordinal=0, held=True))
    handle = await stage.restore(world, strategy="staged")
    await assert_eventually(lambda: world.look().claims[world.claim_name(2)].data == BACKUP_ID, lambda: world.events)
    lose_the_journal(world, 2)
    lease = stage.lease(world)
    if who in ("owner", "janitor"):
        await lease.terminate("by a test")
    if who in ("lease", "janitor"):
        await handle.terminate("by a test")
    last: Handle = lease
    if who == "owner":
        last = handle
    if who == "janitor":
        await asyncio.sleep(2.5)  # the pods hear that nobody wants them
        last = await stage.janitor(world)
    assert f"{world.claim_name(2)} unknown" in (await failure_of(last)).message
    await assert_left_stopped(stage, world, 2)
    if who == "janitor":
        again = await (await stage.janitor(world)).result()
        assert [each.verdict for each in again.found if each.kind == "statefulset"] == [Verdict.STAYS_STOPPED]


@pytest.mark.parametrize("who", ["lease", "owner"])
async def test_before_the_swap_nobody_has_to_look(stage: Stage, who: Who) -> None:
    """No rename has begun, so the claims hold what they held: the cluster starts, whatever became of the copies."""
    world = stage.world(backups=(BACKUP_ID,))
    world.copies_may_stay = who == "owner"  # nobody is left who would remove them: the next restore does
    fault = world.faults.add(Step("renew_mark", "mark_statefulset").held())
    assert fault.gate is not None
    handle = await stage.restore(world, strategy="staged")
    await assert_eventually(fault.gate.entered.is_set, lambda: world.events)
    lose_the_journal(world, 1)
    fault.before = KubernetesRefused("Kubernetes answered 403. Check the worker's role")
    if who == "owner":
        await stage.lease(world).terminate("by a test")
    fault.gate.open()
    assert (await failure_of(handle)).type == "RestoreFailed"
    await stage.assert_settled(world)
    assert {claim.data for claim in world.claims.values()} == {"live"}
    assert not any("-look-" in event for event in world.events)


async def test_swap_begins_after_the_lease_has_noted_it(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("swap", held=True, times=3))
    handle = await stage.restore(world, strategy="staged")
    await assert_eventually(lambda: any("started: swap" in event for event in world.look().events))
    mark = world.statefulset.annotations["galera-backup/lease"]
    assert '"renames_may_have_begun":true' in mark
    world.let_go()
    await handle.result()
    await stage.assert_settled(world)
