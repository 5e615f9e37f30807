"""The same work on several claims."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from temporalio import workflow

C = TypeVar("C")
T = TypeVar("T")


async def for_each(
    claims: Sequence[C], work: Callable[[C], Coroutine[Any, Any, T]], *, in_turn: bool = False
) -> list[T]:
    """Do the work for all claims at once, or one after the other; results are in the order of the claims.

    After the first failure, or a cancel, the others are cancelled, and their ends are awaited.
    """
    if in_turn:
        return [await work(claim) for claim in claims]
    tasks = [asyncio.ensure_future(work(claim)) for claim in claims]
    if not tasks:
        return []
    try:
        await workflow.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    except asyncio.CancelledError:
        await _cancel(tasks)
        raise
    await _cancel(tasks)
    failed = [task for task in tasks if not task.cancelled() and task.exception() is not None]
    if failed:
        failed[0].result()
    return [task.result() for task in tasks]


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await workflow.wait(tasks)
