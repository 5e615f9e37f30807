"""Waiting for what must come about, in place of sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(look: Callable[[], T], within: float, what: str | Callable[[], str], every: float = 0.2) -> T:
    """The first true answer of `look`; fails when there is none `within` seconds, and says what it saw last."""
    deadline = time.monotonic() + within
    while not (seen := look()):
        if time.monotonic() > deadline:
            expected = what if isinstance(what, str) else what()
            raise AssertionError(f"expected within {within:.0f} s: {expected}; saw {seen!r}")
        await asyncio.sleep(every)
    return seen
