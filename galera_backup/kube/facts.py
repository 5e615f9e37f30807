"""The facts of Kubernetes objects that activities use, read from the library's models."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from kubernetes.client import V1Container, V1ContainerStatus, V1Pod, V1PodSpec, V1StatefulSet

from galera_backup import names
from galera_backup.errors import ClusterNotFound, InvalidInput
from galera_backup.models.common import ClusterRef

MYSQL_PORT = 3306
USUAL_CONTAINER = "mariadb"
USUAL_PATH = PurePosixPath("/var/lib/mysql")
_PORT_NAMES = ("mysql", "mariadb", "mysqld")


@dataclass(frozen=True)
class ContainerEnd:
    """How a container ended, or why it does not start."""

    exit_code: int | None
    """None: it has not run to an end."""
    reason: str
    message: str
    """The termination message; the kubelet's sentence when the container waits."""


@dataclass(frozen=True)
class PodFacts:
    """A pod as this project needs it."""

    name: str
    uid: str
    phase: str
    ready: bool
    deleting: bool
    node: str
    ip: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    resource_version: str
    reason: str
    """`Evicted`, `DeadlineExceeded`, ...: why the kubelet ended the whole pod."""
    message: str
    ended: Mapping[str, ContainerEnd]
    """Containers that have ended, by name."""
    waiting: Mapping[str, ContainerEnd]
    """Containers that have not started, by name."""
    unscheduled: str
    """Why the scheduler finds no node; empty when it found one."""
    begun: Collection[str] = ()
    """Containers that run, or have: the phase is Pending as long as another one waits."""
    gated: bool = False
    """It has a scheduling gate, so the scheduler ignores it."""
    restarts: Mapping[str, int] = field(default_factory=dict)
    """How often each container was started again."""
    port: int = MYSQL_PORT
    """On which its server listens, as its container says."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Of each container, by name."""
    ips: tuple[str, ...] = ()
    """All addresses: of a dual stack it has two."""


@dataclass(frozen=True)
class ClaimFacts:
    """A PersistentVolumeClaim."""

    uid: str
    deleting: bool
    """It goes as soon as no pod uses it."""


@dataclass(frozen=True)
class StatefulSetFacts:
    """What runner pods and restores need to know of a cluster's StatefulSet."""

    cluster: ClusterRef
    resource_version: str
    replicas: int
    annotations: Mapping[str, str]
    container: str
    """Name of the one that runs the server."""
    image: str
    image_pull_policy: str | None
    data_volume: str
    """Name of the claim template, and so the prefix of the claims; empty: it cannot be told."""
    data_path: str
    """Where the server's container mounts it."""
    user: int | None
    group: int | None
    fs_group: int | None
    service_account: str | None
    pod: Any = field(repr=False, default=None)
    """Spec of its pods, from the template: a `V1PodSpec`."""
    server: Any = field(repr=False, default=None)
    """The server's container in it: a `V1Container`."""
    service: str = ""
    """The Service that gives the pods their names."""
    labels: Mapping[str, str] = field(repr=False, default_factory=dict)
    """Labels of its pods, from the template."""
    pod_annotations: Mapping[str, str] = field(repr=False, default_factory=dict)
    """Annotations of its pods, from the template."""
    settings: tuple[str, ...] = field(repr=False, default=())
    """Command, arguments and values of the environment of the server's container."""
    first_ordinal: int = 0
    """Of its replicas: `spec.ordinals.start`."""
    scaled_by: tuple[str, ...] = ()
    """Field managers that have set `spec.replicas`, but for us; the latest first."""
    uid: str = ""

    def ordinals(self, replicas: int) -> range:
        """Of so many replicas."""
        return range(self.first_ordinal, self.first_ordinal + replicas)

    def claim(self, ordinal: int) -> str:
        """Name of the data claim of one replica, as the StatefulSet controller makes it. Error: `ClusterNotFound`."""
        if not self.data_volume:
            raise ClusterNotFound(
                f"StatefulSet {str(self.cluster)!r}: expected the container {self.container!r} to mount its data from "
                f"one volume claim template, or one of several at {str(USUAL_PATH)!r}. Name the servers' data "
                "directory in the request's field 'data_directory'"
            )
        return f"{self.data_volume}-{self.cluster.statefulset}-{ordinal}"


