"""What a runner pod takes over from the servers' pods."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from kubernetes import client
from pydantic import ValidationError

from galera_backup.errors import InvalidInput
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


def facts(template: dict[str, Any], annotations: dict[str, str]) -> StatefulSetFacts:
    body = {
        "metadata": {"name": "mariadb-server", "uid": "s", "resourceVersion": "1"},
        "spec": {
            "replicas": 3,
            "selector": {},
            "serviceName": "db",
            "template": {"metadata": {"annotations": annotations}, "spec": template},
            "volumeClaimTemplates": [{"metadata": {"name": "mysql-data"}, "spec": {}}],
        },
    }
    found = client.ApiClient().deserialize(json.dumps(body), "V1StatefulSet", "application/json")
    return statefulset_facts(found, CLUSTER, None)


def built(
    wanted: RunnerTask[Any],
    template: dict[str, Any] | None = None,
    node: str = "",
    annotations: dict[str, str] | None = None,
) -> dict[str, Any]:
    replica = None
    if node:
        body = {
            "metadata": {"name": "r", "uid": "u", "resourceVersion": "1"},
            "spec": {"nodeName": node, "containers": []},
        }
        pod = client.ApiClient().deserialize(json.dumps({**body, "status": {}}), "V1Pod", "application/json")
        replica = pod_facts(pod)
    pod = runner_pod(wanted, facts(template or TEMPLATE, annotations or {}), replica, "agent:1")
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
    beside = built(task("stage"), node="node-1")["spec"]
    assert beside["affinity"]["nodeAffinity"] == {required: {"nodeSelectorTerms": [{"matchFields": [on_node]}]}}
    assert "nodeSelector" not in beside, "a node that has lost the label keeps its server"
    check = built(task("check"), node="node-1")["spec"]
    assert check["affinity"]["nodeAffinity"] == {required: {"nodeSelectorTerms": [{**TERM, "matchFields": [on_node]}]}}
    assert check["nodeSelector"] == {"pool": "db"}, "the servers of a restored cluster need it"
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


def test_the_group_of_the_servers_is_not_that_of_their_volumes() -> None:
    """Another group than their own would be given to every live file."""
    template = {**TEMPLATE, "securityContext": {"runAsUser": 999, "runAsGroup": 997, "fsGroup": 998}}
    security = built(task("backup"), template)["spec"]["securityContext"]
    assert (security["runAsGroup"], security["fsGroup"]) == (997, 998)


@pytest.mark.parametrize(
    ("job", "group", "mode"), [("stage", 998, 0o440), ("stage", None, 0o444), ("backup", None, 0o440)]
)
def test_files_of_secrets_can_be_read(job: str, group: int | None, mode: int) -> None:
    """They are root's, and of the pod's group alone."""
    fields = {"accounts": [{"secret": "nova"}]} if job == "stage" else {}
    template = {**TEMPLATE, "securityContext": {"runAsUser": 999, "fsGroup": group}}
    spec = built(task(job, **fields), template)["spec"]
    sources = [each.get("secret") or each.get("projected") for each in spec["volumes"]]
    assert [each["defaultMode"] for each in sources if each] == [mode]


def test_files_that_a_tool_needs() -> None:
    wanted = task("backup").model_copy(update={"server_volumes": ("keys",)})
    spec = built(wanted)["spec"]
    assert {**KEYS, "name": "server-0"} in spec["volumes"]
    agent, mariadb = ({each["name"]: each for each in part["volumeMounts"]} for part in spec["containers"])
    assert mariadb["server-0"] == {"name": "server-0", "mountPath": "/keys", "readOnly": True}
    assert "server-0" not in agent
    assert not any("configMap" in volume for volume in spec["volumes"])  # a .cnf of root is not for us


def test_a_volume_of_the_servers_has_a_name_of_ours() -> None:
    wanted = task("backup").model_copy(update={"server_volumes": ("data", "credentials")})
    mounts = [{"name": "data", "mountPath": "/a"}, {"name": "credentials", "mountPath": "/b"}]
    server = {**TEMPLATE["containers"][0], "volumeMounts": [*TEMPLATE["containers"][0]["volumeMounts"], *mounts]}
    volumes = [{"name": "data", "secret": {"secretName": "a"}}, {"name": "credentials", "secret": {"secretName": "b"}}]
    spec = built(wanted, {**TEMPLATE, "volumes": volumes, "containers": [server]})["spec"]
    found = {each["name"]: each.get("secret", {}).get("secretName") for each in spec["volumes"]}
    assert (found["server-0"], found["server-1"]) == ("a", "b")
    assert found["data"] is None
    assert len(found) == len(spec["volumes"])
    paths = {each["mountPath"]: each["name"] for each in spec["containers"][1]["volumeMounts"]}
    assert (paths["/a"], paths["/b"]) == ("server-0", "server-1")


@pytest.mark.parametrize("missing", ["injected", "unmounted"])
def test_keys_that_the_template_does_not_have(missing: str) -> None:
    template = {**TEMPLATE, "volumes": [*TEMPLATE["volumes"], {"name": "unmounted", "emptyDir": {}}]}
    wanted = task("backup").model_copy(update={"server_volumes": ("keys", missing)})
    with pytest.raises(InvalidInput, match=f"to mount the volumes '{missing}', as a running replica does"):
        built(wanted, template)


def test_app_armor() -> None:
    profile = {"type": "Localhost", "localhostProfile": "mariadb"}
    server = {**TEMPLATE["containers"][0], "securityContext": {"appArmorProfile": profile}}
    security = {"runAsUser": 999, "appArmorProfile": {"type": "RuntimeDefault"}}
    spec = built(task("backup"), {**TEMPLATE, "securityContext": security, "containers": [server]})["spec"]
    assert spec["securityContext"]["appArmorProfile"] == {"type": "RuntimeDefault"}
    assert [each["securityContext"]["appArmorProfile"] for each in spec["containers"]] == [profile] * 2


def test_app_armor_by_annotations() -> None:
    """An annotation for a container that the pod does not have would be refused."""
    prefix = "container.apparmor.security.beta.kubernetes.io/"
    annotations = {f"{prefix}mariadb": "localhost/db", f"{prefix}exporter": "unconfined", "other": "x"}
    assert built(task("backup"), annotations=annotations)["metadata"]["annotations"] == {
        f"{prefix}agent": "localhost/db",
        f"{prefix}mariadb": "localhost/db",
    }
    assert built(task("list"), annotations=annotations)["metadata"]["annotations"] == {f"{prefix}agent": "localhost/db"}


def test_what_a_request_adds() -> None:
    settings = RunnerSettings(
        labels={"team": "db", "app.kubernetes.io/managed-by": "mine"},
        annotations={"a": "b"},
        requests={"memory": "1Gi"},
        limits={"memory": "2Gi"},
        priority_class="low",
        pull_secrets=("agent",),
    )
    wanted = task("backup")
    pod = built(wanted.model_copy(update={"site": wanted.site.model_copy(update={"runner": settings})}))
    assert pod["metadata"]["labels"]["team"] == "db"
    assert pod["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "galera-backup"
    assert pod["metadata"]["annotations"] == {"a": "b"}
    assert pod["spec"]["priorityClassName"] == "low"
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}, {"name": "agent"}]
    for container in pod["spec"]["containers"]:
        assert container["resources"] == {"requests": {"cpu": "10m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}


@pytest.mark.parametrize("field", ["labels", "annotations"])
def test_keys_by_which_we_know_our_pods(field: str) -> None:
    with pytest.raises(
        ValidationError, match="expected keys that do not begin with 'galera-backup/', got galera-backup/run"
    ):
        RunnerSettings.model_validate({field: {"galera-backup/run": "other"}})


def test_the_facts_say_nothing_of_it() -> None:
    assert "registry" not in repr(replace(facts(TEMPLATE, {}), replicas=1))
