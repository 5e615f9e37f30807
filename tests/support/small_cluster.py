"""A Galera cluster with little data in a namespace of its own, beside the one of the stack."""

from __future__ import annotations

import json
import time
from pathlib import Path
from string import Template

from dev.stack import cluster, data, images, paths, settings, volumes
from dev.stack.console import StackError, run
from dev.stack.volumes import Volume
from galera_backup import names
from galera_backup.models.common import ClusterRef
from tests.support.shape import Shape

_VOLUME_GIB = 2
_READY_SECONDS = 300
_DATA_UNITS = 8
"""MiB of sample data: enough that a backup of it can be caught while it runs."""


class SmallCluster:
    """Same names as in the stack's own namespace, but other volumes."""

    def __init__(self, namespace: str, shape: Shape | None = None) -> None:
        self.namespace = namespace
        self.shape = shape or Shape()
        self._where = ("--namespace", namespace)
        self._volumes = {
            f"mysql-data-{settings.STATEFULSET}-{ordinal}": Volume(f"{namespace}-data-{ordinal}", _VOLUME_GIB)
            for ordinal in self.shape.ordinals
        }
        self._volumes[settings.BACKUP_CLAIM] = Volume(f"{namespace}-backup", _VOLUME_GIB)

    @property
    def ref(self) -> ClusterRef:
        """As a request names it."""
        return ClusterRef(namespace=self.namespace, statefulset=settings.STATEFULSET)

    @property
    def pods(self) -> list[str]:
        """Names of its replicas."""
        return [f"{settings.STATEFULSET}-{ordinal}" for ordinal in self.shape.ordinals]

    def mount(self, claim: str) -> Path:
        """Where the node sees the volume of a claim."""
        return self._volumes[claim].mount

    def make(self) -> None:
        """From nothing to members in sync, with sample data."""
        self.remove()
        self.up()
        data.load(_DATA_UNITS, self.namespace, self.pods[0])

    def up(self) -> None:
        """Members in sync, with the primary label and the backup's account; what is there already stays."""
        volumes.up(self._volumes.values())
        documents = [f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {self.namespace}}}\n"]
        for claim, volume in self._volumes.items():
            documents.append(
                cluster.manifest(
                    "volume",
                    volume=volume.claim,
                    claim=claim,
                    gib=volume.gib,
                    mount=volume.mount,
                    namespace=self.namespace,
                    node=settings.NODE_NAME,
                )
            )
        account = {"username": settings.BACKUP_USER, "password": f"{self.namespace}-password"}
        metadata = {"name": settings.BACKUP_SECRET, "namespace": self.namespace}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": account}
        documents += [self._galera(), json.dumps(secret)]
        cluster.apply("\n---\n".join(documents))
        self._wait_ready()
        first = self.pods[0]
        cluster.kubectl(*self._where, "label", "pod", first, settings.PRIMARY_LABEL, "--overwrite")
        grants = Template((paths.DEV / "data" / "backup-account.sql").read_text()).substitute(account)
        cluster.sql(grants, first, namespace=self.namespace)

    def ready(self) -> int:
        """How many members are Ready."""
        return int(cluster.get(*self._where, f"statefulset/{settings.STATEFULSET}")["status"].get("readyReplicas", 0))

    def held(self) -> list[str]:
        """Names of its replicas that pods hold."""
        pods = cluster.get(*self._where, "pods", f"--selector={names.HOLD_LABEL}={settings.STATEFULSET}")["items"]
        return [pod["metadata"]["name"] for pod in pods]

    def remove(self) -> None:
        """The namespace, the volumes and what is in them; gone already is success.

        The files go also when the API server does not answer, which is an error.
        """
        try:
            self._remove_objects()
        finally:
            for volume in self._volumes.values():
                if volume.mount.is_mount():
                    run("volumes", ["umount", "--lazy", str(volume.mount)])
                volume.file.unlink(missing_ok=True)

    def _remove_objects(self) -> None:
        pods = [*self._where, "delete", "pods", "--all", "--grace-period=1", "--wait=false"]
        cluster.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", "--wait=false")
        cluster.kubectl(*pods)
        cluster.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", timeout=180)
        claims = [volume.claim for volume in self._volumes.values()]
        cluster.kubectl("delete", "persistentvolume", *claims, "--ignore-not-found", timeout=60)

    def _galera(self) -> str:
        text = cluster.manifest(
            "galera",
            namespace=self.namespace,
            statefulset=settings.STATEFULSET,
            container=settings.CONTAINER,
            replicas=self.shape.replicas,
            uid=settings.MYSQL_UID,
            image=images.mariadb().reference,
            backup_volume=self._volumes[settings.BACKUP_CLAIM].claim,
            cpu="20m",
            memory="128Mi",
        )
        return self.shape.applied(text)

    def _end_of_log(self, pod: str) -> str:
        try:
            return cluster.kubectl(*self._where, "logs", pod, "--tail=30")
        except StackError as error:
            return str(error)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while self.ready() < self.shape.replicas:
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {pod}\n{self._end_of_log(pod)}" for pod in self.pods)
                raise StackError(self.namespace, f"its replicas are not ready after {_READY_SECONDS} s\n{logs}")
            time.sleep(0.5)
