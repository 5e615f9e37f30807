"""The command line against a real Temporal server, with stand-ins for the workflows."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from tests.unit.commands.cli import Cli
from tests.unit.commands.stand_ins import (
    Backup,
    Check,
    Janitor,
    Lease,
    ListBackups,
    Restore,
    Rollback,
    Tidy,
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def queue(temporal_env: WorkflowEnvironment) -> AsyncIterator[str]:
    name = f"starters-{uuid.uuid4()}"
    async with Worker(
        temporal_env.client,
        task_queue=name,
        workflows=[Backup, Restore, Rollback, Tidy, ListBackups, Check, Janitor, Lease],
    ):
        yield name


@pytest.fixture
def run(temporal_env: WorkflowEnvironment, queue: str, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(temporal_env, queue, capsys)
