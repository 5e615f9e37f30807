"""Request, facts and result of the workflow type GaleraJanitor: what is left when even the lease was lost."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from galera_backup.models.cluster import MemberObservation
from galera_backup.models.common import (
    ClusterRef,
    KubernetesName,
    LeaseRef,
    Model,
    PhaseTime,
    PositiveDuration,
    SecretRef,
)
from galera_backup.models.mark import Mark
from galera_backup.models.site import Site


class JanitorRequest(Model):
    """Look for what an operation left whose lease is not open, and mend it."""

    cluster: ClusterRef
    credentials: SecretRef = SecretRef()
    container: KubernetesName | None = None
    """Name of the StatefulSet's container that runs the server; None: the one that mounts the data."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """On which the servers listen; None: as their container says, else 3306."""
    drain_timeout: PositiveDuration = timedelta(minutes=10)
    """How long a resync waits for the replica to catch up before it rejoins flow control anyway."""
    step_timeout: PositiveDuration = timedelta(minutes=5)
    """How long undoing one change may take beside the drain; meanwhile no other operation gets the cluster."""

    @property
    def site(self) -> Site:
        """The cluster, and how its server is reached."""
        return Site(
            cluster=self.cluster,
            credentials=self.credentials,
            container=self.container,
            port=self.port,
            primary_label=None,  # what is moved back is what the mark says
        )


# --- facts


class MarkSeen(Model):
    """A mark, and what Temporal knows of those who would undo what it stands for."""

    mark: Mark
    lease_open: bool
    """The run of the lease that it names is open; one that Temporal does not know is not."""
    owner_open: bool
    """The operation is open: it undoes by itself what its lease did."""
    elsewhere: bool = False
    """It was written from another Temporal namespace, whose leases cannot be asked for here."""


class MemberSeen(Model):
    """One member with its mark."""

    member: MemberObservation
    mark: MarkSeen | None = None
    unreadable: bool = False
    """It carries a mark that cannot be read."""


class RunnerSeen(Model):
    """A runner pod that works under a lease."""

    pod: str
    lease: LeaseRef
    lease_open: bool


class Survey(Model):
    """The cluster, its marks and its runner pods, as far as the janitor needs them."""

    cluster: ClusterRef
    replicas: int
    """`spec.replicas`."""
    members: tuple[MemberSeen, ...]
    mark: MarkSeen | None = None
    """On the StatefulSet."""
    unreadable: bool = False
    """The StatefulSet carries a mark that cannot be read."""
    runners: tuple[RunnerSeen, ...] = ()
    held: tuple[str, ...] = ()
    """Names of its replicas that pods of ours hold."""
    holder: str | None = None
    """Who holds the cluster's lease; None: nobody."""


class Remark(Model):
    """Replace the mark of its lease on the StatefulSet."""

    site: Site
    mark: Mark


# --- findings


class Verdict(StrEnum):
    """What a member, the StatefulSet or a runner pod is, in the janitor's eyes."""

    IN_SYNC = "in sync"
    HELD = "held by an open lease"
    OWNED = "its operation undoes it"
    ABANDONED = "abandoned"
    """Ours, and nobody is left who would undo it."""
    STALE_MARK = "stale mark"
    """All is well but for the mark of an operation that is gone."""
    DONOR = "donor"
    UNREADABLE = "unreadable mark"
    """It carries a mark that this version cannot read: a newer version wrote it, or it is damaged."""
    FOREIGN = "not ours"
    """Desynced, or scaled to 0, without our mark."""
    UNREACHABLE = "unreachable"
    NOT_IN_SYNC = "not in sync"
    NEWER = "by a newer version"
    """Our mark, with a recipe that only a newer version can follow."""
    STAYS_STOPPED = "stays stopped"
    """Our mark on a StatefulSet at 0 that must not, or cannot, be started now."""


class Finding(Model):
    """What was found of one object, as a sentence for an operator."""

    kind: Literal["replica", "statefulset", "runner"]
    name: str
    verdict: Verdict
    text: str


class Mended(Model):
    """What was put in order."""

    name: str
    text: str
    desynced_seconds: float | None = None
    """From the mark to being in service again; None: it was not desynced, or the mark does not say since when."""
    drained: bool = True
    """False: the receive queue was still long when the drain's time was over."""


class JanitorResult(Model):
    """What was found, what was mended, and what was left alone and why."""

    found: tuple[Finding, ...]
    mended: tuple[Mended, ...]
    left_alone: tuple[str, ...]
    """One sentence with the next step for each object that is not in order and that the janitor may not touch."""
    busy: str | None = None
    """Who held the cluster, so that nothing was mended."""
    looked_at: datetime
    phases: tuple[PhaseTime, ...] = ()
