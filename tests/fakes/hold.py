"""A pod that holds the name of a stopped replica."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from galera_backup.kube.facts import PodFacts

_NUMBERS = itertools.count(1)


@dataclass
class Hold:
    """It never runs, and only its release removes it."""

    name: str
    labels: Mapping[str, str]
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
            annotations={},
            resource_version="1",
            reason="",
            message="",
            ended={},
            waiting={},
            unscheduled="",
            gated=True,
        )
