"""Request and result of the workflow type GaleraCheck: what could keep a backup or a restore from succeeding."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from galera_backup.models.common import ClusterRef, Model
from galera_backup.models.preflight import Finding, Undertaking, refusing
from galera_backup.models.restore import Strategy
from galera_backup.models.site import SiteRequest


class CheckRequest(SiteRequest):
    """Look at a cluster. Needs no lease and changes nothing."""

    replicas: Annotated[int, Field(ge=1, le=99)] | None = None
    """Size of the cluster, where the StatefulSet is at 0 replicas."""
    strategy: Strategy = Strategy.STAGED
    """By which a restore would be done: each needs other pods."""
    accept: tuple[str, ...] = ()
    """Kinds of findings that do not count as refusing, where a person can know better."""


class CheckResult(Model):
    """What was found; nothing: nothing unusual."""

    cluster: ClusterRef
    findings: tuple[Finding, ...]
    health: tuple[str, ...] = ()
    """What is wrong with the cluster's health, for which a backup is refused, one sentence each."""
    accepted: tuple[str, ...] = ()

    def refuses(self, undertaking: Undertaking) -> bool:
        """Whether this operation would not begin."""
        unfit = bool(self.health) and undertaking == "backup"
        return unfit or bool(refusing(self.findings, undertaking, self.accepted))
