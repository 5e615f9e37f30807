"""Which pods count as users of a claim."""

from __future__ import annotations

import json
from typing import Any

from kubernetes import client

from galera_backup import names
from galera_backup.kube.inspector import _backup_users
from galera_backup.models.site import RunnerSite
from tests.unit.members import CLUSTER


def pod(name: str, claim: str = "backups", **labels: str) -> Any:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": claim}}
    container = {"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    body = {
        "metadata": {"name": name, "uid": name, "labels": labels},
        "spec": {"nodeName": "node-1", "containers": [container], "volumes": [volume]},
        "status": {"phase": "Running"},
    }
    return client.ApiClient().deserialize(json.dumps(body), "V1Pod", "application/json")


def test_users_of_the_backup_claim() -> None:
    """Runner pods of another cluster keep it on their node too; ours do not wait for themselves."""
    managed = {names.MANAGED_BY_LABEL: names.MANAGED_BY}
    member = pod("mariadb-server-0")
    pods = [
        member,
        pod("copier"),
        pod("reader", "other"),
        pod("ours", **managed, **{names.CLUSTER_LABEL: CLUSTER.statefulset}),
        pod("theirs", **managed, **{names.CLUSTER_LABEL: "another"}),
    ]
    found = list(_backup_users(pods, [member], RunnerSite(cluster=CLUSTER, backup_claim="backups")))
    assert [each.name for each in found] == ["copier", "theirs"]
    assert {each.node for each in found} == {"node-1"}
