"""Waiting for what must come about, in place of sleeping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.25
"""Seconds between two looks; many tests look at the same time, at one server or one cluster."""


class NotSeen(AssertionError):
    """What had to come about did not."""


async def eventually(
    look: Callable[[], Any], within: float, what: str | Callable[[], object], every: float | None = None
) -> Any:
    """The first true result of `look`, a function or a coroutine function; looks again after `every` seconds.

    Without `every` the pauses grow from FIRST_PAUSE to LONGEST_PAUSE. When there is no true result `within` seconds it
    raises `NotSeen` with `what` had to come about, and what it saw last.
    """
    deadline, pause = time.monotonic() + within, every or FIRST_PAUSE
    while True:
        seen = look()
        if inspect.isawaitable(seen):
            seen = await seen
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise NotSeen(f"not within {within:.0f} s: {what() if callable(what) else what}; saw {seen!r}")
        await asyncio.sleep(pause)
        if every is None:
            pause = min(pause * 1.5, LONGEST_PAUSE)


async def assert_eventually(
    condition: Callable[[], bool | Awaitable[bool]], saw: Callable[[], object] = lambda: "", seconds: float = 150
) -> None:
    """Wait for `condition`; fails with what `saw` returns when it does not come.

    To wait for the end of a workflow, `Stage.end_of` asks the server only once.
    """
    await eventually(condition, seconds, saw)
