"""Things that happen by themselves after a while. Nothing runs in the background: a look lets happen what is due."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable


class Timeline:
    """Effects in the order of their due times, on the real clock."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._now: float | None = None

    def now(self) -> float:
        """The moment of the effect that happens, else the real time."""
        return self._now if self._now is not None else time.monotonic()

    def after(self, seconds: float, effect: Callable[[], None]) -> None:
        """Let `effect` happen in so many seconds."""
        heapq.heappush(self._due, (self.now() + seconds, next(self._sequence), effect))

    def advance(self) -> None:
        """Let happen what is due."""
        while self._due and self._due[0][0] <= time.monotonic():
            self._now, _, effect = heapq.heappop(self._due)
            effect()
        self._now = None
