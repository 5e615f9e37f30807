"""Staged restores: a short outage, and the old data back when the restored one does not start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.client import V1ObjectMeta, V1Secret

from dev.stack import cluster
from galera_backup import names
from galera_backup.models.plan import Answer
from galera_backup.models.restore import RestoreResult, RollbackResult
from galera_backup.models.volumes import STAGED_RESTORES
from tests.integration.clients import DISASTER, JOURNAL
from tests.integration.galera import CLUSTER, FIRST, PASSWORD, PODS, USER, Galera, data_directory
from tests.integration.operations import Operations, failure_of, in_phase
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(600)

COPIES = STAGED_RESTORES
"""In the data directory: this StatefulSet mounts its volumes there as a whole."""

BESIDE_COPIES = ("mariadb-upgrade --force", "mariadb-dump --all-databases >/dev/null")
"""What start scripts and people do while the previous data lies beside the new one: neither takes it for a database."""


def _copies() -> list[Path]:
    return [path for pod in PODS if (path := data_directory(pod) / COPIES).exists()]


def _state_transfers() -> list[Path]:
    return [path for pod in PODS for path in data_directory(pod).glob("*_galera_info_SST")]


async def test_a_disaster_is_undone_with_a_short_outage(galera: Galera, operations: Operations) -> None:
    checksums = galera.checksums(FIRST)
    backup = await operations.backup()
    galera.root_sql(DISASTER)
    restore = await operations.start_restore(backup.manifest.backup_id, strategy="staged")
    await in_phase(restore, "stage")
    galera.root_sql(f"INSERT INTO {JOURNAL} (writer, text) VALUES ('staging', 'the database is up')")
    result: RestoreResult = await restore.result()
    assert galera.problems() == []
    for pod in PODS:
        assert galera.checksums(pod) == checksums
        assert galera.wsrep(pod)["wsrep_cluster_state_uuid"] == result.uuid != backup.manifest.position.uuid
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
    # Not by the phase: the query that tells it may take longer than the pods take to end.
    await eventually(lambda: galera.statefulset().spec.replicas == 0, 180, "the cluster is told to stop", every=0.02)
    [staged] = (data_directory(FIRST) / COPIES).glob("*/staged/ibdata1")
    staged.write_bytes(bytes(staged.stat().st_size))
    failure = await failure_of(restore)
    assert failure.type == "RestoreFailed"
    assert "The previous data was swapped back" in failure.message
    assert f"mysql-data-{FIRST} untouched" in failure.message
    assert galera.problems() == []
    for pod in PODS:
        assert galera.checksums(pod) == before
    assert _copies() == []
    galera.root_sql(f"TRUNCATE {JOURNAL}")


@pytest.fixture
def reader(galera: Galera) -> Iterator[dict[str, str]]:
    """The Secret of an account that may read every table."""
    secret = V1Secret(
        metadata=V1ObjectMeta(name="integration-reader"), string_data={"username": USER, "password": PASSWORD}
    )
    galera.core.create_namespaced_secret(CLUSTER.namespace, secret)
    yield {"secret": "integration-reader"}
    galera.core.delete_namespaced_secret("integration-reader", CLUSTER.namespace)


async def test_a_proved_restore_is_rolled_back(galera: Galera, operations: Operations, reader: dict[str, str]) -> None:
    galera.root_sql(f"INSERT INTO {JOURNAL} (writer, text) VALUES ('before', 'the backup')")
    galera.root_sql("CREATE OR REPLACE TABLE integration.versioned (id INT PRIMARY KEY) WITH SYSTEM VERSIONING")
    backup = await operations.backup()
    galera.root_sql(f"INSERT INTO {JOURNAL} (writer, text) VALUES ('after', 'the backup')")
    before = galera.checksums(FIRST)
    restore = await operations.start_restore(
        backup.manifest.backup_id,
        strategy="staged",
        require_approval=True,
        keep_previous_for=3600,
        checks=[{"query": f"SELECT COUNT(*) FROM {JOURNAL}", "expected": "1"}],
        check_credentials=reader,
        check_tables="all",
    )
    await in_phase(restore, "approve")
    await restore.execute_update("approve", Answer(who="the tests", why="all is as planned"))
    result: RestoreResult = await restore.result()
    assert result.approved_by == "the tests"
    assert result.proof is not None
    assert [check.seen for check in result.proof.checks] == ["1"]
    assert result.proof.tables.checked == result.proof.tables.seen == len(galera.checksums(FIRST))
    assert "`integration`.`versioned`" in galera.checksums(FIRST)
    assert galera.problems() == []
    assert len(_copies()) == len(PODS)
    for command in BESIDE_COPIES:
        cluster.execute(FIRST, ["sh", "-c", command], namespace=CLUSTER.namespace)
    kept = await operations.backup()  # of a replica that keeps its old data beside
    assert kept.manifest.data_bytes < 1.5 * backup.manifest.data_bytes
    galera.root_sql(f"INSERT INTO {JOURNAL} (writer, text) VALUES ('after', 'the restore')")
    rollback: RollbackResult = await operations.rollback(result.restore_id)
    assert galera.problems() == []
    for pod in PODS:
        assert galera.checksums(pod) == before
    assert _copies() == []
    assert 0 < rollback.outage_seconds < 120
    galera.root_sql(f"TRUNCATE {JOURNAL}; DROP TABLE integration.versioned")
    timer = operations.client.get_workflow_handle(names.tidy_id(CLUSTER, result.restore_id))
    await timer.terminate("its time would come in an hour")


async def test_a_check_that_fails_puts_the_old_data_back(
    galera: Galera, operations: Operations, reader: dict[str, str]
) -> None:
    backup = await operations.backup()
    galera.root_sql(f"INSERT INTO {JOURNAL} (writer, text) VALUES ('after', 'the backup')")
    before = galera.checksums(FIRST)
    failure = await failure_of(
        await operations.start_restore(
            backup.manifest.backup_id,
            strategy="staged",
            checks=[{"query": f"SELECT COUNT(*) FROM {JOURNAL}", "expected": "1"}],
            check_credentials=reader,
        )
    )
    assert failure.type == "RestoreFailed"
    assert "The previous data was swapped back" in failure.message
    assert galera.problems() == []
    for pod in PODS:
        assert galera.checksums(pod) == before
    assert _copies() == []
    galera.root_sql(f"TRUNCATE {JOURNAL}")


async def test_a_password_that_the_backup_does_not_have(
    galera: Galera, operations: Operations, reader: dict[str, str]
) -> None:
    galera.root_sql(f"ALTER USER {USER}@'%' IDENTIFIED BY 'of the past'")
    try:
        backup = await operations.backup()
    finally:
        galera.root_sql(f"SET NAMES utf8mb4; ALTER USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'")
    fields = {"strategy": "staged", "accounts": [reader]}
    failure = await failure_of(await operations.start_restore(backup.manifest.backup_id, **fields))
    assert failure.type == "RestoreFailed"
    assert f"'{USER}'@'%'" in failure.message
    assert "was not stopped" in failure.message
    assert _copies() == []
    result = await operations.restore(backup.manifest.backup_id, reset_passwords_from_secrets=True, **fields)
    assert result.proof is not None
    assert result.proof.passwords.reset == (f"'{USER}'@'%'",)
    assert galera.checksums(FIRST)  # logs in with the password of today
    assert _state_transfers() == []
