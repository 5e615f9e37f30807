"""The shape of a cluster, from the API server's objects: what the preflight judges and nothing else needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kubernetes.client import (
    V1Container,
    V1LabelSelector,
    V1LabelSelectorRequirement,
    V1ObjectMeta,
    V1PersistentVolumeClaim,
    V1Pod,
    V1PodSpec,
    V1PodStatus,
    V1StatefulSet,
    V2HorizontalPodAutoscaler,
)

from galera_backup.kube.admission import claim_volume
from galera_backup.kube.facts import StatefulSetFacts, mysql_port
from galera_backup.models.shape import (
    Autoscaler,
    ClaimShape,
    Mount,
    Owner,
    PodShape,
    StatefulSetShape,
    VolumeKind,
)

_REVISION = "controller-revision-hash"
_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_VOLUMES: Mapping[str, tuple[VolumeKind, str]] = {
    "persistent_volume_claim": ("claim", "claim_name"),
    "secret": ("secret", "secret_name"),
    "config_map": ("configMap", "name"),
    "host_path": ("hostPath", "path"),
    "empty_dir": ("emptyDir", ""),
    "ephemeral": ("emptyDir", ""),
    "projected": ("projected", ""),
    "downward_api": ("projected", ""),
}
"""Field of a pod's volume: its kind, and the field of that which names its source."""
_ARGO = ("argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance")
_FLUX = {
    "kustomize.toolkit.fluxcd.io": "Flux Kustomization",
    "helm.toolkit.fluxcd.io": "Flux HelmRelease",
}
_MANAGERS = {
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "kustomize-controller": "Flux Kustomization",
    "helm-controller": "Flux HelmRelease",
    "fleetagent": "Fleet",
}
"""By field manager. Argo CD before 3.0 labels its objects `app.kubernetes.io/instance`, as charts do by themselves."""


def statefulset_shape(found: V1StatefulSet, facts: StatefulSetFacts) -> StatefulSetShape:
    """Of a StatefulSet; `facts` are its own."""
    metadata, spec, status = found.metadata, found.spec, found.status
    retention, strategy = spec.persistent_volume_claim_retention_policy, spec.update_strategy
    rolling = strategy.rolling_update if strategy is not None else None
    return StatefulSetShape(
        cluster=facts.cluster,
        uid=metadata.uid,
        replicas=spec.replicas,
        first_ordinal=facts.first_ordinal,
        deleting=metadata.deletion_timestamp is not None,
        observed=(status.observed_generation or 0) >= (metadata.generation or 0),
        claims_when_scaled=(retention.when_scaled if retention is not None else None) or "Retain",
        update_strategy=(strategy.type if strategy is not None else None) or "RollingUpdate",
        partition=(rolling.partition or 0) if rolling is not None else 0,
        current_revision=status.current_revision or "",
        update_revision=status.update_revision or "",
        owners=tuple(_owners(metadata.owner_references)),
        image=facts.image,
        service=facts.service,
        data_template=facts.data_volume,
        data_path=facts.data_path,
        scaled_by=facts.scaled_by,
        delivered_by=tuple(_delivered_by(metadata)),
    )


def pod_shape(found: V1Pod, container: str | None) -> PodShape:
    """Of a pod. `container`: the server's, of a member; None: all containers of a pod that is not one."""
    metadata, spec, status = found.metadata, found.spec, found.status
    containers = [each for each in spec.containers if container is None or each.name == container]
    if container is None:
        containers += spec.init_containers or []
    volumes = {volume.name: volume for volume in spec.volumes or []}
    return PodShape(
        name=metadata.name,
        uid=metadata.uid,
        phase=status.phase or "",
        deleting=metadata.deletion_timestamp is not None,
        ready=any(each.type == "Ready" and each.status == "True" for each in status.conditions or []),
        node=spec.node_name or "",
        ip=status.pod_ip or "",
        ips=tuple(each.ip for each in status.pod_ips or []),
        owners=tuple(_owners(metadata.owner_references)),
        revision=(metadata.labels or {}).get(_REVISION, ""),
        image=containers[0].image if container is not None and containers else "",
        port=mysql_port(spec, container),
        unready_after=_unready_after(containers) if container is not None else None,
        mounts=tuple(
            _mount(mount, volumes.get(mount.name), found, each)
            for each in containers
            for mount in each.volume_mounts or []
        ),
    )


def _unready_after(containers: Sequence[V1Container]) -> int | None:
    """Kubernetes probes each 10 s, and believes the third failure, if it is not told otherwise."""
    probe = containers[0].readiness_probe if containers else None
    if probe is None or probe.tcp_socket is not None:
        return None
    return (probe.period_seconds or 10) * (probe.failure_threshold or 3)


def planned_shape(found: V1StatefulSet, facts: StatefulSetFacts, ordinal: int) -> PodShape:
    """Of the pod that the template makes for a replica, as far as its mounts are known before it is made."""
    template = found.spec.template
    name = f"{facts.cluster.statefulset}-{ordinal}"
    claims = [each.metadata.name for each in found.spec.volume_claim_templates or []]
    volumes = [volume for volume in template.spec.volumes or [] if volume.name not in claims]
    volumes += [claim_volume(each, f"{each}-{name}") for each in claims]
    metadata = V1ObjectMeta(name=name, namespace=facts.cluster.namespace, uid="")
    spec = V1PodSpec(containers=template.spec.containers, volumes=volumes)
    return pod_shape(V1Pod(metadata=metadata, spec=spec, status=V1PodStatus()), facts.container)


