"""A branch is one way through a workflow; its operation and the last lease of its cluster are recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.client import WorkflowFailureError

from tests.fakes.stage import Handle, Stage
from tests.fakes.world import RunnerPlan, World
from tests.support.eventually import assert_eventually

Branch = Callable[[Stage, World], Awaitable[Handle]]


class Branches(dict[str, Branch]):
    """Of one kind of operation, by name; as a decorator it adds one."""

    def __call__(self, record: Branch) -> Branch:
        self[record.__name__] = record
        return record


async def ended(handle: Handle) -> Handle:
    """However it ends."""
    try:
        await handle.result()
    except WorkflowFailureError:
        return handle
    return handle


async def working(world: World, mode: str, count: int = 1) -> None:
    """So many runner pods have been started."""
    await assert_eventually(lambda: sum(f"started: {mode}" in event for event in world.look().events) >= count)


async def backup_in_run(stage: Stage, world: World, **fields: Any) -> Handle:
    """A backup whose runner pod works until the world lets it go."""
    world.plan(RunnerPlan("backup", held=True))
    handle = await stage.backup(world, **fields)
    await working(world, "backup")
    return handle


async def abandoned(stage: Stage, world: World, handle: Handle) -> None:
    """The operation and its lease are terminated."""
    await asyncio.gather(stage.lease(world).terminate("recording"), handle.terminate("recording"))
