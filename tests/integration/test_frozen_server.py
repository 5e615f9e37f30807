"""The server of the replica that is backed up stands still, until the others have given it up, and goes on later."""

from __future__ import annotations

from galera_backup import names
from tests.integration import process
from tests.integration.galera import FIRST, TARGET, Galera, stored_manifests
from tests.integration.operations import Operations, assert_cancelled
from tests.integration.process import Frozen
from tests.integration.test_late_on import before_the_on, locked, pending
from tests.integration.test_partitions import streaming
from tests.integration.worker_process import WorkerProcess
from tests.support.eventually import eventually


async def given_up(galera: Galera) -> None:
    await eventually(lambda: galera.wsrep(FIRST)["wsrep_cluster_size"] == "2", 30, "the others go on without it")


async def test_while_it_is_desynced_and_the_backup_is_cancelled(galera: Galera, operations: Operations) -> None:
    before = stored_manifests()
    backup, _ = await streaming(operations)
    server = Frozen.at(process.server_of(TARGET))
    await given_up(galera)
    await backup.cancel()
    await operations.lease_tries("resync", attempt=2)  # the first has timed out
    assert names.LEASE_ANNOTATION in galera.pod(TARGET).metadata.annotations
    server.go_on()
    await operations.lease.result()
    assert galera.problems() == []
    await assert_cancelled(backup)
    assert stored_manifests() == before


async def test_while_the_on_is_under_way(galera: Galera, operations: Operations, worker: WorkerProcess) -> None:
    """The ON is in the server, which stands still; when it goes on, so does the ON, after all that was undone."""
    before = stored_manifests()
    backup, standing = await before_the_on(galera, operations, worker)
    with locked(galera, "FTWRL"):
        standing.go_on()
        await eventually(lambda: pending(galera) == 1, 20, "the ON waits in the server", every=0.02)
        server = Frozen.at(process.server_of(TARGET))
        await given_up(galera)
        await operations.lease_tries("desync", attempt=2)
        await backup.cancel()
        await operations.lease_tries("resync", attempt=2)
        server.go_on()
    await operations.lease.result()
    assert galera.problems() == []
    assert pending(galera) == 0
    await assert_cancelled(backup)
    assert stored_manifests() == before


async def test_before_the_on_and_then_the_backup_goes_on(
    galera: Galera, operations: Operations, worker: WorkerProcess
) -> None:
    backup, standing = await before_the_on(galera, operations, worker)
    server = Frozen.at(process.server_of(TARGET))
    standing.go_on()
    await operations.lease_tries("desync", attempt=2)
    await given_up(galera)
    server.go_on()
    result = await backup.result()
    assert galera.problems() == []
    assert result.manifest.backup_id in stored_manifests()
