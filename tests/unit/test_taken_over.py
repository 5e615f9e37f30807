"""What a runner pod takes over from the servers' pods."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from kubernetes import client

from galera_backup.kube.facts import StatefulSetFacts, pod_facts, statefulset_facts
from galera_backup.kube.runner_pod import runner_pod
from galera_backup.models.activities import RunnerTask
from galera_backup.models.site import RunnerSettings
from tests.unit.members import CLUSTER
from tests.unit.test_runner_pod import task

TERM = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["fast"]}]}
KEYS = {"name": "keys", "secret": {"secretName": "keys"}}
TEMPLATE: dict[str, Any] = {
    "nodeSelector": {"pool": "db"},
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [TERM]}}},
    "tolerations": [{"key": "database"}],
    "priorityClassName": "high",
    "runtimeClassName": "kata",
    "imagePullSecrets": [{"name": "registry"}],
    "securityContext": {
        "runAsUser": 999,
        "fsGroup": 998,
        "supplementalGroups": [4],
        "seLinuxOptions": {"level": "s0:c1"},
    },
    "volumes": [KEYS, {"name": "config", "configMap": {"name": "config"}}],
    "containers": [
        {
            "name": "mariadb",
            "image": "mariadb:10.11",
            "securityContext": {"seLinuxOptions": {"type": "spc_t"}},
            "volumeMounts": [
                {"name": "mysql-data", "mountPath": "/var/lib/mysql"},
                {"name": "keys", "mountPath": "/keys"},
                {"name": "config", "mountPath": "/etc/mysql/conf.d"},
            ],
        }
    ],
}


def facts(template: dict[str, Any]) -> StatefulSetFacts:
    body = {
        "metadata": {"name": "mariadb-server", "uid": "s", "resourceVersion": "1"},
        "spec": {
            "replicas": 3,
            "selector": {},
            "serviceName": "db",
            "template": {"spec": template},
            "volumeClaimTemplates": [{"metadata": {"name": "mysql-data"}, "spec": {}}],
        },
    }
    found = client.ApiClient().deserialize(json.dumps(body), "V1StatefulSet", "application/json")
    return statefulset_facts(found, CLUSTER, None)


def built(wanted: RunnerTask[Any], template: dict[str, Any] | None = None, node: str = "") -> dict[str, Any]:
    replica = None
    if node:
        body = {
            "metadata": {"name": "r", "uid": "u", "resourceVersion": "1"},
            "spec": {"nodeName": node, "containers": []},
        }
        pod = client.ApiClient().deserialize(json.dumps({**body, "status": {}}), "V1Pod", "application/json")
        replica = pod_facts(pod)
    pod = runner_pod(wanted, facts(template or TEMPLATE), replica, "agent:1")
    found: dict[str, Any] = client.ApiClient().sanitize_for_serialization(pod)
    return found


def test_where_it_may_run_and_as_whom() -> None:
    spec = built(task("list"))["spec"]
    assert spec["nodeSelector"] == {"pool": "db"}
    assert spec["tolerations"] == [{"key": "database"}]
    assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("high", "kata")
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["securityContext"]["supplementalGroups"] == [4]
    assert spec["securityContext"]["seLinuxOptions"] == {"level": "s0:c1"}
    assert spec["containers"][0]["securityContext"]["seLinuxOptions"] == {"type": "spc_t"}


def test_a_template_without_any_of_it() -> None:
    bare = {"containers": TEMPLATE["containers"], "securityContext": {"runAsUser": 999}}
    spec = built(task("list"), bare)["spec"]
    assert not {"nodeSelector", "affinity", "priorityClassName", "runtimeClassName"} & set(spec)


def test_the_node() -> None:
    on_node = {"key": "metadata.name", "operator": "In", "values": ["node-1"]}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    affinity = built(task("stage"), node="node-1")["spec"]["affinity"]["nodeAffinity"]
    assert affinity == {required: {"nodeSelectorTerms": [{**TERM, "matchFields": [on_node]}]}}
    wanted = task("swap").model_copy(update={"prefer_node": "node-1"})
    affinity = built(wanted)["spec"]["affinity"]["nodeAffinity"]
    assert affinity[required] == {"nodeSelectorTerms": [TERM]}
    assert affinity["preferredDuringSchedulingIgnoredDuringExecution"] == [
        {"weight": 100, "preference": {"matchFields": [on_node]}}
    ]


@pytest.mark.parametrize(
    ("job", "with_group", "without"),
    [("backup", 998, 999), ("stage", 998, None), ("swap", 998, None), ("restore", 998, None), ("prune", 998, 999)],
)
def test_the_group_of_the_volumes(job: str, with_group: int, without: int | None) -> None:
    """Files of a StatefulSet that has no fsGroup keep their modes."""
    assert built(task(job))["spec"]["securityContext"]["fsGroup"] == with_group
    none = {**TEMPLATE, "securityContext": {"runAsUser": 999}}
    assert built(task(job), none)["spec"]["securityContext"].get("fsGroup") == without


def test_files_that_a_tool_needs() -> None:
    wanted = task("backup").model_copy(update={"server_volumes": ("keys",)})
    spec = built(wanted)["spec"]
    assert KEYS in spec["volumes"]
    agent, mariadb = ({each["name"]: each for each in part["volumeMounts"]} for part in spec["containers"])
    assert mariadb["keys"] == {"name": "keys", "mountPath": "/keys", "readOnly": True}
    assert "keys" not in agent
    assert "config" not in {volume["name"] for volume in spec["volumes"]}  # a .cnf of root is not for us


def test_what_a_request_adds() -> None:
    settings = RunnerSettings(
        labels={"team": "db", "galera-backup/statefulset": "mine"},
        annotations={"a": "b"},
        requests={"memory": "1Gi"},
        limits={"memory": "2Gi"},
        priority_class="low",
        pull_secrets=("agent",),
    )
    wanted = task("backup")
    pod = built(wanted.model_copy(update={"site": wanted.site.model_copy(update={"runner": settings})}))
    assert pod["metadata"]["labels"]["team"] == "db"
    assert pod["metadata"]["labels"]["galera-backup/statefulset"] == "mariadb-server"
    assert pod["metadata"]["annotations"] == {"a": "b"}
    assert pod["spec"]["priorityClassName"] == "low"
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}, {"name": "agent"}]
    for container in pod["spec"]["containers"]:
        assert container["resources"] == {"requests": {"cpu": "10m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}


def test_the_facts_say_nothing_of_it() -> None:
    assert "registry" not in repr(replace(facts(TEMPLATE), replicas=1))
