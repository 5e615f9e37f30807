"""A backup while something beneath it fails: it succeeds, or it fails cleanly; the replica is back in any case."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from galera_backup.models.backup import BackupResult
from tests.integration import process
from tests.integration.galera import BACKUPS, NAMESPACE, Galera, stored_manifests
from tests.integration.operations import Operations, failure_of, runner_attempts
from tests.integration.process import Frozen
from tests.integration.worker_process import WorkerProcess

Backup = WorkflowHandle[Any, BackupResult]


async def _streaming(operations: Operations, **fields: Any) -> tuple[Backup, Frozen]:
    """A backup whose mariadb-backup stands still in the middle of its stream."""
    backup = await operations.start_backup(**fields)
    runner = await Frozen.catch(*process.BACKUP)
    await runner.move_until(BACKUPS, "*/*.part")
    return backup, runner


def _the_only_runner(galera: Galera) -> Any:
    [pod] = galera.runners()
    return pod


async def _succeeds(backup: Backup, galera: Galera, before: dict[str, Any]) -> BackupResult:
    """The backup's result; it alone is new on the volume, and nothing partial is."""
    result = await backup.result()
    assert galera.problems() == []
    assert set(stored_manifests()) - set(before) == {result.manifest.backup_id}
    assert list(BACKUPS.glob("*/*.part")) == []
    return result


# --- the runner


async def test_its_pod_is_deleted(galera: Galera, operations: Operations) -> None:
    """Whoever deletes a runner wants it to end: it is not started again, and the replica goes back."""
    before = stored_manifests()
    backup, _ = await _streaming(operations)
    first = _the_only_runner(galera)
    galera.core.delete_namespaced_pod(first.metadata.name, NAMESPACE)
    error = await failure_of(backup)
    assert error.type == "RunnerFailed"
    assert galera.problems() == []
    assert stored_manifests() == before
    assert [pod for pod in await runner_attempts(backup) if "prune" not in pod] == [first.metadata.name]


async def test_mariadb_backup_is_killed(galera: Galera, operations: Operations) -> None:
    before = stored_manifests()
    backup, runner = await _streaming(operations)
    first = _the_only_runner(galera)
    runner.kill()
    result = await _succeeds(backup, galera, before)
    assert result.runner.pod == f"{first.metadata.name}-2"


async def test_the_container_of_mariadb_backup_is_killed(galera: Galera, operations: Operations) -> None:
    before = stored_manifests()
    backup, runner = await _streaming(operations)
    first = _the_only_runner(galera)
    process.kill_container_of(runner.pid)
    result = await _succeeds(backup, galera, before)
    assert result.runner.pod == f"{first.metadata.name}-2"


async def test_the_agent_is_killed(galera: Galera, operations: Operations) -> None:
    before = stored_manifests()
    backup, runner = await _streaming(operations)
    first = _the_only_runner(galera)
    agent = process.find("python3", "-m", "galera_backup.runner")
    assert agent is not None
    process.kill(agent)
    runner.go_on()
    result = await _succeeds(backup, galera, before)
    assert result.runner.pod == f"{first.metadata.name}-2"


async def test_every_runner_is_killed(galera: Galera, operations: Operations) -> None:
    before = stored_manifests()
    backup, runner = await _streaming(operations)
    runner.kill()
    again = await Frozen.catch(*process.BACKUP)
    again.kill()
    error = await failure_of(backup)
    assert error.type in {"BackupFailed", "RunnerFailed"}
    assert galera.problems() == []
    assert stored_manifests() == before
    assert len([pod for pod in await runner_attempts(backup) if "prune" not in pod]) == 2


# --- the services


async def test_the_api_server_is_killed(alone: None, galera: Galera, operations: Operations) -> None:
    before = stored_manifests()
    backup, runner = await _streaming(operations)
    first = _the_only_runner(galera)
    process.kill_part("kube-apiserver")
    runner.go_on()
    process.start_part("kube-apiserver")
    result = await _succeeds(backup, galera, before)
    assert result.runner.pod == first.metadata.name


async def test_temporal_is_killed(alone: None, galera: Galera, operations: Operations) -> None:
    before = stored_manifests()
    backup, runner = await _streaming(operations)
    first = _the_only_runner(galera)
    process.kill_part("temporal")
    runner.go_on()
    process.start_part("temporal")
    result = await _succeeds(backup, galera, before)
    assert result.runner.pod == first.metadata.name


# --- the worker


@pytest.mark.parametrize("how", ["kill", "terminate"])
async def test_the_worker_is_replaced(how: str, galera: Galera, operations: Operations, worker: WorkerProcess) -> None:
    before = stored_manifests()
    backup, runner = await _streaming(operations)
    first = _the_only_runner(galera)
    if how == "kill":
        worker.kill()
    else:
        assert worker.terminate() == 0
    await worker.start()
    assert _the_only_runner(galera).metadata.uid == first.metadata.uid
    runner.go_on()
    result = await _succeeds(backup, galera, before)
    assert result.runner.pod == first.metadata.name
    assert len([pod for pod in await runner_attempts(backup) if "prune" not in pod]) == 1


async def test_the_worker_is_killed_and_the_backup_ends_without_it(
    galera: Galera, operations: Operations, worker: WorkerProcess
) -> None:
    before = stored_manifests()
    backup, runner = await _streaming(operations)
    worker.kill()
    runner.go_on()
    await process.gone(runner.pid)
    await worker.start()
    await _succeeds(backup, galera, before)
