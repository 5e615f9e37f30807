"""Restores: what comes back, and what happens when they are disturbed. Last, because they stop the database."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from dev.tools.checksums import Checksums
from galera_backup.models.backup import BackupResult
from galera_backup.models.restore import RestoreResult
from galera_backup.runner.volumes import MARKER
from tests.integration import process
from tests.integration.clients import DISASTER, JOURNAL, Row, writing
from tests.integration.galera import (
    BACKUPS,
    FIRST,
    NAMESPACE,
    OTHER,
    PODS,
    TARGET,
    Galera,
    data_directory,
    stored_manifests,
)
from tests.integration.operations import Operations, failure_of, in_phase, runner_attempts
from tests.integration.process import Frozen
from tests.integration.worker_process import WorkerProcess
from tests.support.eventually import eventually

pytestmark = [pytest.mark.timeout(600), pytest.mark.together]


def _assert_restored(galera: Galera, result: RestoreResult, expected: Checksums) -> None:
    """Every replica has the backup's data, in the restore's own history, and none got it from another replica."""
    assert result.uuid != result.manifest.position.uuid
    for pod in PODS:
        assert galera.checksums(pod) == expected
        assert galera.wsrep(pod)["wsrep_cluster_state_uuid"] == result.uuid
        # A full state transfer wipes the restore's marker and leaves a file of its own.
        assert (data_directory(pod) / MARKER).exists()
        assert not list(data_directory(pod).glob("*_galera_info_SST"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def saved(galera: Galera) -> AsyncIterator[dict[str, Any]]:
    """The backup that the later tests restore, with the checksums of its data."""
    kept: dict[str, Any] = {}
    yield kept


async def _backup(saved: dict[str, Any], galera: Galera, operations: Operations) -> tuple[BackupResult, Checksums]:
    if "backup" not in saved:
        saved["checksums"] = galera.checksums(FIRST)
        saved["backup"] = await operations.backup()
    return saved["backup"], saved["checksums"]


async def test_rows_written_during_a_backup(galera: Galera, operations: Operations) -> None:
    with writing(galera, FIRST) as first, writing(galera, OTHER) as other:
        await eventually(lambda: len(first) > 50 and len(other) > 50, 30, "both clients write")
        backup = await operations.start_backup()
        runner = await Frozen.catch(*process.BACKUP)
        at_freeze = len(first)
        await eventually(lambda: len(first) > at_freeze + 200, 30, "clients write while the backup stands still")
        runner.go_on()
        taken = await backup.result()
        at_end = len(first)
        await eventually(lambda: len(first) > at_end + 50, 30, "clients write after the backup")
    position = taken.manifest.position
    rows: list[Row] = [*first, *other]
    before = {row.id for row in rows if row.at_most <= position.seqno}
    after = {row.id for row in rows if row.above >= position.seqno}
    assert before
    assert after
    # Of each client at most the one row during whose commit the backup got its position.
    assert len(rows) - len(before) - len(after) <= 2

    restored = await operations.restore(taken.manifest.backup_id)
    for pod in PODS:
        found = {int(identity) for (identity,) in galera.rows(pod, f"SELECT id FROM {JOURNAL}")}
        assert before <= found
        assert not after & found
    _assert_restored(galera, restored, galera.checksums(FIRST))
    assert restored.manifest == taken.manifest
    assert restored.replicas == len(PODS)
    assert int(galera.wsrep(FIRST)["wsrep_last_committed"]) >= position.seqno
    galera.root_sql(f"TRUNCATE {JOURNAL}")


async def test_a_restore_undoes_a_disaster(galera: Galera, operations: Operations, saved: dict[str, Any]) -> None:
    backup, checksums = await _backup(saved, galera, operations)
    galera.root_sql(DISASTER)
    assert galera.checksums(FIRST) != checksums
    claims = {
        claim.metadata.name: claim.metadata.uid
        for claim in galera.core.list_namespaced_persistent_volume_claim(NAMESPACE).items
    }
    restore = await operations.start_restore(backup.manifest.backup_id)
    await in_phase(restore, "restore-1")
    assert galera.statefulset().spec.replicas == 0
    assert galera.members() == []

    refused = await failure_of(await operations.start_backup())
    assert refused.type == "ClusterBusy"
    assert restore.id in refused.message

    result: RestoreResult = await restore.result()
    assert galera.problems() == []
    _assert_restored(galera, result, checksums)
    assert [phase.phase for phase in result.phases] == [
        *("lease", "plan", "check", "stop", "restore-0", "restore-1", "restore-2", "start", "prove")
    ]
    assert [claim.claim for claim in result.claims] == [f"mysql-data-{pod}" for pod in PODS]
    assert result.claims[0].report.unpack_seconds > 0
    assert result.claims[1].report.unpack_seconds == 0
    assert all(claim.runner.pod.startswith("openstack-mariadb-phy-restore-runner-") for claim in result.claims)
    assert 0 < result.outage_seconds < 240
    assert {
        claim.metadata.name: claim.metadata.uid
        for claim in galera.core.list_namespaced_persistent_volume_claim(NAMESPACE).items
    } == claims
    # Nothing of the restore is left on the backup volume but its logs; the note says who has made the backup.
    names = {path.name for path in (BACKUPS / backup.manifest.backup_id).iterdir()}
    assert {name for name in names if not name.endswith(".log")} == {"backup.mbs.zst", "manifest.json", ".worker"}
    assert {path.name for path in BACKUPS.iterdir() if path.is_dir()} >= set(stored_manifests())
    assert not list(BACKUPS.glob(".restore/*"))
    users = galera.root_sql("SELECT user FROM mysql.user WHERE user = 'backup'", TARGET)
    assert users.strip() == "backup"


async def test_the_runner_is_killed_while_it_prepares_and_the_worker_later(
    galera: Galera, operations: Operations, worker: WorkerProcess, saved: dict[str, Any]
) -> None:
    backup, checksums = await _backup(saved, galera, operations)
    galera.root_sql(DISASTER)
    restore = await operations.start_restore(backup.manifest.backup_id)
    preparing = await Frozen.catch(*process.PREPARE)
    process.kill_container_of(preparing.pid)
    again = await Frozen.catch(*process.PREPARE)
    worker.kill()
    again.go_on()
    await worker.start()
    result: RestoreResult = await restore.result()
    assert result.claims[0].runner.pod.endswith("-0-2")
    attempts = await runner_attempts(restore)
    assert len(attempts) == len(set(attempts))
    assert galera.problems() == []
    _assert_restored(galera, result, checksums)


async def test_a_restore_that_is_terminated_before_it_touched_a_claim(
    galera: Galera, operations: Operations, saved: dict[str, Any]
) -> None:
    backup, checksums = await _backup(saved, galera, operations)
    galera.root_sql(f"INSERT INTO {JOURNAL} (writer, text) VALUES ('before', 'kept')")
    before = galera.checksums(FIRST)
    assert before != checksums
    restore = await operations.start_restore(backup.manifest.backup_id)
    await Frozen.catch(*process.PREPARE)
    assert galera.statefulset().spec.replicas == 0
    await restore.terminate("the test says so")
    await eventually(lambda: not galera.problems(), 180, lambda: f"the cluster is back: {galera.problems()}", every=1)
    await operations.lease_closes(30)
    for pod in PODS:
        assert galera.checksums(pod) == before
    galera.root_sql(f"TRUNCATE {JOURNAL}")
    manifest = stored_manifests()[backup.manifest.backup_id]
    stream = BACKUPS / manifest.backup_id / manifest.stream
    assert hashlib.sha256(stream.read_bytes()).hexdigest() == manifest.sha256
    assert json.loads((stream.parent / "manifest.json").read_text())["backup_id"] == manifest.backup_id


async def test_the_server_that_left_last_was_killed(
    galera: Galera, operations: Operations, saved: dict[str, Any]
) -> None:
    """As by a grace that is too short: no claim says that its server may form the cluster, until undo says so."""
    backup, _ = await _backup(saved, galera, operations)
    before, grastate = galera.checksums(FIRST), data_directory(FIRST) / "grastate.dat"
    restore = await operations.start_restore(backup.manifest.backup_id, strategy="in_place")
    await eventually(lambda: galera.statefulset().spec.replicas == 0, 120, "the stop takes the last one", every=0.01)
    await restore.cancel()
    await eventually(galera.held, 30, "the names are held", every=0.01)
    grastate.write_text(re.sub(r"seqno:.*\n(.*) 1", r"seqno:   -1\n\1 0", grastate.read_text()))
    with pytest.raises(WorkflowFailureError) as caught:
        await restore.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert galera.problems() == []
    assert [galera.checksums(pod) for pod in PODS] == [before] * len(PODS)
    summaries = [event.user_metadata.summary.data for event in (await operations.lease.fetch_history()).events]
    assert any(b"its server, the last, was killed" in each for each in summaries)
