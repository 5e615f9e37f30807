"""What all tests share: a real Temporal dev server."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from galera_backup.temporal.attributes import SEARCH_ATTRIBUTES
from galera_backup.temporal.plugin import plugin


@pytest.fixture(scope="session")
def temporal_cli() -> str:
    """Path of the `temporal` command."""
    return find_temporal_cli()


def find_temporal_cli() -> str:
    """Path of the `temporal` command: TEMPORAL_CLI, else PATH, else what `dev/up` built."""
    if path := os.environ.get("TEMPORAL_CLI") or shutil.which("temporal"):
        return path
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "galera-backup"
    if built := sorted(cache.glob("programs/temporal-*/temporal")):
        return str(built[-1])
    pytest.fail("no `temporal` command: set TEMPORAL_CLI, put it into PATH, or build it with dev/up")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def temporal_env(temporal_cli: str) -> AsyncIterator[WorkflowEnvironment]:
    """A Temporal dev server for the whole test run."""
    async with dev_server(temporal_cli) as environment:
        yield environment


@asynccontextmanager
async def dev_server(temporal_cli: str) -> AsyncIterator[WorkflowEnvironment]:
    """A Temporal dev server with our search attributes; its client has our plugin.

    Its database is a file: one in SQLite's shared memory cache is lost with a connection (temporalio/temporal#8017).
    """
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        environment = await WorkflowEnvironment.start_local(
            dev_server_existing_path=temporal_cli,
            dev_server_startup_timeout=timedelta(seconds=60),
            dev_server_database_filename=f"{folder}/temporal.db",
            plugins=[plugin()],
            search_attributes=SEARCH_ATTRIBUTES,
        )
        async with environment:
            yield environment
