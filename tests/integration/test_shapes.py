"""Clusters of other shapes, each made for its test: a backup, a disaster, restores, the rows compared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kubernetes.client import ApiException

from dev.stack import cluster
from dev.tools import checksums
from galera_backup import names
from galera_backup.models.restore import RestoreResult
from tests.integration.clients import Background
from tests.integration.galera import Galera
from tests.integration.operations import Operations, failure_of
from tests.support.eventually import eventually
from tests.support.shape import BELOW, FIRST_IS_1, TWO, Shape
from tests.support.small_cluster import SmallCluster

pytestmark = pytest.mark.timeout(900)

DISASTER = "DROP TABLE cinder.attachment; UPDATE keystone.account SET email = CONCAT('lost-', id)"
SCALER = "somebody-else"


@pytest.fixture
def shaped(request: pytest.FixtureRequest, galera: Galera) -> Iterator[SmallCluster]:
    """A cluster of the shape that the test names."""
    shape: Shape = request.param
    made = SmallCluster(f"shape-{shape.name}", shape)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def rows_of(shaped: SmallCluster) -> checksums.Checksums:
    """Of every replica, which must be alike."""
    first, *others = [checksums.of(pod, shaped.namespace) for pod in shaped.pods]
    for other in others:
        assert other == first
    return first


async def undone(operations: Operations, shaped: SmallCluster, backup_id: str, strategy: str) -> RestoreResult:
    """A restore after a disaster."""
    cluster.sql(DISASTER, shaped.pods[-1], namespace=shaped.namespace)
    fields = {"cluster": shaped.ref, "confirm": str(shaped.ref), "strategy": strategy}
    return await operations.restore(backup_id, **fields)


@pytest.mark.parametrize(
    ("shaped", "strategies"),
    [(BELOW, ("staged", "rolling", "in_place")), (FIRST_IS_1, ("in_place", "staged")), (TWO, ("staged",))],
    indirect=["shaped"],
    ids=lambda each: each.name if isinstance(each, Shape) else "",
)
async def test_what_was_lost_is_back(operations: Operations, shaped: SmallCluster, strategies: tuple[str, ...]) -> None:
    before = rows_of(shaped)
    backup = (await operations.backup(cluster=shaped.ref)).manifest
    for strategy in strategies:
        result = await undone(operations, shaped, backup.backup_id, strategy)
        assert rows_of(shaped) == before, strategy
        uuid = cluster.sql("SELECT @@wsrep_cluster_state_uuid", shaped.pods[0], namespace=shaped.namespace)
        assert uuid.strip() == result.uuid != backup.position.uuid


@pytest.mark.parametrize("shaped", [FIRST_IS_1], indirect=True, ids=lambda each: each.name)
async def test_somebody_scales_it_up_in_the_outage(
    galera: Galera, operations: Operations, shaped: SmallCluster
) -> None:
    before = rows_of(shaped)
    backup = (await operations.backup(cluster=shaped.ref)).manifest
    where = (shaped.ref.statefulset, shaped.namespace)

    def scale_up() -> None:
        try:
            if galera.apps.read_namespaced_stateful_set(*where).spec.replicas < shaped.shape.replicas:
                body = {"spec": {"replicas": shaped.shape.replicas}}
                galera.apps.patch_namespaced_stateful_set_scale(*where, body, field_manager=SCALER)
        except ApiException:
            return

    with Background(scale_up, 0.2).running():
        handle = await operations.start_restore(
            backup.backup_id, cluster=shaped.ref, confirm=str(shaped.ref), strategy="staged"
        )
        failure = await failure_of(handle)
    assert SCALER in failure.message
    await eventually(lambda: not shaped.held(), 60, "no name is held")
    await eventually(lambda: shaped.ready() == shaped.shape.replicas, 120, "all replicas Ready")
    assert rows_of(shaped) == before
    assert names.LEASE_ANNOTATION not in (galera.apps.read_namespaced_stateful_set(*where).metadata.annotations or {})
