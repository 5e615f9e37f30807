"""Messages between an operation and its cluster's lease, and the mark that the lease leaves on the cluster."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import ConfigDict

from galera_backup.models.clone import Clone
from galera_backup.models.common import ClusterRef, LeaseRef, Model, PrimaryLabel
from galera_backup.models.restore import ClaimReport, Strategy
from galera_backup.models.site import Site

OperationName = Literal["backup", "restore", "rollback", "tidy", "janitor"]
"""Who may hold a cluster."""


class LeaseRequest(Model):
    """Hold the cluster for one operation, at most for `ttl`."""

    site: Site
    operation: OperationName
    owner: str
    """Workflow id of the operation."""
    ttl: timedelta


class DesyncOrder(Model):
    """Take this replica out of flow control and out of the Services."""

    pod: str
    drain_timeout: timedelta
    others_in_sync: int
    """So many other members must be in sync at that moment."""


class StopOrder(Model):
    """Scale the StatefulSet to 0. The rest is what the lease, or the janitor, needs to start it again by itself.

    Also the order to stage, which comes before: the lease removes what staging or unpacking leaves on the volumes.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")  # part of a mark: a newer worker may have written more

    site: Site
    strategy: Strategy = Strategy.IN_PLACE
    """When it was staged, the old data is on the volumes: a mixture goes back to it instead of being finished. When it
    is rolling, the first replica may serve already while it is finished."""
    replicas_before: int
    """Where to go back to when no claim was touched."""
    replicas: int
    """Size of the restored cluster."""
    restore_id: str
    backup_id: str = ""
    """What is restored: a restore that ends between two claims is finished, for a mixture cannot be started. Empty in
    a rollback."""
    clone: Clone | None = None
    """Of the backup of another cluster."""
    claims: tuple[str, ...]
    """Data claims by ordinal, 0 first."""
    runner_pod_prefix: str
    primary_pod: str | None
    """Pod that carried the primary label before the stop."""
    stop_timeout: timedelta
    runner_timeout: timedelta
    ready_timeout: timedelta
    keep_previous_for: timedelta = timedelta(0)
    """The old data stays beside the restored one for so long."""
    undoes: bool = False
    """It undoes a finished restore: the data directories hold the restored data when it begins."""


class StartOrder(Model):
    """Scale the StatefulSet back; `claims` is what the operation knows of the data it wrote."""

    claims: tuple[ClaimReport, ...]
    may_stop_again: bool = False
    """The operation will judge the cluster: it stays marked until the lease ends, and may be stopped once more."""
    first_alone: bool = False
    """Only ordinal 0, on its claim: it serves, marked, while the operation goes on with the claims of the others."""


OrderKind = Literal["desync", "resync", "stage", "stop", "start"]


class LeaseEvent(Model):
    """The lease's answer to one order, keyed by the lease's run: a reset owner sees old answers again."""

    lease_run: str
    order: OrderKind | Literal["end"]
    """`end` answers nothing: the lease ends before it was released, and waits for its owner to end its work."""
    error_type: str | None = None
    message: str = ""
    seconds: float = 0
    """`resync`: how long the replica was desynced. `start`: how long the StatefulSet was stopped."""
    drained: bool = True


class LeaseResult(Model):
    """Why the lease ended. It ends in sync, or it fails."""

    reason: str
    claims: tuple[ClaimReport, ...] = ()
    """The data claims on which it started a stopped cluster."""
    untidy: tuple[str, ...] = ()
    """Claims on which copies of the data may be left."""
    kept_until: datetime | None = None
    """So long the old data is kept beside the restored one."""


class LeaseStatus(Model):
    """Answer of the lease's query `status`."""

    cluster: ClusterRef
    operation: str
    owner: str
    phase: str
    replica: str | None
    reason: str | None
    """Why the lease is ending, when it is."""
    until: datetime
    """When its time to live is over."""


class HandOver(Model):
    """The primary label moves from a replica to its heir for the time of a backup."""

    label: PrimaryLabel
    heir: str
    """Pod that carries it meanwhile."""
    heir_role: str | None
    """Value of the label on the heir before; None: it had none."""


class Mark(Model):
    """The annotation `galera-backup/lease`: on a pod that we desynced, or on a StatefulSet that we stopped."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer worker may have written more

    lease: LeaseRef
    owner: str
    until: datetime
    handover: HandOver | None = None
    """On a pod that carried the primary label: what to put back."""
    replicas_before: int | None = None
    """On a StatefulSet: the replica count to go back to."""
    namespace: str | None = None
    """Temporal's own namespace, in which the lease is; None: written by an older version."""
    since: datetime | None = None
    """When it was written, just before its effect."""
    order: StopOrder | None = None
    """On a StatefulSet: what the janitor needs to start it, when the lease and its owner are gone."""
    tried_at: datetime | None = None
    """On a StatefulSet: when a janitor last found that its data cannot be started."""
    tried: str = ""
    """What it found then."""
