"""Clusters of other shapes, each made for its test: a backup, a disaster, restores, the rows compared."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes.client import ApiException
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError

from dev.stack import cluster
from dev.stack.console import StackError
from dev.tools import checksums
from galera_backup import names
from galera_backup.models.restore import RestoreResult
from tests.integration.clients import Background
from tests.integration.galera import NAMESPACE, TARGET, Galera
from tests.integration.operations import Operations, failure_of, runner_attempts
from tests.support.eventually import eventually
from tests.support.shape import BELOW, FIRST_IS_1, SCALE, SLOW, TWO, WHOLE, Shape
from tests.support.small_cluster import SmallCluster

pytestmark = pytest.mark.timeout(900)

DISASTER = "DROP TABLE cinder.attachment; UPDATE keystone.account SET email = CONCAT('lost-', id)"
SPARSE = (
    "CREATE TABLE cinder.sparse (id INT PRIMARY KEY, text LONGTEXT) PAGE_COMPRESSED=1;"
    " INSERT INTO cinder.sparse SELECT seq, REPEAT('x', 100000) FROM cinder.seq_1_to_100"
)
"""Its file unpacks to more than it uses on disk."""
SCALER = "somebody-else"
SCALED = replace(FIRST_IS_1, name="scaled")
"""A cluster of its own: tests run beside each other."""
RECONCILED = Shape("reconciled"), replace(FIRST_IS_1, name="reconciled-1")
"""Of each pod management policy."""
_RENAMES = re.compile(r"-(in|back|empty)-(?P<ordinal>\d+)(-\d)?$")
"""Names of the pods that rename data."""
UUID = "SHOW GLOBAL STATUS LIKE 'wsrep_cluster_state_uuid'"


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
    [
        (BELOW, ("staged", "rolling", "in_place") if WHOLE else ("staged", "rolling")),
        (FIRST_IS_1, ("in_place", "staged", "rolling") if WHOLE else ("in_place",)),
        (TWO, ("staged",)),
        (SLOW, ("staged",)),
    ],
    indirect=["shaped"],
    ids=lambda each: each.name if isinstance(each, Shape) else "",
)
async def test_what_was_lost_is_back(operations: Operations, shaped: SmallCluster, strategies: tuple[str, ...]) -> None:
    cluster.sql(SPARSE, shaped.pods[0], namespace=shaped.namespace)
    before = rows_of(shaped)
    backup = (await operations.backup(cluster=shaped.ref)).manifest
    for strategy in strategies:
        result = await undone(operations, shaped, backup.backup_id, strategy)
        assert rows_of(shaped) == before, strategy
        uuid = cluster.sql(UUID, shaped.pods[0], namespace=shaped.namespace)
        assert uuid.split()[-1] == result.uuid != backup.position.uuid
    if shaped.shape is TWO:
        await _claim_that_is_deleted(operations, shaped)


async def _claim_that_is_deleted(operations: Operations, shaped: SmallCluster) -> None:
    """It goes when its pod does: last, because nobody can take that back."""
    claim = f"persistentvolumeclaim/mysql-data-{shaped.pods[-1]}"
    cluster.kubectl("--namespace", shaped.namespace, "delete", claim, "--wait=false")
    seen = await operations.check(cluster=shaped.ref)
    assert [each.kind for each in seen.findings if each.kind.startswith("claim")] == ["claim-deleting"]
    assert seen.refuses("restore")


@pytest.mark.parametrize("shaped", [SCALED], indirect=True, ids=lambda each: each.name)
async def test_somebody_scales_it_up_in_the_outage(
    galera: Galera, operations: Operations, shaped: SmallCluster
) -> None:
    before = rows_of(shaped)
    backup = (await operations.backup(cluster=shaped.ref)).manifest
    where = (shaped.ref.statefulset, shaped.namespace)
    scaled_at: list[datetime] = []

    def scale_up() -> None:
        try:
            if galera.apps.read_namespaced_stateful_set(*where).spec.replicas < shaped.shape.replicas:
                body = {"spec": {"replicas": shaped.shape.replicas}}
                galera.apps.patch_namespaced_stateful_set_scale(*where, body, field_manager=SCALER)
                scaled_at.append(datetime.now(UTC))
        except ApiException:
            return

    with Background(scale_up, 0.2).running():
        handle = await operations.start_restore(
            backup.backup_id, cluster=shaped.ref, confirm=str(shaped.ref), strategy="staged"
        )
        failure = await failure_of(handle)
    assert SCALER in failure.message
    noticed_at = await _first_failure(operations, names.lease_id(shaped.ref))
    assert noticed_at - scaled_at[0] < timedelta(seconds=3)
    await eventually(lambda: not shaped.held(), 60, "no name is held")
    await eventually(lambda: shaped.ready() == shaped.shape.replicas, 120, "all replicas Ready")
    assert rows_of(shaped) == before
    assert names.LEASE_ANNOTATION not in (galera.apps.read_namespaced_stateful_set(*where).metadata.annotations or {})


async def _first_failure(operations: Operations, workflow_id: str) -> datetime:
    """Of an activity."""
    async for event in operations.client.get_workflow_handle(workflow_id).fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
            return event.event_time.ToDatetime(UTC)
    raise AssertionError(f"no activity of {workflow_id} has failed")


@pytest.mark.parametrize("shaped", RECONCILED if WHOLE else RECONCILED[1:], indirect=True, ids=lambda each: each.name)
async def test_no_server_beside_a_rename(galera: Galera, operations: Operations, shaped: SmallCluster) -> None:
    """Somebody sets the StatefulSet back, annotations included, again and again from the first rename on."""
    whole = rows_of(shaped)
    backup = (await operations.backup(cluster=shaped.ref)).manifest
    cluster.sql(DISASTER, shaped.pods[-1], namespace=shaped.namespace)
    lost = rows_of(shaped)
    where = (shaped.ref.statefulset, shaped.namespace)
    wanted = galera.apps.read_namespaced_stateful_set(*where)
    beside: list[str] = []

    def set_back() -> None:
        pods = galera.core.list_namespaced_pod(shaped.namespace).items
        servers = {each.metadata.name for each in pods if each.metadata.owner_references and each.spec.volumes}
        beside.extend(f"{name} beside {server}" for name, server in _renaming(shaped, pods) if server in servers)
        present = galera.apps.read_namespaced_stateful_set(*where)
        body = {
            "metadata": {"annotations": dict.fromkeys(present.metadata.annotations or {})},
            "spec": {"replicas": wanted.spec.replicas, "template": wanted.spec.template},
        }
        with contextlib.suppress(ApiException):
            galera.apps.patch_namespaced_stateful_set(*where, body, field_manager=SCALER)

    handle = await operations.start_restore(
        backup.backup_id, cluster=shaped.ref, confirm=str(shaped.ref), strategy="staged"
    )
    await eventually(
        lambda: _renaming(shaped, galera.core.list_namespaced_pod(shaped.namespace).items),
        120,
        "a pod renames data",
        every=0.05,
    )
    with Background(set_back, 0.2).running(), contextlib.suppress(WorkflowFailureError):
        await handle.result()
    await eventually(lambda: shaped.ready() == shaped.shape.replicas, 180, "all replicas Ready")
    await eventually(lambda: not shaped.held(), 60, "no name is held")
    assert beside == []
    assert rows_of(shaped) in (whole, lost)  # all of one state
    marked = galera.apps.read_namespaced_stateful_set(*where).metadata.annotations or {}
    assert names.LEASE_ANNOTATION not in marked


def _renaming(shaped: SmallCluster, pods: Sequence[Any]) -> list[tuple[str, str]]:
    """Pods that rename data now, each with the server of that data."""
    at_work = [pod for pod in pods if any(each.state.running for each in pod.status.container_statuses or [])]
    found = [(pod.metadata.name, _RENAMES.search(pod.metadata.name)) for pod in at_work]
    return [(name, f"{shaped.ref.statefulset}-{match['ordinal']}") for name, match in found if match is not None]


async def test_a_long_statement_does_not_keep_the_replica(galera: Galera, operations: Operations) -> None:
    limit = timedelta(minutes=5) * SCALE
    galera.root_sql("CREATE TABLE integration.old (id INT) ENGINE=MyISAM")
    galera.root_sql("INSERT INTO integration.old VALUES (1)", TARGET)  # Galera replicates no rows of MyISAM
    sleep, begun = f"UPDATE integration.old SET id = SLEEP({limit.total_seconds() * 4})", time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(_interrupted, sleep))
        await eventually(lambda: _connections(galera, sleep), 20, "the statement runs")
        backup = await operations.start_backup(lock_wait_timeout=limit)
        error = await failure_of(backup)
        took = time.monotonic() - begun
        for connection in _connections(galera, sleep):
            galera.root_sql(f"KILL {connection}", TARGET)
    galera.root_sql("DROP TABLE integration.old")
    assert error.type == "BackupBlocked"
    assert sleep in error.message
    assert len(await runner_attempts(backup)) == 1
    assert limit.total_seconds() < took < limit.total_seconds() + 90


def _interrupted(statement: str) -> None:
    with contextlib.suppress(StackError):
        cluster.sql(statement, TARGET, timeout=1800, namespace=NAMESPACE)


def _connections(galera: Galera, statement: str) -> list[str]:
    found = f"SELECT id FROM information_schema.processlist WHERE info = '{statement}'"
    return galera.root_sql(found, TARGET).split()
