"""The replica that is backed up is cut off from the other members, and comes back later."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from galera_backup.models.backup import BackupResult
from tests.integration import process
from tests.integration.clients import JOURNAL
from tests.integration.galera import BACKUPS, FIRST, TARGET, Galera, stored_manifests
from tests.integration.network import Partition
from tests.integration.operations import Operations, assert_cancelled, failure_of
from tests.integration.process import Frozen
from tests.integration.stored import prepared
from tests.support.eventually import eventually

DETECTED = 30
"""Seconds; the members take about 7 to give one up, and about 5 to take it back."""


async def streaming(operations: Operations) -> tuple[WorkflowHandle[Any, BackupResult], Frozen]:
    """A backup whose mariadb-backup stands still in the middle of its stream."""
    backup = await operations.start_backup()
    runner = await Frozen.catch(*process.BACKUP)
    await runner.move_until(BACKUPS, "*/*.part")
    return backup, runner


async def cut_off(galera: Galera, partition: Partition) -> None:
    partition.cut_off(TARGET)
    await eventually(
        lambda: galera.wsrep(TARGET)["wsrep_cluster_status"] == "non-Primary", DETECTED, "the target is alone"
    )
    await eventually(lambda: galera.wsrep(FIRST)["wsrep_cluster_size"] == "2", DETECTED, "the others go on without it")


async def heal(galera: Galera, partition: Partition) -> None:
    partition.heal()
    await eventually(lambda: galera.wsrep(TARGET)["wsrep_cluster_status"] == "Primary", DETECTED, "the target is back")


async def off_while_alone(galera: Galera, operations: Operations) -> None:
    """The lease has taken its ON back, the group does not know of it, and the lease goes on looking."""
    await eventually(lambda: galera.wsrep(TARGET)["wsrep_desync"] == "OFF", 60, "OFF in the component of one")
    await operations.lease_looks_again("resync")
    assert galera.wsrep(TARGET)["wsrep_desync_count"] == "1"
    assert await operations.lease_is_open()


def write(galera: Galera, word: str) -> None:
    """A row at the others, which the target hears of later."""
    galera.root_sql(f"INSERT INTO {JOURNAL} (writer, text) VALUES ('others', '{word}')")


@pytest.mark.parametrize("writes", [False, True], ids=["quiet", "busy"])
async def test_it_heals_while_the_backup_stands_still(
    writes: bool, galera: Galera, operations: Operations, partition: Partition
) -> None:
    """The state transfer of its return makes the replica Synced, though wsrep_desync is ON: it is taken back all the
    same, and the backup holds what the others wrote meanwhile."""
    word = uuid.uuid4().hex
    backup, runner = await streaming(operations)
    await cut_off(galera, partition)
    if writes:
        write(galera, word)
    await heal(galera, partition)
    wsrep = galera.wsrep(TARGET)
    assert (wsrep["wsrep_local_state_comment"], wsrep["wsrep_desync"]) == ("Synced", "ON")
    assert wsrep["wsrep_desync_count"] == "0"
    runner.go_on()
    result = await backup.result()
    assert galera.problems() == []
    manifest = stored_manifests()[result.manifest.backup_id]
    assert manifest.position.uuid == wsrep["wsrep_cluster_state_uuid"]
    assert manifest.position.seqno >= int(wsrep["wsrep_last_committed"])
    with prepared(manifest) as data:
        assert (word.encode() in (data / "integration" / "journal.ibd").read_bytes()) == writes


async def test_the_backup_goes_on_in_a_component_of_one(
    galera: Galera, operations: Operations, partition: Partition
) -> None:
    """It fails, and says why; the lease ends when the replica is back, and no sooner."""
    before = stored_manifests()
    backup, runner = await streaming(operations)
    await cut_off(galera, partition)
    runner.go_on()
    await off_while_alone(galera, operations)
    await heal(galera, partition)
    await operations.lease.result()
    assert galera.problems() == []
    error = await failure_of(backup)
    assert error.type == "BackupFailed"
    assert "WSREP has not yet prepared node for application use" in error.message
    assert stored_manifests() == before


async def test_off_in_a_component_of_one_does_not_end_the_lease(
    galera: Galera, operations: Operations, partition: Partition
) -> None:
    before = stored_manifests()
    backup, _ = await streaming(operations)
    await cut_off(galera, partition)
    await backup.cancel()
    await off_while_alone(galera, operations)
    write(galera, "meanwhile")
    await heal(galera, partition)
    await operations.lease.result()
    assert galera.problems() == []
    await assert_cancelled(backup)
    assert stored_manifests() == before
