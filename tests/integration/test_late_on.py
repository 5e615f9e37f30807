"""The late ON: `SET GLOBAL wsrep_desync=ON` waits behind a lock, its client has given up, and it lands all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from galera_backup import names
from galera_backup.models.backup import BackupResult
from tests.integration.galera import TARGET, Galera, stored_manifests
from tests.integration.operations import Operations, assert_cancelled, failure_of
from tests.integration.process import Frozen
from tests.integration.worker_process import WorkerProcess
from tests.support.eventually import eventually

LOCKS = {
    "FTWRL": ("FLUSH TABLES WITH READ LOCK",),
    "BLOCK_COMMIT": ("BACKUP STAGE START", "BACKUP STAGE BLOCK_DDL", "BACKUP STAGE BLOCK_COMMIT"),
}


@contextmanager
def locked(galera: Galera, lock: str) -> Iterator[None]:
    """Another session on the target holds this lock, and the provider paused."""
    with galera.connection(TARGET) as connection, connection.cursor() as cursor:
        for statement in LOCKS[lock]:
            cursor.execute(statement)
        yield


def pending(galera: Galera) -> int:
    """How many ONs wait in the target's server."""
    [(count,)] = galera.rows(
        TARGET,
        "SELECT COUNT(*) FROM information_schema.processlist"
        " WHERE info LIKE 'SET GLOBAL wsrep_desync=IF(%, 1, %' AND id <> CONNECTION_ID()",
    )
    return int(count)


async def before_the_on(
    galera: Galera, operations: Operations, worker: WorkerProcess, **fields: Any
) -> tuple[WorkflowHandle[Any, BackupResult], Frozen]:
    """A backup, with these fields of its request, whose worker stands still between the lease's mark and the ON."""
    backup = await operations.start_backup(**fields)
    standing = Frozen.at(worker.pid)
    await standing.step_until(
        lambda: names.LEASE_ANNOTATION in (galera.pod(TARGET).metadata.annotations or {}), "the mark", step=0.005
    )
    assert galera.wsrep(TARGET)["wsrep_desync"] == "OFF"
    return backup, standing


@pytest.mark.parametrize(("lock", "cancelled"), [("FTWRL", "backup"), ("BLOCK_COMMIT", "lease")])
async def test_it_lands_after_everybody_gave_up(
    lock: str, cancelled: str, galera: Galera, operations: Operations, worker: WorkerProcess
) -> None:
    before = stored_manifests()
    backup, standing = await before_the_on(galera, operations, worker)
    with locked(galera, lock):
        standing.go_on()
        await operations.lease_tries("desync", attempt=2)
        assert pending(galera) >= 1
        await (backup if cancelled == "backup" else operations.lease).cancel()
        await operations.lease_tries("resync")
        galera.root_sql("SET GLOBAL wsrep_desync=OFF", TARGET)  # succeeds, and means nothing
        assert galera.wsrep(TARGET)["wsrep_desync"] == "OFF"
        assert pending(galera) >= 1
        assert await operations.lease_is_open()
        standing = Frozen.at(worker.pid)
    await eventually(lambda: galera.wsrep(TARGET)["wsrep_desync"] == "ON", 20, "the ON lands after the OFF", every=0.05)
    standing.go_on()
    await operations.lease.result()
    assert galera.problems() == []
    assert pending(galera) == 0
    if cancelled == "backup":
        await assert_cancelled(backup)
    else:
        assert (await failure_of(backup)).type == "LeaseLost"
    assert stored_manifests() == before


@pytest.mark.parametrize("lock", LOCKS)
async def test_several_tries_leave_one_desync(
    lock: str, galera: Galera, operations: Operations, worker: WorkerProcess
) -> None:
    """The lock is released while the lease still tries: the backup goes on, and one OFF takes all back.

    Each ON that waits in the server would count when it lands, and an OFF takes back one of them.
    """
    backup, standing = await before_the_on(galera, operations, worker)
    with locked(galera, lock):
        standing.go_on()
        await operations.lease_tries("desync", attempt=2)
        await operations.lease_looks_again("desync")
        assert pending(galera) == 1
    result = await backup.result()
    assert galera.problems() == []
    assert pending(galera) == 0
    assert result.manifest.backup_id in stored_manifests()