def claim_shape(found: V1PersistentVolumeClaim, ordinal: int | None) -> ClaimShape:
    """Of a claim; `ordinal` of the replica whose data it holds, None: it is the backup claim."""
    metadata, spec, status = found.metadata, found.spec, found.status
    return ClaimShape(
        name=metadata.name,
        ordinal=ordinal,
        uid=metadata.uid,
        phase=status.phase or "",
        deleting=metadata.deletion_timestamp is not None,
        owners=tuple(_owners(metadata.owner_references)),
        access_modes=tuple(spec.access_modes or ()),
        volume_mode=spec.volume_mode or "Filesystem",
        volume=spec.volume_name or "",
    )


def autoscalers(found: Iterable[V2HorizontalPodAutoscaler], statefulset: str) -> tuple[Autoscaler, ...]:
    """Those that scale this StatefulSet, by the name of what made them where that is KEDA."""
    return tuple(
        _autoscaler(each)
        for each in found
        if each.spec.scale_target_ref.kind == "StatefulSet" and each.spec.scale_target_ref.name == statefulset
    )


def selects(selector: V1LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector chooses pods with these labels. None chooses nothing, an empty one everything."""
    if selector is None:
        return False
    expressions = selector.match_expressions or []
    wanted = (selector.match_labels or {}).items()
    return wanted <= labels.items() and all(_holds(each, labels.get(each.key)) for each in expressions)


def _holds(expression: V1LabelSelectorRequirement, value: str | None) -> bool:
    match expression.operator:
        case "In":
            return value in (expression.values or ())
        case "NotIn":
            return value not in (expression.values or ())
        case "Exists":
            return value is not None
        case _:  # DoesNotExist
            return value is None


def _autoscaler(found: V2HorizontalPodAutoscaler) -> Autoscaler:
    for owner in found.metadata.owner_references or []:
        if owner.kind == "ScaledObject":
            return Autoscaler(kind=owner.kind, name=owner.name)
    return Autoscaler(kind="HorizontalPodAutoscaler", name=found.metadata.name)


def _owners(references: Sequence[Any] | None) -> Iterator[Owner]:
    for each in references or ():
        yield Owner(
            api_version=each.api_version,
            kind=each.kind,
            name=each.name,
            uid=each.uid,
            controller=bool(each.controller),
        )


def _delivered_by(metadata: V1ObjectMeta) -> Iterator[str]:
    """By labels and annotations; by the field manager of a tool that has left none that is its own alone."""
    notes = {**(metadata.labels or {}), **(metadata.annotations or {})}
    argo = next((notes[key] for key in _ARGO if key in notes), None)
    found = {}
    if argo is not None:
        found["Argo CD"] = f"Argo CD application {argo.partition(':')[0]!r}"
    for domain, kind in _FLUX.items():
        if (name := notes.get(f"{domain}/name")) is not None:
            found[kind] = f"{kind} {notes.get(f'{domain}/namespace', '')}/{name}"
    for each in metadata.managed_fields or ():
        if (tool := _MANAGERS.get(each.manager)) is not None and tool not in found:
            found[tool] = f"{tool} (field manager {each.manager!r})"
    yield from found.values()


def _mount(mount: Any, volume: Any, pod: V1Pod, container: V1Container) -> Mount:
    kind, source = _source(volume)
    sub_path, unresolved = mount.sub_path or "", ""
    if mount.sub_path_expr:
        resolved = _expand(mount.sub_path_expr, container, pod)
        sub_path, unresolved = (resolved, "") if resolved is not None else ("", mount.sub_path_expr)
    return Mount(
        path=mount.mount_path,
        volume=mount.name,
        kind=kind,
        source=source,
        sub_path=sub_path,
        unresolved=unresolved,
        read_only=bool(mount.read_only) or _is_read_only(volume),
    )


def _source(volume: Any) -> tuple[VolumeKind, str]:
    for field, (kind, name) in _VOLUMES.items():
        if (found := getattr(volume, field, None)) is not None:
            return kind, (getattr(found, name) or "") if name else ""
    return "other", ""


def _is_read_only(volume: Any) -> bool:
    claim = getattr(volume, "persistent_volume_claim", None)
    return bool(getattr(claim, "read_only", None))


def _expand(expression: str, container: V1Container, pod: V1Pod) -> str | None:
    """A `subPathExpr` as the kubelet mounts it; None: a variable's value comes from elsewhere than the pod's spec."""
    values = {each.name: _value(each, pod) for each in container.env or []}
    wanted = _VARIABLE.findall(expression)
    if any(values.get(name) is None for name in wanted):
        return None
    return _VARIABLE.sub(lambda found: str(values[found[1]]), expression)


def _value(variable: Any, pod: V1Pod) -> str | None:
    if variable.value_from is None:
        value = variable.value or ""
        return None if _VARIABLE.search(value) else value
    field = variable.value_from.field_ref
    known = {"metadata.name": pod.metadata.name, "metadata.namespace": pod.metadata.namespace}
    return known.get(field.field_path) if field is not None else None