def pod_facts(pod: V1Pod) -> PodFacts:
    """Facts of a pod that the API server returned."""
    metadata, spec, status = pod.metadata, pod.spec, pod.status
    conditions = {condition.type: condition for condition in status.conditions or []}
    containers = [*(status.init_container_statuses or []), *(status.container_statuses or [])]
    return PodFacts(
        name=metadata.name,
        uid=metadata.uid,
        phase=status.phase or "",
        ready="Ready" in conditions and conditions["Ready"].status == "True" and metadata.deletion_timestamp is None,
        deleting=metadata.deletion_timestamp is not None,
        node=spec.node_name or "",
        ip=status.pod_ip or "",
        ips=tuple(each.ip for each in status.pod_ips or []),
        labels=metadata.labels or {},
        annotations=metadata.annotations or {},
        resource_version=metadata.resource_version,
        reason=status.reason or "",
        message=status.message or "",
        ended={container.name: _end(container) for container in containers if container.state.terminated},
        waiting={container.name: _wait(container) for container in containers if container.state.waiting},
        begun=tuple(container.name for container in containers if _has_begun(container)),
        unscheduled=next((each.message or "" for each in conditions.values() if _unscheduled(each)), ""),
        gated=bool(spec.scheduling_gates),
        restarts={container.name: container.restart_count for container in containers},
        port=mysql_port(spec),
        images={container.name: container.image for container in spec.containers},
    )


def mysql_port(pod: V1PodSpec, container: str | None = None) -> int:
    """The port that the server's container names so; else that of MySQL. A proxy beside it may have one of that name.

    `container`: the server's; None: those that may write to a claim, as in `statefulset_facts`.
    """
    claims = {volume.name for volume in pod.volumes or [] if volume.persistent_volume_claim is not None}
    servers = [each for each in pod.containers if each.name == container] or _writing(pod.containers, claims)
    ports = [port for each in servers for port in each.ports or []]
    return next((port.container_port for port in ports if port.name in _PORT_NAMES), MYSQL_PORT)


def _has_begun(container: V1ContainerStatus) -> bool:
    states = (container.state, container.last_state)
    return any(state is not None and (state.running or state.terminated) for state in states)


def _unscheduled(condition: Any) -> bool:
    return bool(condition.type == "PodScheduled" and condition.status == "False")


def _end(container: V1ContainerStatus) -> ContainerEnd:
    state = container.state.terminated
    return ContainerEnd(exit_code=state.exit_code, reason=state.reason or "", message=state.message or "")


def _wait(container: V1ContainerStatus) -> ContainerEnd:
    state = container.state.waiting
    return ContainerEnd(exit_code=None, reason=state.reason or "", message=state.message or "")


def statefulset_facts(
    statefulset: V1StatefulSet, cluster: ClusterRef, container_name: str | None, data_directory: str | None = None
) -> StatefulSetFacts:
    """Facts of a StatefulSet. `data_directory`: of its servers, where a request says it.

    Errors: `ClusterNotFound` when it has no such container, `InvalidInput` when that mounts no claim at it.
    """
    template_metadata, template = statefulset.spec.template.metadata, statefulset.spec.template.spec
    container = _server(statefulset, cluster, container_name)
    mount = _data_mount(statefulset, container, data_directory)
    pod_security, security = template.security_context, container.security_context
    return StatefulSetFacts(
        cluster=cluster,
        uid=statefulset.metadata.uid or "",
        resource_version=statefulset.metadata.resource_version,
        replicas=statefulset.spec.replicas,
        annotations=statefulset.metadata.annotations or {},
        container=container.name,
        image=container.image,
        image_pull_policy=container.image_pull_policy,
        data_volume=mount.name if mount is not None else "",
        data_path=mount.mount_path if mount is not None else "",
        user=_first("run_as_user", security, pod_security),
        group=_first("run_as_group", security, pod_security),
        fs_group=_first("fs_group", pod_security),
        service_account=template.service_account_name,
        pod=template,
        server=container,
        service=statefulset.spec.service_name or "",
        labels=(template_metadata.labels if template_metadata else None) or {},
        pod_annotations=(template_metadata.annotations if template_metadata else None) or {},
        settings=_settings(container),
        scaled_by=_scaled_by(statefulset.metadata.managed_fields or ()),
        first_ordinal=(statefulset.spec.ordinals.start or 0) if statefulset.spec.ordinals is not None else 0,
    )


