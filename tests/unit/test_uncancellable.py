"""Cleanups run to their end, and nowhere but in the loop of their own workflow."""

from __future__ import annotations

import asyncio

import pytest

from workflows._uncancellable import uncancellable


class Run:
    """A workflow's coroutine: it waits, and has something to clean up."""

    def __init__(self) -> None:
        self.cleaned = 0

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await uncancellable(self._clean_up())

    async def _clean_up(self) -> None:
        await asyncio.sleep(0.01)
        self.cleaned += 1


async def test_cancel_requests_are_outlived() -> None:
    run = Run()
    task = asyncio.ensure_future(run.run())
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert run.cleaned == 1


async def test_a_run_that_is_dropped_cleans_up_in_no_other_loop() -> None:
    """A worker that ends drops its open runs; their coroutines are closed wherever the garbage collector strikes."""
    run = Run()
    dropped = run.run()
    dropped.send(None)
    dropped.close()
    assert len(asyncio.all_tasks()) == 1
    await asyncio.sleep(0.02)
    assert run.cleaned == 0
