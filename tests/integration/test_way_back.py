"""A staged restore whose proof fails, and something has removed the previous data of one claim meanwhile."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from dev.tools.checksums import Checksums
from galera_backup.models.janitor import JanitorRequest, JanitorResult
from galera_backup.models.plan import Decision
from galera_backup.models.restore import RestoreResult
from galera_backup.models.volumes import STAGED_RESTORES
from tests.integration.clients import JOURNAL
from tests.integration.galera import CLUSTER, FIRST, NAMESPACE, OTHER, PODS, TARGET, Galera, data_directory
from tests.integration.operations import Operations, failure_of, in_phase
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(400)

COPIES = STAGED_RESTORES
MARKER = ".galera-backup-restore.json"
FAILS = [{"query": "SELECT 1", "expected": "2"}]
"""Can be tried before the stop, and never holds."""


async def until_the_proof_failed(
    galera: Galera, operations: Operations
) -> tuple[WorkflowHandle[Any, RestoreResult], Checksums]:
    """A restore that waits for a decision, up on the restored data; and the checksums of its previous data."""
    backup = await operations.backup()
    galera.root_sql(f"INSERT INTO {JOURNAL} (writer, text) VALUES ('after', 'the backup')")
    before = galera.checksums(FIRST)
    restore = await operations.start_restore(
        backup.manifest.backup_id, strategy="staged", checks=FAILS, check_tables="none", on_failure="ask"
    )
    await in_phase(restore, "decide")
    assert all((data_directory(pod) / MARKER).exists() for pod in PODS)
    return restore, before


async def go_back(restore: WorkflowHandle[Any, RestoreResult]) -> None:
    await restore.execute_update("decide", Decision(choice="rollback", who="the tests", why="the check failed"))


def assert_all_hold(galera: Galera, expected: Checksums) -> None:
    assert galera.problems() == []
    for pod in PODS:
        assert galera.checksums(pod) == expected
        assert not (data_directory(pod) / COPIES).exists()


async def test_a_person_removed_the_copies_of_one_claim(galera: Galera, operations: Operations) -> None:
    """Every claim holds the restored data, whole: the cluster stays on that."""
    restore, before = await until_the_proof_failed(galera, operations)
    uids = [galera.pod(pod).metadata.uid for pod in PODS]
    restored = galera.checksums(FIRST)
    assert restored != before
    shutil.rmtree(data_directory(OTHER) / COPIES)
    await go_back(restore)
    failure = await failure_of(restore)
    assert failure.type == "RestoreFailed"
    assert f"the previous data is lost on mysql-data-{OTHER}" in failure.message
    assert "The cluster was not stopped, and runs on the restored data" in failure.message
    assert [galera.pod(pod).metadata.uid for pod in PODS] == uids
    assert_all_hold(galera, restored)


async def test_a_claim_lost_its_copies_with_a_state_transfer(galera: Galera, operations: Operations) -> None:
    """The others get their previous data back, and fill this claim. A transfer by mariabackup keeps the copies; one by
    rsync, or a start script, does not."""
    restore, before = await until_the_proof_failed(galera, operations)
    uid = galera.pod(TARGET).metadata.uid
    # Unlinked while its server runs: what that writes at its end goes to a file without a name.
    (data_directory(TARGET) / "grastate.dat").unlink()
    galera.core.delete_namespaced_pod(TARGET, NAMESPACE)
    await eventually(lambda: is_ready_again(galera, TARGET, uid), 120, f"{TARGET} has a full copy")
    assert not (data_directory(TARGET) / MARKER).exists()
    assert (data_directory(TARGET) / COPIES).exists()
    remove(TARGET, COPIES)
    await go_back(restore)
    failure = await failure_of(restore)
    assert "The previous data was swapped back" in failure.message
    assert f"mysql-data-{TARGET} emptied (its previous data is lost)" in failure.message
    assert f"mysql-data-{FIRST} untouched" in failure.message
    assert_all_hold(galera, before)


async def test_the_janitor_finds_a_claim_that_lost_its_copies(galera: Galera, operations: Operations) -> None:
    """The restore and its lease are terminated on the way back; then a start script cleans one data directory."""
    restore, before = await until_the_proof_failed(galera, operations)
    await go_back(restore)
    await eventually(lambda: galera.statefulset().spec.replicas == 0 and not galera.members(), 60, "all pods are gone")
    await asyncio.gather(restore.terminate("by a test"), operations.lease.terminate("by a test"))
    await eventually(lambda: nobody_works(galera), 60, "their runner pods have ended, or are gone")
    for name in (COPIES, MARKER):
        remove(TARGET, name)
    result: JanitorResult = await operations.client.execute_workflow(
        "GaleraJanitor",
        JanitorRequest(cluster=CLUSTER),
        id=f"janitor-{restore.id}",
        task_queue=operations.task_queue,
        result_type=JanitorResult,
    )
    [mended] = [each.text for each in result.mended if each.name == CLUSTER.statefulset]
    assert f"mysql-data-{TARGET} emptied (its previous data is lost)" in mended
    assert_all_hold(galera, before)


def nobody_works(galera: Galera) -> bool:
    return all(pod.status.phase in ("Succeeded", "Failed") for pod in galera.runners())


def is_ready_again(galera: Galera, name: str, uid: str) -> bool:
    pod = galera.pod(name)
    return pod is not None and pod.metadata.uid != uid and galera.is_ready(name)


def remove(pod: str, name: str) -> None:
    path = data_directory(pod) / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
