"""The cluster of this process as a test sees it: not through the code that is tested."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kubernetes
import pymysql
from kubernetes.client import ApiException, AppsV1Api, CoreV1Api, DiscoveryV1Api
from pymysql.connections import Connection

from dev.stack import cluster, paths, settings
from dev.tools import checksums
from dev.tools.checksums import Checksums
from galera_backup import names
from galera_backup.models.common import ClusterRef
from galera_backup.models.manifest import Manifest
from tests.integration import lanes
from tests.support.small_cluster import SmallCluster

SMALL = SmallCluster(namespace) if (namespace := os.environ.get(lanes.NAMESPACE)) else None
"""The cluster that this process has made for its tests; None: they use the one of the stack."""
NAMESPACE = SMALL.namespace if SMALL is not None else settings.NAMESPACE
CLUSTER = ClusterRef(namespace=NAMESPACE, statefulset=settings.STATEFULSET)
PODS = tuple(f"{settings.STATEFULSET}-{ordinal}" for ordinal in range(settings.REPLICAS))
FIRST, OTHER, TARGET = PODS
"""TARGET is what a backup selects: the highest ordinal."""
ROLE = "mariadb-role"
USER, PASSWORD = "integration", "intégration €"
"""A password is bytes, in UTF-8: no driver may take it for Latin-1."""


def volume_of(claim: str) -> Path:
    """A volume of the cluster, on the node."""
    return SMALL.mount(claim) if SMALL is not None else paths.VOLUME_MOUNTS / claim


BACKUPS = volume_of(settings.BACKUP_CLAIM) / str(CLUSTER)
"""Where the cluster's backups are, on the node."""


