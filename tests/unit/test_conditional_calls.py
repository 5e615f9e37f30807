"""What the gateways send where an effect must not come late."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest
from kubernetes.client import ApiClient

from galera_backup import names
from galera_backup.credentials import Credentials
from galera_backup.kube.facts import PodFacts, StatefulSetFacts
from galera_backup.kube.gateway import KubeGateway
from galera_backup.models.common import ClusterRef
from galera_backup.mysql.gateway import Endpoint, MysqlGateway

CLUSTER = ClusterRef(namespace="openstack", statefulset="mariadb-server")
POD = cast(PodFacts, SimpleNamespace(name="p", resource_version="5", annotations={}))
STATEFULSET = cast(StatefulSetFacts, SimpleNamespace(cluster=CLUSTER, resource_version="7", annotations={}))
SERVER = Endpoint("openstack", "p", "10.0.0.1", Credentials("u", "p"))


def sent(call: str, *arguments: Any) -> dict[str, Any]:
    """The body of the one patch that a call of the gateway makes."""
    gateway = KubeGateway(ApiClient())
    bodies: list[dict[str, Any]] = []

    def patch(name: str, namespace: str, body: dict[str, Any], **options: Any) -> None:
        bodies.append(body)

    with (
        mock.patch.object(gateway._core, "patch_namespaced_pod", patch),
        mock.patch.object(gateway._apps, "patch_namespaced_stateful_set", patch),
    ):
        getattr(gateway, call)(*arguments)
    (body,) = bodies
    return body


@pytest.mark.parametrize(
    ("call", "arguments", "version"),
    [
        ("set_mark", ("n", POD, None), "5"),
        ("set_label", ("n", POD, "key", "value"), "5"),
        ("revoke", ("n", POD, "run"), "5"),
        ("release_pod", ("n", POD), "5"),
        ("scale", (STATEFULSET, 0, None), "7"),
        ("revoke_statefulset", (STATEFULSET, "run"), "7"),
    ],
)
def test_every_patch_names_the_version_that_was_read(call: str, arguments: tuple[Any, ...], version: str) -> None:
    assert sent(call, *arguments)["metadata"]["resourceVersion"] == version


def test_revoking_changes_nothing_else() -> None:
    note = {names.LAST_LEASE_ANNOTATION: "run"}
    assert sent("revoke", "n", POD, "run") == {
        "metadata": {"resourceVersion": "5", "annotations": note},
        "spec": {},
    }
    assert sent("revoke_statefulset", STATEFULSET, "run") == {
        "metadata": {"resourceVersion": "7", "annotations": note},
        "spec": {},
    }


def test_gate_is_removed_by_a_null() -> None:
    """The client sends a strategic merge patch, in which an empty list of gates would leave them."""
    body = sent("release_pod", "n", POD)
    assert body["spec"] == {"schedulingGates": None}


@pytest.mark.parametrize(("on", "value"), [(True, 1), (False, 0)])
def test_desync_is_decided_by_the_servers_clock(on: bool, value: int) -> None:
    statements: list[str] = []
    cursor = mock.MagicMock()
    cursor.__enter__.return_value.execute = statements.append
    connection = mock.MagicMock(cursor=lambda: cursor)
    with mock.patch("pymysql.connect", return_value=connection):
        MysqlGateway().set_desync(SERVER, on=on, until=datetime(2026, 11, 23, 1, 2, 3, 45, tzinfo=UTC))
    assert statements == [
        "SET GLOBAL wsrep_desync=IF(UTC_TIMESTAMP(6) < TIMESTAMP'2026-11-23 01:02:03.000045', "
        f"{value}, @@global.wsrep_desync)"
    ]
    assert statements[0].lower().startswith("set global wsrep_desync")  # what `wsrep_status` looks for


def test_time_of_the_server() -> None:
    cursor = mock.MagicMock()
    cursor.__enter__.return_value.fetchone = lambda: (datetime(2026, 11, 23, 1, 2, 3),)
    with mock.patch("pymysql.connect", return_value=mock.MagicMock(cursor=lambda: cursor)):
        assert MysqlGateway().now(SERVER) == datetime(2026, 11, 23, 1, 2, 3, tzinfo=UTC)
