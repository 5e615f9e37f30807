"""Dry runs and quotas, from the API server's objects; and the pods that a StatefulSet's template makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from decimal import Decimal
from typing import Any

from kubernetes.client import (
    V1ObjectMeta,
    V1PersistentVolumeClaimVolumeSource,
    V1Pod,
    V1ResourceQuota,
    V1StatefulSet,
    V1Volume,
)
from kubernetes.utils.quantity import parse_quantity

from galera_backup.models.admission import Quota, Trial, Whose
from galera_backup.runner.handshake import AGENT_CONTAINER, MARIADB_CONTAINER

TRIAL_PREFIX = "galera-backup-trial-"
"""Of the names of pods that are only tried: none of them is ever stored."""


def server_pod(statefulset: V1StatefulSet, claims: Mapping[str, str]) -> V1Pod:
    """A pod as the StatefulSet's controller would make it, under a name of its own.

    `claims`: name of the claim for each volume claim template.
    """
    template = statefulset.spec.template
    spec = deepcopy(template.spec)
    kept = [volume for volume in spec.volumes or [] if volume.name not in claims]
    spec.volumes = [*kept, *(claim_volume(name, claim) for name, claim in claims.items())]
    metadata = V1ObjectMeta(
        generate_name=TRIAL_PREFIX,
        namespace=statefulset.metadata.namespace,
        labels=template.metadata.labels if template.metadata is not None else None,
        annotations=template.metadata.annotations if template.metadata is not None else None,
    )
    return V1Pod(api_version="v1", kind="Pod", metadata=metadata, spec=spec)


def claim_volume(name: str, claim: str) -> V1Volume:
    """A volume of a pod that mounts a claim."""
    return V1Volume(name=name, persistent_volume_claim=V1PersistentVolumeClaimVolumeSource(claim_name=claim))


def trial(name: str, whose: Whose, answer: V1Pod) -> Trial:
    """Of a pod that would be created; `answer` is what admission has made of it."""
    first = answer.spec.init_containers or []
    starting = [each for each in first if each.restart_policy != "Always"]
    containers = [*answer.spec.containers, *(each for each in first if each not in starting)]  # and native sidecars
    ours = [each for each in containers if each.name in (AGENT_CONTAINER, MARIADB_CONTAINER)]
    return Trial(
        name=name,
        whose=whose,
        requests=_largest(_total(containers, "requests"), starting, "requests"),
        limits=_largest(_total(containers, "limits"), starting, "limits"),
        memory=min((limits["memory"] for limits in _limits(ours) if "memory" in limits), default=None),
        has_deadline=answer.spec.active_deadline_seconds is not None,
        pulled=tuple(dict.fromkeys(each.image for each in [*containers, *starting] if _is_pulled_again(each))),
    )


def quota(found: V1ResourceQuota) -> Quota:
    """A quota with what is used of it."""
    spec, status = found.spec, found.status
    return Quota(
        name=found.metadata.name,
        hard=_quantities(spec.hard),
        used=_quantities(status.used if status is not None else None),
        scopes=tuple(spec.scopes or ()),
        has_selector=spec.scope_selector is not None,
    )


def _is_pulled_again(container: Any) -> bool:
    return bool(container.image_pull_policy == "Always")


def _total(containers: Iterable[Any], field: str) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for container in containers:
        for name, value in _of(container, field).items():
            total[name] = total.get(name, Decimal(0)) + value
    return total


def _largest(total: dict[str, Decimal], starting: Iterable[Any], field: str) -> dict[str, Decimal]:
    """Init containers run one after the other, before the others."""
    for container in starting:
        for name, value in _of(container, field).items():
            total[name] = max(total.get(name, Decimal(0)), value)
    return total


def _limits(containers: Iterable[Any]) -> Iterable[dict[str, Decimal]]:
    return (_of(each, "limits") for each in containers)


def _of(container: Any, field: str) -> dict[str, Decimal]:
    return _quantities(getattr(container.resources, field, None))


def _quantities(values: Mapping[str, str] | None) -> dict[str, Decimal]:
    return {name: Decimal(parse_quantity(value)) for name, value in (values or {}).items()}
