"""The shape of a cluster, from objects as the API server answers them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from kubernetes import client

from galera_backup.kube.facts import statefulset_facts
from galera_backup.kube.shape import autoscalers, claim_shape, pod_shape, selects, statefulset_shape
from galera_backup.models.shape import Autoscaler, Mount, Owner, StatefulSetShape
from tests.unit.members import CLUSTER

NOW = datetime(2026, 11, 30, tzinfo=UTC).isoformat()
CONTAINER = {
    "name": "mariadb",
    "image": "mariadb:10.11",
    "env": [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "TEAM", "value": "db"},
        {"name": "BOTH", "value": "$(POD)-$(TEAM)"},
    ],
    "volumeMounts": [{"name": "mysql-data", "mountPath": "/var/lib/mysql"}],
}
CONTROLLER = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "mariadb-server", "uid": "s", "controller": True}


def parsed(kind: str, body: dict[str, Any]) -> Any:
    """As the client makes it of an answer."""
    return client.ApiClient().deserialize(json.dumps(body), kind, "application/json")


def statefulset(spec: dict[str, Any] | None = None, **metadata: Any) -> StatefulSetShape:
    body = {
        "metadata": {"name": "mariadb-server", "uid": "s", "generation": 3, "resourceVersion": "1", **metadata},
        "spec": {
            "replicas": 3,
            "serviceName": "discovery",
            "selector": {},
            "template": {"spec": {"containers": [CONTAINER]}},
            "volumeClaimTemplates": [{"metadata": {"name": "mysql-data"}, "spec": {}}],
            **(spec or {}),
        },
        "status": {"replicas": 3, "observedGeneration": 2, "currentRevision": "r-1", "updateRevision": "r-2"},
    }
    found = parsed("V1StatefulSet", body)
    return statefulset_shape(found, statefulset_facts(found, CLUSTER, None))


def pod(volume_mount: dict[str, Any], volume: dict[str, Any], **metadata: Any) -> Any:
    container = {**CONTAINER, "volumeMounts": [{"name": "v", "mountPath": "/data", **volume_mount}]}
    body = {
        "metadata": {"name": "mariadb-server-1", "namespace": "openstack", "uid": "p", **metadata},
        "spec": {"containers": [{"name": "side", "image": "side:1"}, container], "volumes": [{"name": "v", **volume}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    }
    return parsed("V1Pod", body)


def test_defaults_of_a_statefulset() -> None:
    seen = statefulset()
    assert (seen.uid, seen.replicas, seen.first_ordinal, seen.deleting, seen.observed) == ("s", 3, 0, False, False)
    assert (seen.current_revision, seen.update_revision, seen.image) == ("r-1", "r-2", "mariadb:10.11")
    assert (seen.owners, seen.scaled_by, seen.delivered_by) == ((), (), ())
    assert (list(seen.ordinals), seen.claim(2)) == ([0, 1, 2], "mysql-data-mariadb-server-2")
    assert (seen.data_template, seen.data_path) == ("mysql-data", "/var/lib/mysql")


def test_a_statefulset_that_says_all() -> None:
    seen = statefulset(
        {
            "ordinals": {"start": 4},
            "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Delete"},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}},
            "podManagementPolicy": "Parallel",
        },
        deletionTimestamp=NOW,
        ownerReferences=[{"apiVersion": "k8s.mariadb.com/v1alpha1", "kind": "MariaDB", "name": "galera", "uid": "m"}],
    )
    assert (seen.first_ordinal, seen.deleting, seen.claims_when_scaled) == (4, True, "Delete")
    assert (seen.update_strategy, seen.partition) == ("RollingUpdate", 2)
    assert seen.owners == (Owner(api_version="k8s.mariadb.com/v1alpha1", kind="MariaDB", name="galera", uid="m"),)
    assert statefulset({"updateStrategy": {"type": "OnDelete"}}).update_strategy == "OnDelete"


def test_who_wrote_the_replicas() -> None:
    managed: list[dict[str, Any]] = [
        {"manager": "helm", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {
            "manager": "kubectl",
            "operation": "Update",
            "subresource": "scale",
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        },
        {"manager": "galera-backup", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "controller", "operation": "Update", "fieldsV1": {"f:status": {"f:replicas": {}}}},
        {"manager": "empty", "operation": "Update"},
    ]
    for number, entry in enumerate(managed[1:]):  # a manager may leave the time out
        entry["time"] = f"2026-11-30T00:00:0{number}Z"
    assert statefulset(managedFields=managed).scaled_by == ("kubectl", "helm")


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"annotations": {"argocd.argoproj.io/tracking-id": "db:apps/StatefulSet:x/y"}}, "Argo CD application 'db'"),
        ({"labels": {"argocd.argoproj.io/instance": "db"}}, "Argo CD application 'db'"),
        (
            {"labels": {"helm.toolkit.fluxcd.io/name": "db", "helm.toolkit.fluxcd.io/namespace": "flux"}},
            "Flux HelmRelease flux/db",
        ),
        (
            {"labels": {"kustomize.toolkit.fluxcd.io/name": "db", "kustomize.toolkit.fluxcd.io/namespace": "flux"}},
            "Flux Kustomization flux/db",
        ),
        (
            {"labels": {"app.kubernetes.io/instance": "db"}, "managedFields": [{"manager": "argocd-controller"}]},
            "Argo CD (field manager 'argocd-controller')",
        ),
        (
            {"managedFields": [{"manager": "argocd-application-controller"}, {"manager": "kubectl"}]},
            "Argo CD (field manager 'argocd-application-controller')",
        ),
        ({"managedFields": [{"manager": "fleetagent"}]}, "Fleet (field manager 'fleetagent')"),
        (
            {
                "annotations": {"argocd.argoproj.io/tracking-id": "db:x"},
                "managedFields": [{"manager": "argocd-controller"}],
            },
            "Argo CD application 'db'",
        ),
    ],
)
def test_who_delivers_it(metadata: dict[str, Any], expected: str) -> None:
    assert statefulset(**metadata).delivered_by == (expected,)


@pytest.mark.parametrize(
    ("volume", "kind", "source"),
    [
        ({"persistentVolumeClaim": {"claimName": "c"}}, "claim", "c"),
        ({"secret": {"secretName": "s"}}, "secret", "s"),
        ({"configMap": {"name": "m"}}, "configMap", "m"),
        ({"hostPath": {"path": "/srv"}}, "hostPath", "/srv"),
        ({"emptyDir": {}}, "emptyDir", ""),
        ({"projected": {"sources": []}}, "projected", ""),
        ({"csi": {"driver": "d"}}, "other", ""),
        ({"nfs": {"server": "s", "path": "/"}}, "other", ""),
        ({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}, "emptyDir", ""),
        ({"downwardAPI": {"items": []}}, "projected", ""),
    ],
)
def test_volumes(volume: dict[str, Any], kind: str, source: str) -> None:
    (mount,) = pod_shape(pod({}, volume), "mariadb").mounts
    assert mount == Mount.model_validate({"path": "/data", "volume": "v", "kind": kind, "source": source})


@pytest.mark.parametrize(
    ("mount", "sub_path", "unresolved"),
    [
        ({"subPath": "storage"}, "storage", ""),
        ({"subPathExpr": "$(TEAM)/$(POD)"}, "db/mariadb-server-1", ""),
        ({"subPathExpr": "plain"}, "plain", ""),
        ({"subPathExpr": "$(IP)"}, "", "$(IP)"),
        ({"subPathExpr": "$(UNKNOWN)"}, "", "$(UNKNOWN)"),
        ({"subPathExpr": "$(BOTH)"}, "", "$(BOTH)"),
    ],
)
def test_sub_paths(mount: dict[str, Any], sub_path: str, unresolved: str) -> None:
    (seen,) = pod_shape(pod(mount, {"emptyDir": {}}), "mariadb").mounts
    assert (seen.sub_path, seen.unresolved) == (sub_path, unresolved)


def test_a_member() -> None:
    found = pod(
        {"readOnly": True},
        {"persistentVolumeClaim": {"claimName": "c"}},
        labels={"controller-revision-hash": "r-1"},
        ownerReferences=[CONTROLLER],
        deletionTimestamp=NOW,
    )
    seen = pod_shape(found, "mariadb")
    assert (seen.name, seen.phase, seen.deleting, seen.ended) == ("mariadb-server-1", "Running", True, False)
    assert (seen.revision, seen.image, seen.ip, seen.node) == ("r-1", "mariadb:10.11", "10.0.0.1", "")
    assert (seen.claims, seen.writable_claims) == (frozenset({"c"}), frozenset())
    assert seen.owners[0].controller


def test_a_claim_that_the_whole_pod_only_reads() -> None:
    claim = {"claimName": "c", "readOnly": True}
    assert pod_shape(pod({}, {"persistentVolumeClaim": claim}), None).writable_claims == frozenset()
    assert pod_shape(pod({}, {"persistentVolumeClaim": {"claimName": "c"}}), None).writable_claims == {"c"}


def test_a_pod_that_is_no_member() -> None:
    """Whatever container of it mounts a claim, and it has no server's image."""
    found = pod({}, {"persistentVolumeClaim": {"claimName": "c"}})
    found.spec.init_containers = [found.spec.containers.pop()]
    seen = pod_shape(found, None)
    assert (seen.claims, seen.image) == (frozenset({"c"}), "")


