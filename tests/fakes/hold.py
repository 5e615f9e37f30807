"""Pods that hold the names of stopped replicas."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kubernetes.client import V1Pod

from galera_backup import names
from galera_backup.errors import ClusterNotFound, KubernetesUnavailable
from galera_backup.kube.facts import PodFacts

_NUMBERS = itertools.count(1)


@dataclass
class Hold:
    """It never runs, and only its release removes it."""

    name: str
    labels: Mapping[str, str]
    annotations: dict[str, str]
    version: int = 1
    uid: str = field(default_factory=lambda: f"hold-{next(_NUMBERS)}")

    def facts(self) -> PodFacts:
        """As the gateway reads it."""
        return PodFacts(
            name=self.name,
            uid=self.uid,
            phase="Pending",
            ready=False,
            deleting=False,
            node="",
            ip="",
            labels=self.labels,
            annotations=dict(self.annotations),
            resource_version=str(self.version),
            reason="",
            message="",
            ended={},
            waiting={},
            unscheduled="",
            gated=True,
        )


class Holds(dict[str, Hold]):
    """By name."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def create(self, pod: V1Pod) -> None:
        """One of this name may be there already."""
        name = pod.metadata.name
        if name not in self:
            self[name] = Hold(name, dict(pod.metadata.labels), dict(pod.metadata.annotations))
            self._note(f"hold {name}")

    def take(self, facts: PodFacts, owner: str) -> None:
        """Errors: 404 and 409."""
        found = self.get(facts.name)
        if found is None:
            raise ClusterNotFound(f"patching pod {facts.name!r}: it does not exist")
        self._check(facts, found)
        found.annotations[names.HOLD_OWNER_ANNOTATION] = owner
        found.version += 1

    def release(self, facts: PodFacts) -> None:
        """Remove it, if it still is this one. The controller is not woken by that. Error: 409."""
        found = self.get(facts.name)
        if found is not None:
            self._check(facts, found)
            del self[facts.name]
            self._note(f"release {facts.name}")

    def _check(self, facts: PodFacts, found: Hold) -> None:
        if (facts.uid, facts.resource_version) != (found.uid, str(found.version)):
            raise KubernetesUnavailable(f"patching pod {facts.name!r}: Kubernetes answered 409 Conflict")
