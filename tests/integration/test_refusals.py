"""What must not begin: a cluster that is not fit, a backup that is not whole. Nobody notices the attempt."""

from __future__ import annotations

import contextlib
import json
import os
import shutil

import pytest
from kubernetes.client import ApiException

from galera_backup.models.manifest import Manifest
from tests.integration import process
from tests.integration.clients import Background, pinging
from tests.integration.galera import BACKUPS, FIRST, NAMESPACE, OTHER, PODS, Galera, stored_manifests
from tests.integration.operations import Operations, failure_of
from tests.support.eventually import eventually

DAMAGED = "20200101T000000Z-full"


async def test_a_replica_that_an_operator_desynced_is_left_alone(galera: Galera, operations: Operations) -> None:
    before = stored_manifests()
    galera.root_sql("SET GLOBAL wsrep_desync=ON", OTHER)
    try:
        await eventually(lambda: not galera.is_ready(OTHER), 20, "the replica is Not Ready")
        error = await failure_of(await operations.start_backup())
        assert galera.wsrep(OTHER)["wsrep_desync"] == "ON"
    finally:
        galera.root_sql("SET GLOBAL wsrep_desync=OFF", OTHER)
    assert error.type == "ClusterUnhealthy"
    assert f"{OTHER}: expected wsrep_desync OFF, saw ON" in error.message
    assert f"{OTHER}: expected wsrep_local_state_comment Synced, saw Donor/Desynced" in error.message
    assert stored_manifests() == before


async def test_a_pod_that_is_not_ready(galera: Galera, operations: Operations) -> None:
    process.freeze(process.server_of(OTHER))
    await eventually(lambda: not galera.is_ready(OTHER), 60, "the pod of a frozen server is Not Ready")
    error = await failure_of(await operations.start_backup())
    process.thaw_all()
    assert error.type == "ClusterUnhealthy"
    assert f"{OTHER}: expected Kubernetes condition Ready, saw Not Ready" in error.message
    assert f"{OTHER}: its wsrep status could not be read" in error.message


async def test_a_pod_that_is_gone(galera: Galera, operations: Operations) -> None:
    """And goes again: its controller would have it back before the backup has looked at everything else."""

    def delete() -> None:
        with contextlib.suppress(ApiException):
            galera.core.delete_namespaced_pod(OTHER, NAMESPACE)

    with Background(delete, 0.2).running():
        error = await failure_of(await operations.start_backup())
    assert error.type == "ClusterUnhealthy"
    assert f"{OTHER}: expected" in error.message


async def test_a_cluster_of_another_size_than_the_statefulset(galera: Galera, operations: Operations) -> None:
    galera.root_sql("SET GLOBAL wsrep_provider_options='gmcast.isolate=1'", OTHER)
    try:
        await eventually(
            lambda: galera.wsrep(FIRST)["wsrep_cluster_size"] == "2", 60, "the others go on as a cluster of two"
        )
        await eventually(
            lambda: galera.wsrep(OTHER)["wsrep_cluster_status"] != "Primary", 60, "the isolated one has noticed"
        )
        error = await failure_of(await operations.start_backup())
    finally:
        galera.root_sql("SET GLOBAL wsrep_provider_options='gmcast.isolate=0'", OTHER)
    assert error.type == "ClusterUnhealthy"
    assert f"{FIRST}: expected wsrep_cluster_size 3, saw 2" in error.message
    assert "expected at least 3 members in sync" in error.message


async def test_an_unsafe_backup_of_an_unfit_cluster_says_so(galera: Galera, operations: Operations) -> None:
    galera.root_sql("SET GLOBAL wsrep_desync=ON", OTHER)
    try:
        await eventually(lambda: not galera.is_ready(OTHER), 20, "the replica is Not Ready")
        result = await operations.backup(allow_unsafe=True)
        assert galera.wsrep(OTHER)["wsrep_desync"] == "ON"
    finally:
        galera.root_sql("SET GLOBAL wsrep_desync=OFF", OTHER)
    assert result.manifest.unsafe
    assert f"{OTHER}: expected wsrep_desync OFF, saw ON" in result.problems
    shutil.rmtree(BACKUPS / result.manifest.backup_id)


# --- restores that are refused while the database goes on


async def _refused(galera: Galera, operations: Operations, backup_id: str) -> tuple[str, str]:
    """Type and message of the failure; no client and no pod saw anything of the attempt."""
    uids = {pod.metadata.name: pod.metadata.uid for pod in galera.members()}
    with pinging(galera, "mariadb") as pings:
        error = await failure_of(await operations.start_restore(backup_id))
    assert pings.failures == []
    assert {pod.metadata.name: pod.metadata.uid for pod in galera.members()} == uids
    assert error.type is not None
    return error.type, error.message


async def test_restore_of_an_unknown_backup(galera: Galera, operations: Operations) -> None:
    kind, message = await _refused(galera, operations, "20010101T000000Z-full")
    assert kind == "BackupNotFound"
    assert "20010101T000000Z-full" in message


@pytest.fixture
def damaged(stored: str) -> str:
    """Id of a copy of the newest backup in which one bit has flipped."""
    source = BACKUPS / stored
    target = BACKUPS / DAMAGED
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["backup_id"] = DAMAGED
    (target / "manifest.json").write_text(Manifest.model_validate(manifest).model_dump_json())
    with (target / manifest["stream"]).open("r+b") as stream:
        stream.seek(manifest["stored_bytes"] // 2)
        byte = stream.read(1)[0]
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte ^ 1]))
    for path in [target, *target.iterdir()]:
        owner = source.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
    return DAMAGED


async def test_restore_of_a_damaged_backup(galera: Galera, operations: Operations, damaged: str) -> None:
    try:
        kind, message = await _refused(galera, operations, damaged)
    finally:
        shutil.rmtree(BACKUPS / damaged)
    assert kind == "BackupDamaged"
    assert damaged in message


async def test_restore_without_room_to_unpack(galera: Galera, operations: Operations, stored: str) -> None:
    filler = BACKUPS.parent.parent / ".filler"
    room = os.statvfs(BACKUPS)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - (5 << 20))
    try:
        kind, message = await _refused(galera, operations, stored)
    finally:
        filler.unlink()
    assert kind == "NotEnoughSpace"
    assert "free to unpack the backup" in message
    assert set(PODS) == {pod.metadata.name for pod in galera.members()}


async def test_restore_of_another_cluster_than_confirmed(operations: Operations) -> None:
    handle = await operations.client.start_workflow(
        "GaleraRestore",
        {
            "cluster": {"namespace": NAMESPACE, "statefulset": "mariadb-server"},
            "backup_id": "yesterday",
            "confirm": f"{NAMESPACE}/mariadb",
        },
        id=f"wrong-{operations.task_queue}",
        task_queue=operations.task_queue,
    )
    error = await failure_of(handle)
    assert error.type == "InvalidInput"
    assert "backup_id" in error.message
    assert "confirm" in error.message