def test_a_claim() -> None:
    body = {
        "metadata": {"name": "c", "uid": "u", "deletionTimestamp": NOW, "ownerReferences": [CONTROLLER]},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": "pv"},
        "status": {"phase": "Bound"},
    }
    seen = claim_shape(parsed("V1PersistentVolumeClaim", body), 2)
    assert (seen.name, seen.ordinal, seen.uid, seen.phase, seen.deleting) == ("c", 2, "u", "Bound", True)
    assert (seen.access_modes, seen.volume_mode, seen.volume) == (("ReadWriteOnce",), "Filesystem", "pv")
    assert [owner.name for owner in seen.owners] == ["mariadb-server"]


def test_autoscalers() -> None:
    def scaler(name: str, kind: str, target: str, owner: str = "") -> dict[str, Any]:
        references = [{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": owner, "uid": "k"}]
        return {
            "metadata": {"name": name, "ownerReferences": references if owner else None},
            "spec": {"maxReplicas": 5, "scaleTargetRef": {"kind": kind, "name": target}},
        }

    items = [
        scaler("a", "StatefulSet", "mariadb-server"),
        scaler("b", "StatefulSet", "mariadb-server", owner="keda"),
        scaler("c", "Deployment", "mariadb-server"),
        scaler("d", "StatefulSet", "other"),
    ]
    found = parsed("V2HorizontalPodAutoscalerList", {"items": items}).items
    assert autoscalers(found, "mariadb-server") == (
        Autoscaler(kind="HorizontalPodAutoscaler", name="a"),
        Autoscaler(kind="ScaledObject", name="keda"),
    )


@pytest.mark.parametrize(
    ("probe", "seconds"),
    [(None, None), ({}, 30), ({"periodSeconds": 2, "failureThreshold": 1}, 2), ({"periodSeconds": 5}, 15)],
)
def test_how_long_a_readiness_probe_must_fail(probe: dict[str, int] | None, seconds: int | None) -> None:
    found = pod({}, {"emptyDir": {}})
    if probe is not None:
        found.spec.containers[1].readiness_probe = parsed("V1Probe", probe)
    assert pod_shape(found, "mariadb").unready_after == seconds


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "db"}}, True),
        ({"matchLabels": {"app": "db", "tier": "back"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "x"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
        ({"matchLabels": {"app": "db"}, "matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_whom_a_selector_chooses(selector: dict[str, Any] | None, chosen: bool) -> None:
    found = None if selector is None else parsed("V1LabelSelector", selector)
    assert selects(found, {"app": "db"}) == chosen


def test_a_chart_that_a_person_installed() -> None:
    found = statefulset(labels={"app.kubernetes.io/instance": "db"}, managedFields=[{"manager": "helm"}])
    assert found.delivered_by == ()
