"""Staged restores: a short outage, and the old data back when the restored one does not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from galera_backup.models.restore import RestoreResult
from tests.integration.clients import JOURNAL
from tests.integration.galera import FIRST, PODS, Galera, data_directory
from tests.integration.operations import Operations, failure_of, in_phase

pytestmark = pytest.mark.timeout(300)

COPIES = ".galera-backup"
"""In the data directory: this StatefulSet mounts its volumes there as a whole."""


def _copies() -> list[Path]:
    return [path for pod in PODS if (path := data_directory(pod) / COPIES).exists()]


def _state_transfers() -> list[Path]:
    return [path for pod in PODS for path in data_directory(pod).glob("*_galera_info_SST")]


async def test_a_disaster_is_undone_with_a_short_outage(galera: Galera, operations: Operations) -> None:
    checksums = galera.checksums(FIRST)
    backup = await operations.backup()
    galera.root_sql(
        "DROP TABLE cinder.attachment; UPDATE keystone.account SET email = CONCAT('lost-', id);"
        f"DELETE FROM glance.chunk WHERE image_id < 20; TRUNCATE {JOURNAL};"
    )
    restore = await operations.start_restore(backup.manifest.backup_id, strategy="staged")
    await in_phase(restore, "stage")
    galera.root_sql(f"INSERT INTO {JOURNAL} (writer, text) VALUES ('staging', 'the database is up')")
    result: RestoreResult = await restore.result()
    assert galera.problems() == []
    for pod in PODS:
        assert galera.checksums(pod) == checksums
        assert galera.wsrep(pod)["wsrep_cluster_state_uuid"] == backup.manifest.position.uuid
    assert _state_transfers() == []
    assert _copies() == []
    phases = ["lease", "plan", "check", "tidy", "stage", "verify", "stop", "swap", "start", "prove"]
    assert [phase.phase for phase in result.phases] == phases
    assert result.untidy == ()
    assert 0 < result.outage_seconds < 120


async def test_restored_data_that_does_not_start(galera: Galera, operations: Operations) -> None:
    backup = await operations.backup()
    galera.root_sql(f"INSERT INTO {JOURNAL} (writer, text) VALUES ('after', 'the backup')")
    before = galera.checksums(FIRST)
    restore = await operations.start_restore(backup.manifest.backup_id, strategy="staged")
    await in_phase(restore, "stop")
    [staged] = (data_directory(FIRST) / COPIES).glob("*/staged/ibdata1")
    staged.write_bytes(bytes(staged.stat().st_size))
    failure = await failure_of(restore)
    assert failure.type == "RestoreFailed"
    assert "The old data was put back" in failure.message
    assert f"mysql-data-{FIRST} untouched" in failure.message
    assert galera.problems() == []
    for pod in PODS:
        assert galera.checksums(pod) == before
    assert _copies() == []
    galera.root_sql(f"TRUNCATE {JOURNAL}")
