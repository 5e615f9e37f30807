"""A backup of a healthy cluster: what it leaves, and what clients see of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest

from galera_backup import names
from galera_backup.models.backup import BackupResult
from tests.integration import process
from tests.integration.clients import EndpointHistory, controller, pinging
from tests.integration.galera import (
    BACKUPS,
    FIRST,
    OTHER,
    PODS,
    ROLE,
    TARGET,
    Galera,
    backup_directory,
    stored_manifests,
)
from tests.integration.operations import Operations, failure_of, in_phase
from tests.integration.process import Frozen
from tests.support.eventually import eventually

pytestmark = pytest.mark.usefixtures("stack_cluster")

PHASES = ["lease", "check", "select", "look", "desync", "run", "resync", "prune"]


async def _temporal_execute(temporal: str, task_queue: str, request: str) -> Any:
    """`temporal workflow execute`, as an operator types it; the result."""
    running = await asyncio.create_subprocess_exec(
        temporal,
        *("workflow", "execute", "--task-queue", task_queue, "--type", "GaleraBackup"),
        *("--workflow-id", f"by-hand-{task_queue}", "--input", request, "--output", "json"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await running.communicate()
    assert running.returncode == 0, output.decode()
    return json.loads(output)["result"]


async def test_a_backup_by_one_line_of_json(galera: Galera, operations: Operations, temporal_cli: str) -> None:
    request = '{"cluster": {"namespace": "openstack", "statefulset": "mariadb-server"}}'
    executing = asyncio.create_task(_temporal_execute(temporal_cli, operations.task_queue, request))

    runner = await Frozen.catch(*process.BACKUP)
    wsrep = galera.wsrep(TARGET)
    assert (wsrep["wsrep_local_state_comment"], wsrep["wsrep_desync"]) == ("Donor/Desynced", "ON")
    assert not galera.is_ready(TARGET)
    assert galera.endpoints("mariadb-replicas") == set(PODS) - {TARGET}
    assert galera.endpoints("mariadb") == {FIRST}
    assert names.LEASE_ANNOTATION in galera.pod(TARGET).metadata.annotations
    [pod] = galera.runners()
    assert pod.metadata.name.startswith("mariadb-phy-backup-runner-")
    assert pod.spec.node_name == galera.pod(TARGET).spec.node_name
    for other in (FIRST, OTHER):
        assert galera.wsrep(other)["wsrep_local_state_comment"] == "Synced"
        assert galera.rows(other, "SELECT COUNT(*) FROM keystone.project")
    runner.go_on()

    printed = await executing
    # Typed, from the history: the command prints empty lists as null.
    handle = operations.client.get_workflow_handle(f"by-hand-{operations.task_queue}", result_type=BackupResult)
    result = await handle.result()
    assert printed["manifest"]["backup_id"] == result.manifest.backup_id
    assert galera.runners() == []
    assert galera.problems() == []
    manifest = result.manifest
    assert (manifest.replica, manifest.claim) == (TARGET, f"mysql-data-{TARGET}")
    assert (
        manifest.claim_uid
        == galera.core.read_namespaced_persistent_volume_claim(manifest.claim, "openstack").metadata.uid
    )
    assert manifest.position.uuid == galera.wsrep(FIRST)["wsrep_cluster_state_uuid"]
    assert 0 < manifest.position.seqno <= int(galera.wsrep(FIRST)["wsrep_last_committed"])
    assert manifest.data_bytes > manifest.stored_bytes > 10_000_000
    assert not manifest.unsafe
    assert not result.problems
    assert [phase.phase for phase in result.phases] == PHASES
    assert 0 < result.desynced_seconds < 60
    assert result.drained
    assert result.runner.pod == pod.metadata.name
    assert result.runner.exit_code == 0
    assert result.path == f"/var/backup/openstack/mariadb-server/{manifest.backup_id}"

    directory = backup_directory(manifest.backup_id)
    assert {path.name for path in directory.iterdir()} == {".worker", "backup.mbs.zst", "manifest.json", "runner.log"}
    assert stored_manifests()[manifest.backup_id] == manifest
    stream = (directory / manifest.stream).read_bytes()
    assert len(stream) == manifest.stored_bytes
    assert hashlib.sha256(stream).hexdigest() == manifest.sha256
    assert "completed OK!" in (directory / "runner.log").read_text()
    _, password = galera.secret()
    assert password not in (directory / "runner.log").read_text()
    assert password not in result.model_dump_json()


async def test_the_primary_label_is_handed_over_and_back(galera: Galera, operations: Operations) -> None:
    galera.set_role(TARGET, "primary")
    galera.set_role(FIRST, None)
    try:
        await eventually(lambda: galera.endpoints("mariadb") == {TARGET}, 20, "the target is the primary")
        with EndpointHistory(galera, "mariadb").recording() as history, pinging(galera, "mariadb") as pings:
            backup = await operations.start_backup()
            runner = await Frozen.catch(*process.BACKUP)
            roles = galera.roles()
            runner.go_on()
            await backup.result()
        assert roles == {FIRST: "primary", OTHER: None, TARGET: "backup"}
        assert galera.roles() == {FIRST: None, OTHER: None, TARGET: "primary"}
        assert galera.endpoints("mariadb") == {TARGET}
        assert set() not in history.states, f"the Service was without an endpoint: {history.states}"
        assert {FIRST} in history.states
        assert pings.failures == []
    finally:
        galera.set_role(FIRST, "primary")
        galera.set_role(TARGET, None)


async def test_the_clusters_own_controller_moves_the_primary_label(galera: Galera, operations: Operations) -> None:
    with controller(galera, favourite=TARGET) as moves:
        await eventually(lambda: moves == [TARGET], 20, "the controller made the target the primary")
        await eventually(lambda: galera.endpoints("mariadb") == {TARGET}, 20, "the target is the primary")
        backup = await operations.start_backup(primary_label={"key": ROLE, "moved_by": "controller"})
        runner = await Frozen.catch(*process.BACKUP)
        roles = galera.roles()
        runner.go_on()
        await backup.result()
        await eventually(lambda: galera.endpoints("mariadb") == {TARGET}, 20, "the target is the primary again")
    galera.set_role(FIRST, "primary")
    galera.set_role(TARGET, None)
    assert roles == {FIRST: "primary", OTHER: None, TARGET: None}
    assert moves == [TARGET, FIRST, TARGET]


async def test_too_little_space_fails_before_anything_is_read(galera: Galera, operations: Operations) -> None:
    before = stored_manifests()
    backup = await operations.start_backup(required_space_ratio=100_000)
    error = await failure_of(backup)
    assert error.type == "NotEnoughSpace"
    assert "expected more than" in error.message
    assert galera.problems() == []
    assert stored_manifests() == before
    left = {
        path.name for directory in BACKUPS.iterdir() if directory.name not in before for path in directory.iterdir()
    }
    assert left <= {".worker", "runner.log"}


async def test_a_named_replica_is_backed_up_and_old_backups_are_pruned(galera: Galera, operations: Operations) -> None:
    await operations.backup()
    before = sorted(stored_manifests())
    result = await operations.backup(replica=1, backups_to_keep=2)
    assert result.manifest.replica == OTHER
    assert sorted(stored_manifests()) == [before[-1], result.manifest.backup_id]
    assert list(result.pruned) == before[:-1]
    assert result.kept == 2


async def test_a_cancelled_backup_puts_the_replica_back(galera: Galera, operations: Operations) -> None:
    before = stored_manifests()
    backup = await operations.start_backup()
    await Frozen.catch(*process.BACKUP)
    progress = await in_phase(backup, "run")
    assert progress.replica == TARGET
    await backup.cancel()
    await eventually(lambda: not galera.problems(), 60, lambda: f"the replica is back: {galera.problems()}")
    await operations.lease_closes()
    assert stored_manifests() == before


async def test_a_terminated_backup_is_undone_by_its_lease(galera: Galera, operations: Operations) -> None:
    before = stored_manifests()
    backup = await operations.start_backup()
    await Frozen.catch(*process.BACKUP)
    await backup.terminate("the test says so")
    await eventually(lambda: not galera.problems(), 60, lambda: f"the replica is back: {galera.problems()}")
    await operations.lease_closes()
    assert stored_manifests() == before
