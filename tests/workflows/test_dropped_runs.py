"""Runs that a worker evicts, or drops because it fails, change nothing for other runs.

The SDK's core does not evict open runs when a worker ends, so Python's garbage collector closes their coroutines in
whatever thread it strikes, also in one that runs another workflow (temporalio/sdk-python#494).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.worker import Worker

import worker
from tests.fakes.stage import BACKUP_ID, Handle, Stage, open_stage, serving
from tests.fakes.world import RunnerPlan, World
from tests.support import together
from tests.support.dying import close_elsewhere, hand_out, open_coroutines

stage = together.sandboxed_stage

KINDS = ("backup", "staged", "rolling", "in_place")
HELD = {"backup": "backup", "staged": "swap", "rolling": "unpack", "in_place": "restore"}
"""A runner that works until the test lets it go, for each kind of operation."""


async def begin(stage: Stage, kind: str, *, held: bool = False) -> tuple[World, Handle]:
    world = stage.world(backups=(BACKUP_ID,))
    if held:
        world.plan(RunnerPlan(HELD[kind], held=True, times=3))
    handle = await (stage.backup(world) if kind == "backup" else stage.restore(world, strategy=kind))
    return world, handle


async def ends_well(stage: Stage, kind: str) -> None:
    world, handle = await begin(stage, kind)
    await handle.result()
    await stage.assert_settled(world)


@contextlib.asynccontextmanager
async def until_they_fail(stage: Stage) -> AsyncIterator[None]:
    """Workers of this stage, both of which fail at the end of the block."""
    workers = contextlib.AsyncExitStack()
    await workers.enter_async_context(serving(stage))
    try:
        yield
        await fail(stage)
    finally:
        with pytest.raises(RuntimeError, match="Activity worker failed"):
            await workers.aclose()


async def fail(stage: Stage) -> None:
    """Both workers of this stage fail at their next poll, which is soon, as there is work."""
    assert stage.workers is not None
    for each in stage.workers.each:
        hand_out(each, RuntimeError("failed by a test")).set()
    await asyncio.wait_for(asyncio.shield(stage.workers.failure), 15)


async def test_a_run_that_is_closed_elsewhere_does_nothing(stage: Stage) -> None:
    async with open_stage(stage.client, workers=False) as own:
        async with until_they_fail(own):
            for kind in KINDS:
                await begin(own, kind)
                await begin(own, kind, held=True)
            await asyncio.sleep(2)
        coroutines = open_coroutines({own.queue, f"{own.queue}-lease"})
        assert len(coroutines) > len(KINDS)
        assert close_elsewhere(coroutines) == []


async def test_a_stage_whose_worker_failed_ends_its_tests_at_once(stage: Stage) -> None:
    async with open_stage(stage.client, workers=False) as own:
        began = time.monotonic()
        async with until_they_fail(own):
            _, handle = await begin(own, "backup", held=True)
            test = asyncio.ensure_future(own.within(timedelta(seconds=60), wait_for(handle)))
        with pytest.raises(AssertionError, match="a worker of this stage failed"):
            await test
        assert time.monotonic() - began < 20


async def wait_for(handle: Handle) -> None:
    await handle.result()


async def test_others_go_on_beside_a_worker_that_fails(stage: Stage) -> None:
    async with open_stage(stage.client, workers=False) as own:
        async with until_they_fail(own):
            for kind in KINDS:
                await begin(own, kind, held=True)
            others = [asyncio.ensure_future(ends_well(stage, kind)) for kind in KINDS]
            await asyncio.sleep(1)
        own.workers = None
        while not all(each.done() for each in others):
            await asyncio.to_thread(gc.collect)
            await asyncio.sleep(0.5)
        await asyncio.gather(*others)


async def test_evicted_runs_go_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two workers with room for one run each, and two operations with a lease each."""
    monkeypatch.setattr(worker, "Worker", functools.partial(Worker, max_cached_workflows=1))
    async with open_stage(stage.client) as own:
        await asyncio.gather(*(ends_well(own, kind) for kind in ("backup", "in_place")))
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []
