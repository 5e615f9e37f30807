"""Clones: the stack's backup in a second StatefulSet of its namespace, with the same wsrep_cluster_name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from galera_backup.models.restore import RestoreResult
from galera_backup.storage import layout
from tests.integration.clients import JOURNAL
from tests.integration.galera import BACKUPS, CLUSTER, FIRST, PODS, Galera, backup_directory
from tests.integration.operations import Operations, failure_of
from tests.integration.second_cluster import CLONE, CLONE_PODS, DATA, SecondCluster, state_transfers

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("stack_cluster"), pytest.mark.together]


@pytest.fixture(scope="module")
def second(galera: Galera) -> Iterator[SecondCluster]:
    """Removed afterwards, whatever happened."""
    second = SecondCluster(galera)
    second.remove()
    try:
        second.make()
        yield second
    finally:
        second.remove()
        for pin in BACKUPS.glob(f"*/{layout.PINS}"):
            pin.unlink()  # they go when their time is over, and no other test prunes those backups meanwhile


def _fields(**fields: object) -> dict[str, object]:
    return {"cluster": CLONE, "source": CLUSTER, "confirm": str(CLONE), "primary_label": None, **fields}


def _assert_two_clusters(galera: Galera, result: RestoreResult) -> None:
    assert result.clone is not None
    theirs = {galera.wsrep(pod)["wsrep_cluster_state_uuid"] for pod in PODS}
    own_addresses = {galera.pod(pod).status.pod_ip for pod in CLONE_PODS}
    for pod in CLONE_PODS:
        seen = galera.wsrep(pod)
        assert seen["wsrep_cluster_state_uuid"] == result.clone.uuid
        assert seen["wsrep_cluster_state_uuid"] not in theirs
        assert seen["wsrep_cluster_size"] == str(len(CLONE_PODS))
        assert seen["wsrep_local_state_comment"] == "Synced"
        assert {each.partition(":")[0] for each in seen["wsrep_incoming_addresses"].split(",")} == own_addresses
    assert galera.problems() == []  # the source: three members, all in sync
    assert state_transfers() == []


async def test_target_that_would_join_the_source_is_refused(
    galera: Galera, operations: Operations, second: SecondCluster, stored: str
) -> None:
    second.discover("mariadb-discovery")
    try:
        handle = await operations.start_restore(stored, **_fields(replicas=2, strategy="staged"))
        failure = await failure_of(handle)
    finally:
        second.discover("mariadb-clone-discovery")
    assert failure.type == "ClusterUnhealthy", failure.message
    assert "mariadb-discovery.openstack.svc.cluster.local" in failure.message
    assert second.replicas() == 0


async def test_into_empty_volumes(galera: Galera, operations: Operations, second: SecondCluster) -> None:
    galera.root_sql(f"TRUNCATE {JOURNAL}")
    expected = galera.checksums(FIRST)
    backup = await operations.backup()
    fields = _fields(replicas=2, strategy="staged", data_directory=DATA)  # no server says where it is
    result = await operations.restore(backup.manifest.backup_id, **fields)
    _assert_two_clusters(galera, result)
    for pod in CLONE_PODS:
        assert galera.checksums(pod) == expected
    galera.root_sql(f"INSERT INTO {JOURNAL} (writer, text) VALUES ('clone', 'only here')", CLONE_PODS[0])
    galera.root_sql(f"INSERT INTO {JOURNAL} (writer, text) VALUES ('source', 'only there')", FIRST)
    assert galera.rows(CLONE_PODS[1], f"SELECT writer FROM {JOURNAL}") == [("clone",)]
    assert galera.rows(PODS[1], f"SELECT writer FROM {JOURNAL}") == [("source",)]
    galera.root_sql(f"TRUNCATE {JOURNAL}")


@pytest.mark.parametrize("strategy", ["in_place", "rolling"])
async def test_over_a_running_clone(
    galera: Galera, operations: Operations, second: SecondCluster, stored: str, strategy: str
) -> None:
    if not second.replicas():
        pytest.skip("the clone does not run: see the test before")
    before = galera.wsrep(CLONE_PODS[0])["wsrep_cluster_state_uuid"]
    result = await operations.restore(stored, **_fields(strategy=strategy))
    _assert_two_clusters(galera, result)
    assert galera.wsrep(CLONE_PODS[0])["wsrep_cluster_state_uuid"] != before
    assert list(backup_directory(stored).glob("restore-*.log"))
