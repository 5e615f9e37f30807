"""A mark that cannot be read is never overwritten: nothing begins on it, and an undo waits for a person."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from galera_backup import names
from galera_backup.models.janitor import Verdict
from tests.fakes.kill import Step
from tests.fakes.stage import BACKUP_ID, Stage, assert_eventually, failure_of
from tests.fakes.world import World
from tests.workflows.janitors import clean, verdicts

DAMAGED = '{"lease": '
REMEDY = "Run the janitor of the newer version; or read the annotation, undo by hand what it says, and remove it"


def damage(world: World, ordinal: int | None = None) -> None:
    """As a newer version, or a person, writes it."""
    with world.lock:
        carrier = world.statefulset if ordinal is None else world.member(ordinal)
        carrier.annotations[names.LEASE_ANNOTATION] = DAMAGED
        carrier.version += 1


def is_damaged(world: World, ordinal: int | None = None) -> bool:
    carrier = world.statefulset if ordinal is None else world.member(ordinal)
    return carrier.annotations.get(names.LEASE_ANNOTATION) == DAMAGED


@pytest.mark.parametrize("strategy", ["staged", "rolling", "in_place"])
@pytest.mark.parametrize("replicas", [3, 0])
async def test_restore_does_not_stop_the_cluster(stage: Stage, strategy: str, replicas: int) -> None:
    world = stage.world(backups=(BACKUP_ID,), at_zero=not replicas)
    damage(world)
    failure = await failure_of(await stage.restore(world, strategy=strategy, replicas=3))
    assert failure.type == "RestoreFailed"
    assert REMEDY in failure.message
    assert await stage.lease_is_closed(world)
    assert is_damaged(world)
    assert (world.statefulset.replicas, len(world.look().members)) == (replicas, replicas)
    assert {claim.data for claim in world.claims.values()} == {"live"}
    assert not any(event.startswith("scale") for event in world.events)
    assert verdicts(await clean(stage, world))["mariadb-server"] == Verdict.UNREADABLE
    world.remove_mark()
    await (await stage.restore(world, strategy=strategy, replicas=3)).result()


async def test_backup_does_not_desync_the_replica(stage: Stage) -> None:
    world = stage.world()
    damage(world, 2)
    failure = await failure_of(await stage.backup(world, replica=2))
    assert failure.type == "MarkUnreadable"
    assert "marking pod 'mariadb-server-2'" in failure.message
    assert REMEDY in failure.message
    assert await stage.lease_is_closed(world)
    assert is_damaged(world, 2)
    assert "desync ON mariadb-server-2" not in world.events
    result = await clean(stage, world)
    assert verdicts(result)["mariadb-server-2"] == Verdict.UNREADABLE
    assert REMEDY in result.left_alone[0]
    world.remove_mark(2)
    await stage.assert_settled(world)


STEPS: dict[str, Any] = {
    "staged": Step("renew_mark", "mark_statefulset"),
    "in_place": Step("scale_up", "scale"),
    "rolling": Step("scale_up", "scale"),
}


@pytest.mark.parametrize("by_owner", [False, True], ids=["lease", "owner"])
@pytest.mark.parametrize("strategy", STEPS)
async def test_stopped_cluster_waits_for_a_person(stage: Stage, strategy: str, by_owner: bool) -> None:
    """It is damaged in the outage: whoever undoes knows how, and starts the cluster when it is removed."""
    world = stage.world(backups=(BACKUP_ID,))
    fault = world.faults.add(STEPS[strategy].held())
    assert fault.gate is not None
    handle = await stage.restore(world, strategy=strategy)
    await assert_eventually(fault.gate.entered.is_set, lambda: world.events)
    damage(world)
    if by_owner:
        await stage.lease(world).terminate("by a test")
    fault.gate.open()
    await asyncio.sleep(3)
    assert is_damaged(world)
    assert world.look().statefulset.replicas == 0
    world.remove_mark()
    if strategy == "in_place" and not by_owner:
        await handle.result()  # its start is the undo of its stop
    else:
        failure = await failure_of(handle)
        assert "cannot be read" in failure.message or by_owner
    if by_owner:  # nobody removes the copies: the next restore does
        world.volume.unpacked.clear()
        world.copies_may_stay = True
    await stage.assert_settled(world)
    assert world.statefulset.replicas == 3
