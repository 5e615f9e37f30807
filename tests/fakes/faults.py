"""Failures of gateway calls, by method name and, where wanted, by the activity that calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity

ALWAYS = 1_000_000
LONGEST_HANG = 100


@dataclass
class Gate:
    """Holds a call before its effect until it is opened."""

    entered: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def pass_through(self) -> None:
        """Wait until somebody opens. Error: `RuntimeError`, when nobody does: what waits for the call waits in vain."""
        self.entered.set()
        if not self.opened.wait(LONGEST_HANG):
            raise RuntimeError(f"nobody has opened this gate for {LONGEST_HANG} s")

    def open(self) -> None:
        """Let the call, and all later ones, go on."""
        self.opened.set()


@dataclass
class Fault:
    """What happens to matching calls: held at a gate, failing before the effect, or after it (the result is lost)."""

    method: str
    activity: str | None = None
    """Only in this activity; None: wherever."""
    when: Callable[[Mapping[str, Any]], bool] = lambda arguments: True
    """Only with these arguments."""
    gate: Gate | None = None
    before: Exception | None = None
    after: Exception | None = None
    times: int = 1
    taken: int = 0
    """Calls that it has happened to."""

    def matches(self, method: str, arguments: Mapping[str, Any]) -> bool:
        """Whether this call is meant."""
        if self.times == 0 or method != self.method or not self.when(arguments):
            return False
        return self.activity is None or self.activity == _activity()

    def before_effect(self) -> None:
        """Hold, or fail so that the call has no effect."""
        if self.gate is not None:
            self.gate.pass_through()
        if self.before is not None:
            raise self.before.with_traceback(None)  # else it grows by each call that it happens to

    def after_effect(self) -> None:
        """Fail although the call had its effect."""
        if self.after is not None:
            raise self.after.with_traceback(None)


class Faults:
    """The faults of one world, and how often each method was called."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """From now on."""
        self._faults.append(fault)
        return fault

    def take(self, method: str, arguments: Mapping[str, Any]) -> Fault | None:
        """The first fault that is meant for this call; it has one time less."""
        with self._lock:
            fault = next((each for each in self._faults if each.matches(method, arguments)), None)
            if fault is not None:
                fault.times -= 1
                fault.taken += 1
            return fault


def _activity() -> str | None:
    return activity.info().activity_type if activity.in_activity() else None
