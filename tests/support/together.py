"""Tests of one module on one pair of production workers, at the same time.

Most of a test is waiting. Each test has a cluster of its own, is awaited by its own test item, and reports its own
outcome. The conftest of a folder imports `stage` and calls `run_together` with the items of that folder.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import dev_server
from tests.fakes.stage import Stage, open_stage

AT_ONCE = 24
"""Enough to fill the waits, and few enough for two cores: a case is waiting for 90 % of its time."""
LONGEST = timedelta(seconds=200)
"""Of one test, from its own begin: a stage that hangs shows in all of them at once, and not one after another."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(temporal_cli: str) -> AsyncIterator[Stage]:
    """Both workers over fakes, on a Temporal server of their own: what one module leaves is not there in the next."""
    async with dev_server(temporal_cli) as temporal_env, open_stage(temporal_env.client) as opened:
        yield opened


def run_together(items: Iterable[pytest.Item], folder: str) -> None:
    """Put the tests of each module below this folder together; the modules still run one after another."""
    modules: dict[Any, _Together] = {}
    for item in items:
        below = f"tests/{folder}/" in item.path.as_posix()
        if isinstance(item, pytest.Function) and below and inspect.iscoroutinefunction(item.obj):
            modules.setdefault(item.module, _Together()).add(item)


class _Together:
    """The selected tests of one module that need nothing but the stage."""

    def __init__(self) -> None:
        self._tests: dict[str, tuple[Callable[..., Coroutine[Any, Any, None]], dict[str, Any]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def add(self, item: pytest.Function) -> None:
        name, test = item.nodeid, item.obj
        parameters = dict(item.callspec.params) if hasattr(item, "callspec") else {}
        if set(inspect.signature(test).parameters) - set(parameters) != {"stage"}:
            return
        self._tests[name] = (test, parameters)

        @functools.wraps(test)
        async def outcome(stage: Stage, **_: Any) -> None:
            if not self._tasks:
                self._start(stage)
            await self._tasks[name]

        item.obj = outcome

    def _start(self, stage: Stage) -> None:
        free = asyncio.Semaphore(AT_ONCE)

        async def run(test: Callable[..., Coroutine[Any, Any, None]], parameters: dict[str, Any]) -> None:
            async with free:
                await stage.within(LONGEST, test(stage=stage, **parameters))

        for name, (test, parameters) in self._tests.items():
            self._tasks[name] = asyncio.create_task(run(test, parameters), name=name)