class Galera:
    """Pods, labels, endpoints and rows, each read anew."""

    def __init__(self) -> None:
        configuration = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(str(paths.KUBECONFIG), client_configuration=configuration)
        self.api_client = kubernetes.client.ApiClient(configuration)
        self.core = CoreV1Api(self.api_client)
        self.apps = AppsV1Api(self.api_client)
        self.discovery = DiscoveryV1Api(self.api_client)

    # --- Kubernetes

    def pod(self, name: str) -> Any:
        """The pod, or None."""
        try:
            return self.core.read_namespaced_pod(name, NAMESPACE)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def members(self) -> list[Any]:
        """The pods of the StatefulSet."""
        found: list[Any] = self.core.list_namespaced_pod(NAMESPACE, label_selector="application=mariadb").items
        return found

    def held(self) -> list[Any]:
        """The pods that hold names of its replicas."""
        found = self.core.list_namespaced_pod(NAMESPACE, label_selector=f"{names.HOLD_LABEL}={CLUSTER.statefulset}")
        return list(found.items)

    def runners(self) -> list[Any]:
        """The runner pods."""
        selector = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"
        found: list[Any] = self.core.list_namespaced_pod(NAMESPACE, label_selector=selector).items
        return found

    def is_ready(self, name: str) -> bool:
        """Whether the kubelet says so."""
        pod = self.pod(name)
        conditions = (pod.status.conditions or []) if pod is not None else []
        return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)

    def roles(self) -> dict[str, str | None]:
        """The primary label of each pod."""
        return {pod.metadata.name: (pod.metadata.labels or {}).get(ROLE) for pod in self.members()}

    def set_role(self, pod: str, role: str | None) -> None:
        """Set or remove the primary label."""
        self.core.patch_namespaced_pod(pod, NAMESPACE, {"metadata": {"labels": {ROLE: role}}})

    def endpoints(self, service: str) -> set[str]:
        """Pods that the Service sends clients to."""
        selector = f"kubernetes.io/service-name={service}"
        slices = self.discovery.list_namespaced_endpoint_slice(NAMESPACE, label_selector=selector).items
        return {pod for each in slices for pod in ready_pods(each)}

    def service_address(self, service: str) -> str:
        """The Service's cluster address, which the node can reach as pods can."""
        return str(self.core.read_namespaced_service(service, NAMESPACE).spec.cluster_ip)

    def statefulset(self) -> Any:
        """The StatefulSet."""
        return self.apps.read_namespaced_stateful_set(CLUSTER.statefulset, NAMESPACE)

    # --- MariaDB

    def root_sql(self, statements: str, pod: str = FIRST) -> str:
        """Run SQL as root inside of the pod."""
        return cluster.sql(statements, pod, namespace=NAMESPACE)

    def secret(self) -> tuple[str, str]:
        """User and password of the backup."""
        data = self.core.read_namespaced_secret(settings.BACKUP_SECRET, NAMESPACE).data
        user, password = (base64.b64decode(data[key]).decode() for key in ("username", "password"))
        return user, password

    @contextmanager
    def connection(self, pod: str) -> Iterator[Connection[Any]]:
        """A connection as the tests' own user."""
        address = self.core.read_namespaced_pod(pod, NAMESPACE).status.pod_ip
        connection = connect(address)
        try:
            yield connection
        finally:
            connection.close()

    def rows(self, pod: str, query: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.connection(pod) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return [tuple(row) for row in cursor.fetchall()]

    def wsrep(self, pod: str) -> dict[str, str]:
        """The wsrep status variables, and the variable wsrep_desync."""
        status = dict(self.rows(pod, "SHOW GLOBAL STATUS LIKE 'wsrep%'"))
        [(desync,)] = self.rows(pod, "SELECT @@global.wsrep_desync")
        return {**status, "wsrep_desync": "ON" if int(desync) else "OFF"}

    def checksums(self, pod: str) -> Checksums:
        """Of every table that is not the server's own."""
        found = checksums.of(pod, NAMESPACE)
        assert found, "no tables to compare"
        return found

    # --- health

    def problems(self) -> list[str]:
        """What is not as it was when the stack came up; also what an operation must not leave behind."""
        found = [f"runner pod {pod.metadata.name} is left" for pod in self.runners()]
        found += [f"{pod} is not Ready" for pod in PODS if not self.is_ready(pod)]
        if found:
            return found
        expected_roles = {FIRST: "primary", OTHER: None, TARGET: None}
        if self.roles() != expected_roles:
            found.append(f"labels are {self.roles()}")
        statefulset = self.statefulset()
        if statefulset.spec.replicas != len(PODS):
            found.append(f"the StatefulSet wants {statefulset.spec.replicas} replicas")
        marked = [*self.members(), statefulset]
        for each in marked:
            if names.LEASE_ANNOTATION in (each.metadata.annotations or {}):
                found.append(f"{each.metadata.name} still carries a lease's mark")
        for pod in PODS:
            found += self._problems_of(pod)
        for service, pods in {"mariadb": {FIRST}, "mariadb-replicas": set(PODS)}.items():
            if self.endpoints(service) != pods:
                found.append(f"endpoints of {service} are {sorted(self.endpoints(service))}")
        return found

    def _problems_of(self, pod: str) -> list[str]:
        expected = {
            "wsrep_local_state_comment": "Synced",
            "wsrep_cluster_status": "Primary",
            "wsrep_cluster_size": str(len(PODS)),
            "wsrep_desync": "OFF",
            "wsrep_desync_count": "0",
        }
        try:
            seen = self.wsrep(pod)
        except pymysql.MySQLError as error:
            return [f"{pod}: {error}"]
        return [f"{pod}: {name} is {seen[name]}" for name, value in expected.items() if seen[name] != value]


def connect(address: str, timeout: int = 5) -> Connection[Any]:
    """A connection as the tests' own user."""
    return pymysql.connect(
        host=address,
        user=USER,
        password=PASSWORD.encode(),
        connect_timeout=timeout,
        read_timeout=60,
        write_timeout=60,
        autocommit=True,
        ssl_disabled=True,  # PyMySQL reads the system's certificates for each connection
    )


def ready_pods(endpoint_slice: Any) -> set[str]:
    """Names of the ready pods of an EndpointSlice."""
    return {
        endpoint.target_ref.name
        for endpoint in endpoint_slice.endpoints or []
        if endpoint.target_ref is not None and endpoint.conditions is not None and endpoint.conditions.ready
    }


def backup_directory(backup_id: str) -> Path:
    """Where a backup is, on the node."""
    return BACKUPS / backup_id


def stored_manifests() -> dict[str, Manifest]:
    """Manifests on the backup volume, by id: what counts as a backup."""
    files = sorted(BACKUPS.glob("*/manifest.json"))
    return {file.parent.name: Manifest.model_validate_json(file.read_text()) for file in files}


def data_directory(pod: str) -> Path:
    """A replica's data volume, on the node."""
    return volume_of(f"mysql-data-{pod}")
