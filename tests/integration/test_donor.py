"""Another replica needs a full copy, and the one that is backed up is the only one that can give it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.integration import process
from tests.integration.galera import FIRST, NAMESPACE, OTHER, TARGET, Galera, data_directory, stored_manifests
from tests.integration.operations import Operations, assert_cancelled, failure_of
from tests.integration.process import Frozen
from tests.integration.test_late_on import before_the_on
from tests.integration.worker_process import WorkerProcess
from tests.support.eventually import eventually


@asynccontextmanager
async def donating(galera: Galera) -> AsyncIterator[Frozen]:
    """The target gives a full copy to the other replica; the copy stands still."""
    before = galera.pod(OTHER).metadata.uid
    # Unlinked while its server runs: what that writes at its end goes to a file without a name.
    (data_directory(OTHER) / "grastate.dat").unlink()
    galera.core.delete_namespaced_pod(OTHER, NAMESPACE)
    await eventually(lambda: is_anew(galera, before), 60, "the other replica begins anew", every=0.02)
    # Desynced, a replica cannot be asked for a copy; Not Ready, it would hold up the pods after it.
    galera.root_sql("SET GLOBAL wsrep_desync=ON", FIRST)
    try:
        copying = await eventually(lambda: process.state_transfer_of(TARGET), 60, "the target is the donor", every=0.01)
        assert copying is not None
        yield Frozen.at(copying)
        await eventually(lambda: galera.is_ready(OTHER), 60, "the other replica has its copy")
    finally:
        process.thaw_all()
        galera.root_sql("SET GLOBAL wsrep_desync=OFF", FIRST)


def is_anew(galera: Galera, uid: str) -> bool:
    pod = galera.pod(OTHER)
    return pod is not None and pod.metadata.uid != uid


async def test_off_takes_our_own_desync_back_and_the_copy_goes_on(
    galera: Galera, operations: Operations, worker: WorkerProcess
) -> None:
    before = stored_manifests()
    # Unsafe: with a joiner and a donor only one other is in sync, and the replica would not be taken out.
    backup, standing = await before_the_on(galera, operations, worker, allow_unsafe=True)
    async with donating(galera) as copy:
        assert galera.wsrep(TARGET)["wsrep_desync_count"] == "1"
        standing.go_on()
        await eventually(lambda: galera.wsrep(TARGET)["wsrep_desync_count"] == "2", 30, "ours beside the donation")
        await Frozen.catch(*process.BACKUP)
        await backup.cancel()
        await operations.lease_tries("resync")
        # The variable changes first.
        await eventually(lambda: galera.wsrep(TARGET)["wsrep_desync"] == "OFF", 60, "our own desync is taken back")
        await eventually(lambda: galera.wsrep(TARGET)["wsrep_desync_count"] == "1", 10, "the donation's is left")
        await operations.lease_looks_again("resync")
        assert process.state_transfer_of(TARGET) == copy.pid
        copy.go_on()
        await operations.lease.result()
        wsrep = galera.wsrep(TARGET)
        assert (wsrep["wsrep_local_state_comment"], wsrep["wsrep_desync_count"]) == ("Synced", "0")
        assert galera.is_ready(TARGET)
        await assert_cancelled(backup)
    assert stored_manifests() == before


async def test_a_backup_of_a_donor_is_refused(galera: Galera, operations: Operations) -> None:
    before = stored_manifests()
    async with donating(galera) as copy:
        error = await failure_of(await operations.start_backup())
        copy.go_on()
        assert error.type == "ClusterUnhealthy"
        assert f"{TARGET}: expected wsrep_local_state_comment Synced, saw Donor/Desynced" in error.message
        assert f"{TARGET}: expected wsrep_desync_count 0, saw 1 (an SST donor" in error.message
    assert stored_manifests() == before
