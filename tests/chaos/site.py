"""A small Galera cluster in a namespace of its own: several runs go on beside each other on one stack."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import kubernetes
import pymysql
from kubernetes.client import ApiException
from pymysql.connections import Connection
from urllib3.exceptions import HTTPError

from dev.stack import certificates, paths, programs, settings
from dev.stack.console import StackError
from galera_backup.models.common import ClusterRef
from tests.support.small_cluster import SmallCluster

T = TypeVar("T")

STATEFULSET = settings.STATEFULSET
PODS = tuple(f"{STATEFULSET}-{ordinal}" for ordinal in range(settings.REPLICAS))
PRIMARY, TARGET = PODS[0], PODS[-1]
"""TARGET is what a backup selects: the highest ordinal."""
USER, PASSWORD = "chaos", "chaos"
JOURNAL = "chaos.journal"


def persistent(call: Callable[[], T], within: float = 120) -> T:
    """A call to an API server that may be away for a while."""
    deadline = time.monotonic() + within
    while True:
        try:
            return call()
        except (ApiException, HTTPError, OSError) as error:
            final = isinstance(error, ApiException) and 400 <= error.status < 500 and error.status != 429
            if final or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


class Site:
    """The cluster of one lane, and direct access to it."""

    def __init__(self, number: int) -> None:
        self.namespace = f"chaos-{number}"
        self.cluster = ClusterRef(namespace=self.namespace, statefulset=STATEFULSET)
        configuration = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(str(paths.KUBECONFIG), client_configuration=configuration)
        configuration.retries = 0
        api = kubernetes.client.ApiClient(configuration)
        self.core = kubernetes.client.CoreV1Api(api)
        self.apps = kubernetes.client.AppsV1Api(api)
        self.discovery = kubernetes.client.DiscoveryV1Api(api)
        self.control = paths.STATE / "chaos" / self.namespace
        self.control.mkdir(parents=True, exist_ok=True)
        self._small = SmallCluster(self.namespace)

    @property
    def lease_id(self) -> str:
        """Workflow id of the cluster's lease."""
        return f"galera-lease/{self.cluster}"

    # --- its life

    @property
    def backup_mount(self) -> Path:
        """The backup volume, as the node sees it."""
        return self._small.mount(settings.BACKUP_CLAIM)

    @property
    def data_mounts(self) -> list[Path]:
        """The data volumes, as the node sees them."""
        return [self._small.mount(f"mysql-data-{pod}") for pod in PODS]

    @property
    def backups(self) -> Path:
        """Where the cluster's backups are."""
        return self.backup_mount / self.namespace / STATEFULSET

    def make(self) -> None:
        """Bring the cluster up; what is there already stays."""
        self._small.up()
        self.root_sql(
            f"CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{PASSWORD}';"
            f"GRANT ALL ON *.* TO {USER}@'%'; CREATE DATABASE IF NOT EXISTS chaos;"
            f"CREATE TABLE IF NOT EXISTS {JOURNAL} (id BIGINT PRIMARY KEY, text TEXT);"
            "CREATE TABLE IF NOT EXISTS chaos.ballast (id INT AUTO_INCREMENT PRIMARY KEY, content LONGBLOB);"
            "USE chaos; INSERT INTO chaos.ballast (content) SELECT RANDOM_BYTES(1024) FROM seq_1_to_2000"
            " WHERE NOT EXISTS (SELECT 1 FROM chaos.ballast);"
        )

    def make_anew(self) -> None:
        """Remove it, and bring it up from nothing."""
        self.remove()
        self.make()

    def remove(self) -> None:
        """Delete the namespace, its volumes and what is in them, as far as the API server answers."""
        with suppress(StackError):
            self._small.remove()

    # --- Kubernetes

    def pod(self, name: str) -> Any:
        """The pod, or None."""
        try:
            return persistent(lambda: self.core.read_namespaced_pod(name, self.namespace))
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def is_ready(self, name: str) -> bool:
        """Whether the kubelet says so."""
        pod = self.pod(name)
        conditions = (pod.status.conditions or []) if pod is not None and not pod.metadata.deletion_timestamp else []
        return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)

    def members(self) -> list[Any]:
        """The pods of the StatefulSet."""
        return self._pods("application=mariadb,component=server")

    def runners(self) -> list[Any]:
        """The runner pods."""
        return self._pods("app.kubernetes.io/managed-by=galera-backup")

    def _pods(self, selector: str) -> list[Any]:
        listed = persistent(lambda: self.core.list_namespaced_pod(self.namespace, label_selector=selector))
        return list(listed.items)

    def statefulset(self) -> Any:
        """The StatefulSet."""
        return persistent(lambda: self.apps.read_namespaced_stateful_set(STATEFULSET, self.namespace))

    def endpoints(self, service: str) -> set[str]:
        """Pods that the Service sends clients to."""
        selector = f"kubernetes.io/service-name={service}"
        slices = persistent(
            lambda: self.discovery.list_namespaced_endpoint_slice(self.namespace, label_selector=selector)
        )
        return {
            endpoint.target_ref.name
            for each in slices.items
            for endpoint in each.endpoints or []
            if endpoint.target_ref is not None and endpoint.conditions is not None and endpoint.conditions.ready
        }

    # --- MariaDB

    def root_sql(self, statements: str, pod: str = PRIMARY) -> str:
        """Run SQL as root inside of the pod."""
        return self.execute(pod, ["mariadb", "--batch", "--skip-column-names"], statements.encode())

    def execute(self, pod: str, argv: list[str], stdin: bytes | None = None, timeout: float = 120) -> str:
        """Run a command in the database container of a pod."""
        command = [
            programs.path("kubectl"),
            f"--kubeconfig={certificates.kubeconfig('admin')}",
            f"--namespace={self.namespace}",
            *("exec", "--stdin", pod, f"--container={settings.CONTAINER}", "--", *argv),
        ]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, check=False)
        if done.returncode:
            raise StackError(self.namespace, f"{argv[0]} in {pod}: {done.stderr.decode(errors='replace')[-2000:]}")
        return done.stdout.decode(errors="replace")

    def connect(self, pod: str, timeout: float = 2) -> Connection[Any]:
        """A connection to a member's server. Raises OSError or a MySQL error."""
        found = self.pod(pod)
        address = found.status.pod_ip if found is not None else None
        if not address:
            raise OSError(f"pod {pod} has no address")
        return connect(address, timeout)

    def service_address(self, service: str) -> str:
        """The Service's cluster address."""
        return str(persistent(lambda: self.core.read_namespaced_service(service, self.namespace)).spec.cluster_ip)

    # --- processes of its pods, as the node sees them

    def server_pid(self, pod: str) -> int | None:
        """Pid of mariadbd in a pod of this cluster."""
        return self._process(
            lambda name, argv: name == "mariadbd",
            f"POD_NAME={pod}",
            f"DISCOVERY=mariadb-discovery.{self.namespace}.svc.cluster.local",
        )

    def runner_pid(self, program: str) -> int | None:
        """Pid of a tool in a runner pod of this cluster that copies from TARGET or restores."""
        marker = "--extra-lsndir=/run/galera-backup/lsn" if program == "mariadb-backup" else ""
        for pod in self.runners():
            pid = self._process(
                lambda name, argv: name.startswith(program[:15]) and (not marker or marker in argv),
                f"HOSTNAME={pod.metadata.name}",
                of_pod=pod.metadata.uid,
            )
            if pid is not None:
                return pid
        return None

    def pid_in(self, runner: str, program: str) -> int | None:
        """Pid of a tool in this runner pod."""
        pod = self.pod(runner)
        if pod is None:
            return None
        return self._process(lambda name, argv: name.startswith(program), f"HOSTNAME={runner}", of_pod=pod.metadata.uid)

    @staticmethod
    def _process(fits: Callable[[str, list[str]], bool], *environment: str, of_pod: str = "") -> int | None:
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if not fits((folder / "comm").read_text().strip(), _arguments(folder)):
                    continue
                variables = (folder / "environ").read_bytes().split(b"\0")
                in_pod = not of_pod or of_pod in (folder / "cgroup").read_text().replace("_", "-")
                if in_pod and all(each.encode() in variables for each in environment):
                    return int(folder.name)
        return None


def _arguments(folder: Path) -> list[str]:
    return (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")


def connect(address: str, timeout: float = 2) -> Connection[Any]:
    """A connection as the harness's own user."""
    return pymysql.connect(
        host=address,
        user=USER,
        password=PASSWORD,
        connect_timeout=int(timeout) or 1,
        read_timeout=timeout,
        write_timeout=timeout,
        autocommit=True,
        ssl_disabled=True,  # PyMySQL reads the system's certificates for each connection, which took half a processor
    )
