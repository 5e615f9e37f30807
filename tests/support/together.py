"""Tests of one module on one pair of production workers, at the same time.

Most of a test is waiting. Each test has a cluster of its own, is awaited by its own test item, and reports its own
outcome. The conftest of a folder imports `stage` and calls `run_together` with the items of that folder.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from dev.tools.times import OWN_SECONDS
from tests.conftest import dev_server
from tests.fakes.stage import Stage, open_stage

AT_ONCE = 16
"""Enough to fill the waits, and few enough for two cores: beside this module another one runs."""
LONGEST = timedelta(seconds=200)
"""Of one test, from its own begin: a stage that hangs shows in all of them at once, and not one after another."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(temporal_cli: str) -> AsyncIterator[Stage]:
    """Both workers over fakes, on a Temporal server of their own: what one module leaves is not there in the next.

    Without the sandbox: a third of the processor time was that each run imports its modules anew. What the sandbox
    refuses is refused before, by tests/unit/test_imports.py.
    """
    async with dev_server(temporal_cli, sandbox=False) as temporal_env, open_stage(temporal_env.client) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sandboxed_stage(temporal_cli: str) -> AsyncIterator[Stage]:
    """As `stage`, with workers as in production to the last."""
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
        self._tests: dict[pytest.Item, tuple[Callable[..., Coroutine[Any, Any, None]], dict[str, Any]]] = {}
        self._tasks: dict[pytest.Item, asyncio.Task[None]] = {}

    def add(self, item: pytest.Function) -> None:
        test = item.obj
        parameters = dict(item.callspec.params) if hasattr(item, "callspec") else {}
        if set(inspect.signature(test).parameters) - set(parameters) != {"stage"}:
            return
        self._tests[item] = (test, parameters)

        @functools.wraps(test)
        async def outcome(stage: Stage, **_: Any) -> None:
            if not self._tasks:
                self._start(stage)
            await self._tasks[item]

        item.obj = outcome

    def _start(self, stage: Stage) -> None:
        free = asyncio.Semaphore(AT_ONCE)

        async def run(item: pytest.Item) -> None:
            test, parameters = self._tests[item]
            async with free:
                began = time.monotonic()
                try:
                    await stage.within(LONGEST, test(stage=stage, **parameters))
                finally:
                    item.user_properties.append((OWN_SECONDS, f"{time.monotonic() - began:.3f}"))

        for item in self._tests:
            self._tasks[item] = asyncio.create_task(run(item), name=item.nodeid)
