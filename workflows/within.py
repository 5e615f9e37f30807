"""A time limit for a part of a workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow

T = TypeVar("T")


async def within(limit: timedelta, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled, and awaited, when it takes longer or when the caller is cancelled.

    Error: `TimeoutError`. `asyncio.wait_for` does not do: it does not wait for the end of what it cancels.
    """
    task = asyncio.ensure_future(work)
    try:
        await workflow.wait([task], timeout=limit.total_seconds())
    except asyncio.CancelledError:
        await _stop(task)
        raise
    if not task.done():
        await _stop(task)
        raise TimeoutError
    return task.result()


async def _stop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await workflow.wait([task])
    if not task.cancelled():
        task.exception()  # of work that was told to stop
