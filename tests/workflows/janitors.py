"""What tests of the janitor have in common."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from galera_backup.models.janitor import JanitorResult, Verdict
from tests.fakes.stage import Handle, Stage, assert_eventually
from tests.fakes.world import RunnerPlan, World
from tests.matrix.janitor import put_mark

SHORT = timedelta(seconds=2)
"""What a janitor may wait that is not to wait for long."""


def left_desynced(world: World, ordinal: int = 2, **mark: Any) -> None:
    """As an operation has left this replica that was lost with its lease."""
    put_mark(world, ordinal, **mark)
    with world.lock:
        world.member(ordinal).set_desync(True)


async def kill_both(stage: Stage, world: World, operation: Handle) -> None:
    """By hand, the lease first: nobody is left who would undo."""
    await asyncio.gather(stage.lease(world).terminate("by a test"), operation.terminate("by a test"))


async def clean(stage: Stage, world: World, **fields: Any) -> JanitorResult:
    """One run of the janitor."""
    return await (await stage.janitor(world, **fields)).result()


def verdicts(result: JanitorResult) -> dict[str, Verdict]:
    return {each.name: each.verdict for each in result.found}


def has(world: World, text: str) -> bool:
    return any(text in event for event in world.look().events)


async def working_backup(stage: Stage, **fields: Any) -> tuple[World, Handle]:
    world = stage.world()
    world.plan(RunnerPlan("backup", held=True))
    backup = await stage.backup(world, **fields)
    await assert_eventually(lambda: has(world, "started: backup"), lambda: world.events)
    return world, backup
