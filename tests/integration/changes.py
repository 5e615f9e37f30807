"""What others make of a cluster, on the real API server and servers: each for the time of a block."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from kubernetes.client import ApiException

from dev.stack import cluster
from tests.integration.galera import CLUSTER, FIRST, NAMESPACE, PODS, TARGET, Galera

Change = Callable[[Galera], AbstractContextManager[None]]
_WHERE = ("--namespace", NAMESPACE)
_STATEFULSET = f"statefulset/{CLUSTER.statefulset}"
NAME = "of-others"
"""Of every object that is made."""
_CLAIM = f"persistentvolumeclaim/mysql-data-{TARGET}"


def scaling_deletes_claims(_: Galera) -> AbstractContextManager[None]:
    """A StatefulSet whose claims go when it is scaled down."""

    def policy(when: str) -> dict[str, Any]:
        return {"spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": when, "whenDeleted": "Retain"}}}

    return _patched(_STATEFULSET, policy("Delete"), policy("Retain"))


def controller(galera: Galera) -> AbstractContextManager[None]:
    """A controller owns the StatefulSet."""
    return _owned(galera, _STATEFULSET, controller=True)


def owned_claim(galera: Galera) -> AbstractContextManager[None]:
    """A data claim goes with something else."""
    return _owned(galera, _CLAIM, controller=False)


def delivered(_: Galera) -> AbstractContextManager[None]:
    """Argo CD sets the StatefulSet back."""
    name = "argocd.argoproj.io/tracking-id"
    return _patched(_STATEFULSET, _annotated(name, "db:apps/StatefulSet:x/y"), _annotated(name, None))


def rollout_by_hand(galera: Galera) -> AbstractContextManager[None]:
    """A template of another image that no pod has yet."""
    [container] = galera.statefulset().spec.template.spec.containers

    def body(image: str, strategy: Mapping[str, Any]) -> dict[str, Any]:
        template = {"spec": {"containers": [{"name": container.name, "image": image}]}}
        return {"spec": {"updateStrategy": strategy, "template": template}}

    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    on_delete = {"type": "OnDelete", "rollingUpdate": None}
    return _patched(_STATEFULSET, body("mariadb:12", on_delete), body(container.image, rolling), "strategic")


def autoscaler(_: Galera) -> AbstractContextManager[None]:
    """Something else decides about the replicas."""
    target = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": CLUSTER.statefulset}
    spec = {"scaleTargetRef": target, "minReplicas": len(PODS), "maxReplicas": len(PODS)}
    return _there("autoscaling/v2", "HorizontalPodAutoscaler", spec)


def disruption_budget(_: Galera) -> AbstractContextManager[None]:
    """Evictions wait for a replica that is Not Ready."""
    selector = {"matchLabels": {"application": "mariadb"}}
    return _there("policy/v1", "PodDisruptionBudget", {"maxUnavailable": 1, "selector": selector})


def small_limit(_: Galera) -> AbstractContextManager[None]:
    """A LimitRange below what the servers request; they run since before it."""
    return _there("v1", "LimitRange", {"limits": [{"type": "Container", "max": {"memory": "100Mi"}}]})


def small_quota(_: Galera) -> AbstractContextManager[None]:
    """Room for the pods that run."""
    return _there("v1", "ResourceQuota", {"hard": {"pods": str(len(PODS))}})


def sharing_pod(_: Galera) -> AbstractContextManager[None]:
    """Somebody else's pod mounts a data claim. It never runs."""
    claim = {"claimName": f"mysql-data-{TARGET}"}
    spec = {
        "schedulingGates": [{"name": "test/never"}],
        "containers": [{"name": "copy", "image": "copy", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": claim}],
    }
    return _there("v1", "Pod", spec)


def few_connections(galera: Galera) -> AbstractContextManager[None]:
    """The account may not open as many connections as the tool and the worker."""
    return _account(galera, "WITH MAX_USER_CONNECTIONS 2", "WITH MAX_USER_CONNECTIONS 0")


def other_password(galera: Galera) -> AbstractContextManager[None]:
    """The Secret has not the password of the account."""
    _, password = galera.secret()
    return _account(galera, "IDENTIFIED BY 'another'", f"IDENTIFIED BY '{password}'")


@contextmanager
def account_of_the_worker(galera: Galera) -> Iterator[None]:
    """The account logs in from where the worker is, and from nowhere else."""
    user, _ = galera.secret()
    [(host,)] = galera.rows(FIRST, "SELECT SUBSTRING_INDEX(USER(), '@', -1)")
    galera.root_sql(f"RENAME USER '{user}'@'%' TO '{user}'@'{host}'")
    try:
        yield
    finally:
        galera.root_sql(f"RENAME USER '{user}'@'{host}' TO '{user}'@'%'")


@contextmanager
def first_desynced(galera: Galera) -> Iterator[None]:
    """The replica on which the cluster would form has left the others' flow control."""
    galera.root_sql("SET GLOBAL wsrep_desync=ON", FIRST)
    try:
        yield
    finally:
        galera.root_sql("SET GLOBAL wsrep_desync=OFF", FIRST)
        _until(lambda: galera.is_ready(FIRST))


@contextmanager
def policy_against_scaling(galera: Galera) -> Iterator[None]:
    """Nobody scales the cluster to 0."""
    name = f"{NAME}-{NAMESPACE}"
    rules = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["statefulsets"]}
    policy = {
        "matchConstraints": {"resourceRules": [rules]},
        "validations": [{"expression": "object.spec.replicas > 0", "message": "one must stay"}],
    }
    there = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
    binding = {
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": there},
    }
    api, metadata = "admissionregistration.k8s.io/v1", {"name": name}
    for kind, spec in (("ValidatingAdmissionPolicy", policy), ("ValidatingAdmissionPolicyBinding", binding)):
        cluster.apply(json.dumps({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}))
    try:
        _until(lambda: not _may_scale(galera))
        yield
    finally:
        cluster.kubectl("delete", "ValidatingAdmissionPolicyBinding", name)
        cluster.kubectl("delete", "ValidatingAdmissionPolicy", name)
        _until(lambda: _may_scale(galera))


def _may_scale(galera: Galera) -> bool:
    body = {"spec": {"replicas": 0}}
    try:
        galera.apps.patch_namespaced_stateful_set(CLUSTER.statefulset, NAMESPACE, body, dry_run="All")
    except ApiException:
        return False
    return True


@contextmanager
def fewer_grants(galera: Galera) -> Iterator[None]:
    """The account may not set wsrep_desync."""
    user, _ = galera.secret()
    galera.root_sql(f"REVOKE SUPER ON *.* FROM '{user}'@'%'")
    try:
        yield
    finally:
        galera.root_sql(f"GRANT SUPER ON *.* TO '{user}'@'%'")


def outsider(_: Galera) -> AbstractContextManager[None]:
    """A member of the group that is not the StatefulSet's, as of a second site: it joins by itself, and leaves."""
    pod = cluster.get(*_WHERE, f"pod/{FIRST}")
    spec = {key: value for key, value in pod["spec"].items() if key in ("containers", "securityContext", "volumes")}
    for container in spec["containers"]:
        container["env"] = [each for each in container["env"] if each["name"] != "POD_NAME"]
        container["env"].append({"name": "POD_NAME", "value": f"{CLUSTER.statefulset}-{len(PODS)}"})
        container.pop("readinessProbe")
    for volume in spec["volumes"]:
        if volume.pop("persistentVolumeClaim", None) is not None:
            volume["emptyDir"] = {}
    return _there("v1", "Pod", spec)


# --- how


def _until(holds: Callable[[], bool], within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within:.0f} s"
        time.sleep(0.2)


@contextmanager
def _patched(what: str, changed: dict[str, Any], back: dict[str, Any], kind: str = "merge") -> Iterator[None]:
    def patch(body: dict[str, Any]) -> None:
        cluster.kubectl(*_WHERE, "patch", what, f"--type={kind}", f"--patch={json.dumps(body)}")

    patch(changed)
    try:
        yield
    finally:
        patch(back)


def _owned(galera: Galera, what: str, *, controller: bool) -> AbstractContextManager[None]:
    owner = galera.core.read_namespaced_config_map("kube-root-ca.crt", NAMESPACE).metadata
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner.name, "uid": owner.uid}
    changed = {"metadata": {"ownerReferences": [{**reference, "controller": controller}]}}
    return _patched(what, changed, {"metadata": {"ownerReferences": None}})


def _annotated(name: str, value: str | None) -> dict[str, Any]:
    return {"metadata": {"annotations": {name: value}}}


@contextmanager
def _there(api_version: str, kind: str, spec: dict[str, Any]) -> Iterator[None]:
    metadata = {"name": NAME, "namespace": NAMESPACE}
    cluster.apply(json.dumps({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}))
    try:
        yield
    finally:
        cluster.kubectl(*_WHERE, "delete", kind, NAME, "--wait=false")


@contextmanager
def _account(galera: Galera, changed: str, back: str) -> Iterator[None]:
    user, _ = galera.secret()
    galera.root_sql(f"ALTER USER '{user}'@'%' {changed}")
    try:
        yield
    finally:
        galera.root_sql(f"ALTER USER '{user}'@'%' {back}")
