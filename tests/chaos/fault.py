"""What a fault is, and what it is struck at."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import WorkflowFailureError, WorkflowHandle

from dev.stack import paths
from tests.chaos.lane import Lane
from tests.chaos.points import Point

AWAY = 8.0
"""Seconds for which a server misbehaves: longer than any single call's time limit."""


@dataclass
class Run:
    """One operation that stands at a point."""

    lane: Lane
    point: Point
    handle: WorkflowHandle[Any, Any]
    settled: Callable[[], Awaitable[None]]
    """Wait until the operation and its lease are closed."""
    second: Callable[[], Awaitable[str]]
    """Start another operation on the same cluster; the type of its failure, or `succeeded`."""
    notes: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    back_at: float = 0.0
    """When everything that the operation needs was there again."""

    def lease(self) -> WorkflowHandle[Any, Any]:
        """The lease of the cluster."""
        return self.lane.client.get_workflow_handle(self.lane.site.lease_id)

    async def must_fail(self, error: str) -> None:
        """Wait for the end of the operation: it is to fail with an error of this type."""
        try:
            await self.handle.result()
        except WorkflowFailureError as failure:
            seen = str(getattr(failure.cause, "type", failure.cause))
        else:
            seen = "success"
        if seen != error:
            self.violations.append(f"expected {error}, saw {seen}")

    def back(self) -> None:
        """All is there again; go on."""
        self.back_at = time.time()
        self.lane.go()


Strike = Callable[[Run], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """One way to break something. It calls `run.back()` when all is mended."""

    name: str
    strike: Strike
    fits: Callable[[str, Point], bool] = lambda operation, point: True
    """Whether it means anything for this operation at this point."""
    ends: tuple[str, ...] = ()
    """Statuses, beside COMPLETED, in which the operation may end that need no failure with a type."""
    shared: bool = False
    """It strikes all lanes at once."""
    execution_timeout: bool = False
    """The operation gets one that passes while it is held."""
    janitor: bool = False
    """Nobody is left who would undo, and then the time of the janitor's schedule comes."""
    hits_server: bool = False
    """A server starts anew, maybe by a state transfer from another; an operation that failed does not wait for it."""
    slow: bool = False
    """Takes minutes: struck at one point only."""


FAULTS: dict[str, Fault] = {}


def fault(name: str, **options: Any) -> Callable[[Strike], Strike]:
    """Register one."""

    def register(strike: Strike) -> Strike:
        FAULTS[name] = Fault(name, strike, **options)
        return strike

    return register


def is_held(operation: str, point: Point) -> bool:
    """An activity is under way as long as the harness wants."""
    return point.stage != "scheduled"


def starts_runner(operation: str, point: Point) -> bool:
    return point.activity == "run_runner" and point.stage == "started"


def swaps(operation: str, point: Point) -> bool:
    return starts_runner(operation, point) and point.job.startswith(("in-", "back-"))


def stages(operation: str, point: Point) -> bool:
    return starts_runner(operation, point) and point.job.startswith("stage-")


def verifies(operation: str, point: Point) -> bool:
    """What is staged, right before the cluster is stopped."""
    return starts_runner(operation, point) and point.job.startswith("verify-")


def copies(operation: str, point: Point) -> bool:
    """The runner that reads the replica or writes its data, not one that checks or prunes."""
    return starts_runner(operation, point) and point.job == "backup"


async def part_killed(name: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    for command in (["down", "--only", name, "--kill"], ["up", "--only", name]):
        if command[0] == "up":
            meanwhile()
        process = await asyncio.create_subprocess_exec(
            paths.DEV / command[0], *command[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if await process.wait():
            raise AssertionError(f"dev/{' '.join(command)} failed")
