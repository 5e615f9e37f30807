"""What Kubernetes says of a cluster's objects, as far as the preflight judges it.

A fact that could not be read is `Unread`, never the absence of what it is about.
"""

from __future__ import annotations

from typing import Literal

from galera_backup.models.common import ClusterRef, Facts


class Unread(Facts):
    """A fact that could not be read."""

    what: str
    """In the plural, as `kubectl get` calls it: `horizontalpodautoscalers`."""
    why: str


class Owner(Facts):
    """An owner reference of an object."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"


VolumeKind = Literal["claim", "secret", "configMap", "emptyDir", "hostPath", "projected", "other"]
"""`emptyDir`: every volume that goes with its pod; `other`: one that outlives it, as of NFS or an inline CSI driver."""


class Mount(Facts):
    """A volume as one container sees it."""

    path: str
    volume: str
    """Name of the volume in the pod."""
    kind: VolumeKind
    source: str = ""
    """Name of the claim, Secret or ConfigMap; the directory of a hostPath."""
    sub_path: str = ""
    """Directory of the volume that is mounted; empty: its root. The variables of a `subPathExpr` are replaced."""
    unresolved: str = ""
    """A `subPathExpr` with a variable that only the kubelet knows; then `sub_path` is not known."""
    read_only: bool = False

    @property
    def outlives_its_pod(self) -> bool:
        """What a server has written there is there for the next one."""
        return self.kind != "emptyDir"


class PodShape(Facts):
    """A pod: a member of the cluster, or another one that mounts a data claim."""

    name: str
    uid: str
    phase: str
    deleting: bool
    ready: bool = False
    node: str
    ip: str = ""
    ips: tuple[str, ...] = ()
    """All addresses: of a dual stack it has two."""
    owners: tuple[Owner, ...] = ()
    revision: str = ""
    """Label `controller-revision-hash`."""
    image: str = ""
    """Of the server's container, from the pod, not from the template."""
    port: int = 3306
    """On which the server listens, as its container says."""
    unready_after: int | None = None
    """Seconds in which the readiness probe of the server's container must fail for the pod to be Not Ready; None: there
    is no such probe, or one that only connects, which a server out of sync lets."""
    mounts: tuple[Mount, ...] = ()
    """Of the server's container; of a pod that is not a member, of all its containers."""

    @property
    def ended(self) -> bool:
        """No container of it runs any more, or will."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def claims(self) -> frozenset[str]:
        """The claims that it mounts."""
        return frozenset(mount.source for mount in self.mounts if mount.kind == "claim")

    @property
    def writable_claims(self) -> frozenset[str]:
        """Those that it may write to."""
        return frozenset(mount.source for mount in self.mounts if mount.kind == "claim" and not mount.read_only)


class ClaimShape(Facts):
    """A PersistentVolumeClaim."""

    name: str
    ordinal: int | None = None
    """Of the replica whose data it holds; None: the backup claim."""
    uid: str
    phase: str
    deleting: bool
    owners: tuple[Owner, ...] = ()
    access_modes: tuple[str, ...] = ()
    volume_mode: str = "Filesystem"
    volume: str = ""
    """Name of its PersistentVolume."""


class StatefulSetShape(Facts):
    """The StatefulSet: its ordinals, its template, its claims, and who else changes it."""

    cluster: ClusterRef
    uid: str
    replicas: int
    first_ordinal: int = 0
    deleting: bool = False
    observed: bool = True
    """Its controller has seen the present `spec`."""
    claims_when_scaled: str = "Retain"
    update_strategy: str = "RollingUpdate"
    partition: int = 0
    current_revision: str = ""
    update_revision: str = ""
    owners: tuple[Owner, ...] = ()
    image: str = ""
    """Of the server's container, in the template."""
    service: str = ""
    """That gives its pods their names: `<pod>.<service>.<namespace>`."""
    data_template: str = ""
    """Name of the volume claim template that holds the data directory."""
    data_path: str = ""
    """Where the server's container mounts that, in the template."""
    scaled_by: tuple[str, ...] = ()
    """Field managers that have set `spec.replicas`, but for us."""
    delivered_by: tuple[str, ...] = ()
    """Argo CD, Flux or another tool that its labels and annotations name, with the object there."""

    @property
    def ordinals(self) -> range:
        """Of its replicas."""
        return range(self.first_ordinal, self.first_ordinal + self.replicas)

    def pod(self, ordinal: int) -> str:
        """Name of a replica."""
        return f"{self.cluster.statefulset}-{ordinal}"

    def claim(self, ordinal: int) -> str:
        """Name of the data claim of a replica, as the controller makes it."""
        return f"{self.data_template}-{self.pod(ordinal)}"


class Autoscaler(Facts):
    """What changes the replica count of the StatefulSet by itself."""

    kind: str
    name: str


class ClusterShape(Facts):
    """All of it, read within some seconds."""

    statefulset: StatefulSetShape
    members: tuple[PodShape, ...]
    """Pods with the names of its replicas, whoever owns them, and all others that it owns; by ordinal."""
    planned: tuple[PodShape, ...] = ()
    """The pods that the template would make; by ordinal."""
    others: tuple[PodShape, ...] = ()
    """Pods that are no members and mount a data claim."""
    backup_users: tuple[PodShape, ...] = ()
    """Pods of others that mount the backup claim; this project's of another cluster are among them."""
    claims: tuple[ClaimShape, ...]
    """Data claims by ordinal, then the backup claim."""
    missing_claims: tuple[str, ...] = ()
    """Claims that should be there."""
    autoscalers: tuple[Autoscaler, ...] = ()
    disruption_budgets: tuple[str, ...] = ()
    """Of its pods."""
    unread: tuple[Unread, ...] = ()
