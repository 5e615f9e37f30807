"""Cleanups that run to their end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def uncancellable(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end, whatever cancel requests arrive meanwhile; then return or raise as it did.

    `asyncio.shield` alone does not do: the work would go on, but the code that awaits it would not wait.
    """
    dropped = sys.exception()
    if isinstance(dropped, GeneratorExit):
        # A worker that ends drops its open runs, and the garbage collector closes their coroutines wherever it strikes:
        # the loop that runs there may be the one of another workflow.
        work.close()
        raise dropped
    try:
        task = asyncio.ensure_future(work)
    except BaseException:  # the worker evicts the run from its cache: the cleanup goes on elsewhere
        work.close()
        raise
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue
        except Exception:
            break
    return task.result()
