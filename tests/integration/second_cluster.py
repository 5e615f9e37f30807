"""A second StatefulSet beside the stack's cluster, made of its template, with volumes of its own.

Its data directory is below the mount, where the source's is at the mount.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dev.stack import cluster, settings, volumes
from dev.stack.console import run
from dev.stack.volumes import Volume
from galera_backup.models.common import ClusterRef
from tests.integration.galera import NAMESPACE, Galera, data_directory

CLONE = ClusterRef(namespace=NAMESPACE, statefulset="mariadb-clone")
CLONE_PODS = tuple(f"{CLONE.statefulset}-{ordinal}" for ordinal in range(2))
DISCOVERY = "mariadb-clone-discovery"
DATA = "/var/lib/mysql/data"
_LABELS = {"application": "mariadb-clone", "component": "server"}


class SecondCluster:
    """At 0 replicas, on empty volumes; the claims are there."""

    def __init__(self, galera: Galera) -> None:
        self._galera = galera
        self._volumes = [Volume(f"mysql-data-{pod}", settings.DATA_VOLUME_GIB) for pod in CLONE_PODS]

    def make(self) -> None:
        """Make what is not there."""
        volumes.up(self._volumes)
        for volume in self._volumes:
            text = cluster.manifest(
                "volume",
                volume=volume.claim,
                claim=volume.claim,
                gib=volume.gib,
                mount=volume.mount,
                namespace=NAMESPACE,
                node=settings.NODE_NAME,
            )
            cluster.apply(text)
        for document in (*(_claim(volume) for volume in self._volumes), _discovery(), self._statefulset()):
            cluster.apply(json.dumps(document))
        claims = [f"persistentvolumeclaim/{volume.claim}" for volume in self._volumes]
        bound = "--for=jsonpath={.status.phase}=Bound"
        cluster.kubectl("--namespace", NAMESPACE, "wait", bound, *claims, "--timeout=60s", timeout=90)

    def remove(self) -> None:
        """Remove all of it; gone already is success."""
        where = ["--namespace", NAMESPACE, "delete", "--ignore-not-found", "--timeout=100s"]
        claims = [f"persistentvolumeclaim/{volume.claim}" for volume in self._volumes]
        cluster.kubectl(*where, f"statefulset/{CLONE.statefulset}", f"service/{DISCOVERY}", timeout=120)
        cluster.kubectl(*where, *(f"pod/{pod}" for pod in CLONE_PODS), timeout=120)
        cluster.kubectl(*where, *claims, timeout=120)
        for volume in self._volumes:
            cluster.kubectl("delete", "persistentvolume", volume.claim, "--ignore-not-found", timeout=120)
            if volume.mount.is_mount():
                run("volumes", ["umount", str(volume.mount)])
            volume.file.unlink(missing_ok=True)

    def discover(self, service: str) -> None:
        """Tell the replicas by which Service they find each other."""
        document = self._statefulset()
        _set(document, "DISCOVERY", f"{service}.{NAMESPACE}.svc.cluster.local")
        cluster.apply(json.dumps(document))

    def replicas(self) -> int:
        """How many it wants."""
        found = self._galera.apps.read_namespaced_stateful_set(CLONE.statefulset, NAMESPACE)
        return int(found.spec.replicas)

    def _statefulset(self) -> dict[str, Any]:
        """The source's, with names, labels and a Service of its own."""
        api = self._galera.api_client
        source: dict[str, Any] = api.sanitize_for_serialization(self._galera.statefulset())
        spec = source["spec"] | {
            "replicas": 0,
            "serviceName": DISCOVERY,
            "selector": {"matchLabels": _LABELS},
            "volumeClaimTemplates": [_template(each) for each in source["spec"]["volumeClaimTemplates"]],
        }
        spec["template"] = spec["template"] | {"metadata": {"labels": _LABELS}}
        metadata = {"name": CLONE.statefulset, "namespace": NAMESPACE, "labels": _LABELS}
        document = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec}
        _set(document, "DISCOVERY", f"{DISCOVERY}.{NAMESPACE}.svc.cluster.local")
        _set(document, "REPLICAS", str(len(CLONE_PODS)))
        _set(document, "DATADIR", DATA)
        return document


def state_transfers() -> list[Path]:
    """What full state transfers have left on the clone's volumes."""
    return [path for pod in CLONE_PODS for path in data_directory(pod).rglob("*_galera_info_SST")]


def _template(claim: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": claim["metadata"]["name"]}, "spec": claim["spec"]}


def _claim(volume: Volume) -> dict[str, Any]:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "local-image",
        "volumeName": volume.claim,
        "resources": {"requests": {"storage": "1Gi"}},
    }
    metadata = {"name": volume.claim, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def _discovery() -> dict[str, Any]:
    ports = [{"name": "mysql", "port": 3306}, {"name": "wsrep", "port": 4567}]
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": _LABELS, "ports": ports}
    metadata = {"name": DISCOVERY, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _set(statefulset: dict[str, Any], name: str, value: str) -> None:
    containers = statefulset["spec"]["template"]["spec"]["containers"]
    [server] = [each for each in containers if each["name"] == settings.CONTAINER]
    server["env"] = [each for each in server["env"] if each["name"] != name] + [{"name": name, "value": value}]