def _server(statefulset: V1StatefulSet, cluster: ClusterRef, name: str | None) -> V1Container:
    """The container with this name; None: the one that mounts a claim and may write to it, or has the usual name."""
    containers = statefulset.spec.template.spec.containers
    templates = {template.metadata.name for template in statefulset.spec.volume_claim_templates or []}
    if not templates:
        raise ClusterNotFound(
            f"StatefulSet {str(cluster)!r}: expected volumeClaimTemplates, it has none. Data that is not on a claim of "
            "its own for each replica can be neither backed up nor restored"
        )
    found = [each for each in containers if each.name == name]
    if name is None:
        mounting = _writing(containers, templates)
        found = mounting if len(mounting) == 1 else [each for each in mounting if each.name == USUAL_CONTAINER]
    if len(found) != 1:
        what = f"a container {name!r}" if name is not None else "one container that mounts the data"
        raise ClusterNotFound(
            f"StatefulSet {str(cluster)!r}: expected {what}, it has "
            f"{', '.join(sorted(each.name for each in containers))}. Name the server's container in the request's "
            "field 'container'"
        )
    return found[0]


def _writing(containers: Iterable[V1Container], claims: Collection[str]) -> list[V1Container]:
    """Those that may write to a claim, that with the usual name first."""
    found = [each for each in containers if any(_writes(mount, claims) for mount in each.volume_mounts or [])]
    return sorted(found, key=lambda each: each.name != USUAL_CONTAINER)


def _writes(mount: Any, claims: Collection[str]) -> bool:
    return mount.name in claims and not mount.read_only


def _settings(container: V1Container) -> tuple[str, ...]:
    values = [each.value for each in container.env or [] if each.value]
    return (*(container.command or []), *(container.args or []), *values)


def _scaled_by(managed: Iterable[Any]) -> tuple[str, ...]:
    found = [each for each in managed if "f:replicas" in ((each.fields_v1 or {}).get("f:spec") or {})]
    found.sort(key=lambda each: str(each.time or ""), reverse=True)
    return tuple(dict.fromkeys(each.manager for each in found if each.manager != names.MANAGED_BY))


def _first(name: str, *contexts: Any) -> int | None:
    return next((value for context in contexts if (value := getattr(context, name, None)) is not None), None)


def _data_mount(statefulset: V1StatefulSet, container: V1Container, data_directory: str | None) -> Any:
    """The mount of a claim template that holds the data directory; by the usual path, where nobody says it.

    None: it cannot be told.
    """
    templates = {template.metadata.name for template in statefulset.spec.volume_claim_templates or []}
    mounts = [mount for mount in container.volume_mounts or [] if mount.name in templates]
    if data_directory is not None:
        holding = [mount for mount in mounts if PurePosixPath(data_directory).is_relative_to(mount.mount_path)]
        if mounts and not holding:
            raise InvalidInput(
                f"data_directory: expected a directory on one of the claims that the container {container.name!r} "
                f"mounts, at {', '.join(sorted(mount.mount_path for mount in mounts))}, it is {data_directory!r}"
            )
        mounts = sorted(holding, key=lambda mount: len(PurePosixPath(mount.mount_path).parts))[-1:]
    if len(mounts) > 1:
        mounts = [mount for mount in mounts if PurePosixPath(mount.mount_path) == USUAL_PATH]
    return mounts[0] if len(mounts) == 1 else None
