"""A cluster and a worker of this process, and the cluster is healthy before and after each test.

The tests run in processes beside each other: see `lanes`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client

from dev.stack import cli, cluster, images, lifecycle, processes, settings
from galera_backup.temporal.connect import TemporalAddress, connect
from tests.integration import lanes, process
from tests.integration.clients import JOURNAL
from tests.integration.galera import FIRST, NAMESPACE, PASSWORD, PODS, SMALL, USER, Galera, stored_manifests
from tests.integration.network import Partition
from tests.integration.operations import Operations
from tests.integration.worker_process import WORKER_LOG, WorkerProcess, size_of
from tests.support.eventually import eventually

ORDER = (
    *("test_restore", "test_restore_staged", "test_way_back", "test_restore_rolling", "test_partitions"),
    *("test_shapes", "test_findings"),
    "test_late_on",
    *("test_frozen_server", "test_donor", "test_backup_faults", "test_refusals"),
    *("test_clone", "test_backup", "test_starters", "test_stack"),
)
"""The longest ones first, so that no lane has one left at the end."""
LOG_LINES = 60
_log_at_start = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """One process gives the tests to others, and those run them."""
    config.pluginmanager.register(lanes.Member() if lanes.is_lane() else lanes.Lanes(Path(__file__).parent), "lanes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests here, and put their modules into order."""
    ours = [item for item in items if item.path.parent == Path(__file__).parent]
    for item in ours:
        item.add_marker(pytest.mark.integration)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))
    chosen = set(ours)
    others = [item for item in items if item not in chosen]
    ours.sort(key=lambda item: (lanes.runs_alone(item), ORDER.index(item.path.stem)))
    items[:] = [*others, *ours]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Show what the worker logged during a test that failed."""
    if call.when == "setup":
        item.stash[_log_at_start] = size_of(WORKER_LOG)
    report: pytest.TestReport = yield
    if report.failed and WORKER_LOG.exists():
        with WORKER_LOG.open("rb") as file:
            file.seek(item.stash.get(_log_at_start, 0))
            lines = file.read().decode(errors="replace").splitlines()
        report.sections.append((f"worker log, {WORKER_LOG}", "\n".join(lines[-LOG_LINES:])))
    return report


@pytest.fixture(scope="session")
def galera() -> Iterator[Galera]:
    """The cluster of this process, with this checkout's agent and the tests' own user and table."""
    dead = [name for name in lifecycle.PARTS if processes.running(name) is None]
    if dead:
        pytest.fail(f"the stack is not up ({', '.join(dead)} does not run): start it with dev/up, or use dev/test")
    images.ensure_loaded(images.agent())
    if SMALL is not None:
        SMALL.make()
    elif (pods := {pod["metadata"]["name"]: cluster.is_ready(pod) for pod in cluster.pods()}) != dict.fromkeys(
        PODS, True
    ):
        pytest.fail(f"the stack's database is not healthy ({pods}): see dev/status and dev/up")
    os.environ |= {name: value for name, value in cli.environment().items() if name != "GALERA_BACKUP_TASK_QUEUE"}
    galera = Galera()
    for runner in galera.runners():  # of a session that was cut off
        galera.core.delete_namespaced_pod(runner.metadata.name, NAMESPACE)
    galera.root_sql(
        f"SET NAMES utf8mb4; CREATE OR REPLACE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}';"
        f"GRANT ALL ON *.* TO {USER}@'%';"
        "DROP DATABASE IF EXISTS integration; CREATE DATABASE integration;"
        f"CREATE TABLE {JOURNAL} (id BIGINT AUTO_INCREMENT PRIMARY KEY, writer VARCHAR(64), text TEXT, KEY (writer));"
    )
    yield galera
    galera.api_client.close()
    if SMALL is not None:
        SMALL.remove()
    else:
        galera.root_sql(f"DROP DATABASE IF EXISTS integration; DROP USER IF EXISTS {USER}@'%';", FIRST)


@pytest.fixture
def stack_cluster() -> None:
    """The test needs the cluster of dev/up, with its data."""
    assert SMALL is None


@pytest.fixture
def alone() -> None:
    """The test stops what all tests use, so that no other one runs meanwhile."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(galera: Galera) -> Client:
    """A client of the stack's Temporal server."""
    return await connect(TemporalAddress(settings.TEMPORAL_ADDRESS, "default"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_worker(galera: Galera) -> AsyncIterator[WorkerProcess]:
    """A worker on a task queue of this session."""
    worker = WorkerProcess(f"integration-{os.getpid()}")
    worker.log.unlink(missing_ok=True)
    await worker.start()
    yield worker
    worker.end()


@pytest_asyncio.fixture(loop_scope="session")
async def worker(session_worker: WorkerProcess) -> WorkerProcess:
    """The session's worker, alive."""
    if not session_worker.running:
        await session_worker.start()
    return session_worker


@pytest.fixture
def operations(client: Client, worker: WorkerProcess) -> Operations:
    """Starts operations on the session's worker."""
    return Operations(client, worker.task_queue)


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def healthy(galera: Galera, operations: Operations, worker: WorkerProcess) -> AsyncIterator[None]:
    """The cluster is whole and free before a test and after it; what a failed test left frozen goes on."""
    await eventually(lambda: not galera.problems(), 120, lambda: f"healthy before the test: {galera.problems()}")
    yield
    process.thaw_all()
    if not worker.running:
        await worker.start()
    await eventually(
        lambda: not galera.problems(), 120, lambda: f"healthy after the test: {galera.problems()}", every=0.5
    )
    await operations.lease_closes()


@pytest_asyncio.fixture(loop_scope="session")
async def stored(healthy: None, operations: Operations) -> str:
    """The newest backup of the cluster; made when there is none."""
    return max(stored_manifests(), default="") or (await operations.backup()).manifest.backup_id


@pytest.fixture
def partition(healthy: None) -> Iterator[Partition]:
    """Cuts a replica off; healed after the test, and before its cluster must be healthy again."""
    partition = Partition()
    yield partition
    partition.heal()
