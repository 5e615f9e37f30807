"""Rolling restores: the outage ends with the first replica, and the others join what it has written since."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from galera_backup.models.restore import RestoreResult
from galera_backup.runner.volumes import MARKER
from tests.integration.clients import DISASTER, JOURNAL
from tests.integration.galera import BACKUPS, FIRST, PODS, Galera, data_directory
from tests.integration.operations import Operations, failure_of, in_phase

pytestmark = pytest.mark.timeout(600)


def _unpacked() -> list[Path]:
    return list((BACKUPS / ".restore").glob("*"))


def _assert_all_joined(galera: Galera, uuid: str | None) -> None:
    """Every replica has its own copy of the backup, and what was written since by IST: none needed a full transfer."""
    assert galera.problems() == []
    expected = galera.checksums(FIRST)
    for pod in PODS:
        assert galera.checksums(pod) == expected
        assert galera.wsrep(pod)["wsrep_cluster_state_uuid"] == uuid
        assert (data_directory(pod) / MARKER).exists()
        assert not list(data_directory(pod).glob("*_galera_info_SST"))


async def _write(galera: Galera, text: str) -> None:
    insert = f"INSERT INTO {JOURNAL} (writer, text) VALUES ('rolling', '{text}')"
    await asyncio.to_thread(galera.root_sql, insert)


async def test_a_disaster_is_undone_while_the_others_are_restored(galera: Galera, operations: Operations) -> None:
    checksums = galera.checksums(FIRST)
    backup = await operations.backup()
    galera.root_sql(DISASTER)
    restore = await operations.start_restore(backup.manifest.backup_id, strategy="rolling")
    await in_phase(restore, "unpack")
    await _write(galera, "the database is up while it is unpacked")
    await in_phase(restore, "restore-1")
    assert galera.checksums(FIRST) == checksums
    await _write(galera, "the first replica serves")
    result: RestoreResult = await restore.result()
    _assert_all_joined(galera, result.uuid)
    assert _unpacked() == []
    phases = ["lease", "plan", "check", "tidy", "unpack", "stop", "restore-0"]
    phases += ["start-first", "restore-1", "restore-2", "start", "prove"]
    assert [phase.phase for phase in result.phases] == phases
    assert result.untidy == ()
    assert 0 < result.outage_seconds < sum(phase.seconds for phase in result.phases[5:])
    galera.root_sql(f"TRUNCATE {JOURNAL}")


async def test_cancelled_while_the_first_replica_serves(galera: Galera, operations: Operations) -> None:
    """What it has written meanwhile is kept: the others are restored and join it."""
    backup = await operations.backup()
    restore = await operations.start_restore(backup.manifest.backup_id, strategy="rolling")
    await in_phase(restore, "restore-1")
    await _write(galera, "before the cancel")
    written = galera.checksums(FIRST)
    await restore.cancel()
    failure = await failure_of(restore)
    assert failure.type == "RestoreFailed"
    assert "runs on the restored data" in failure.message
    uuid = galera.wsrep(FIRST)["wsrep_cluster_state_uuid"]
    assert uuid != backup.manifest.position.uuid
    _assert_all_joined(galera, uuid)
    assert galera.checksums(FIRST) == written
    assert _unpacked() == []
    galera.root_sql(f"TRUNCATE {JOURNAL}")
