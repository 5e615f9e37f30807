"""Commands of an operation to its cluster's lease, and the lease's replies."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from galera_backup.models.common import ClusterRef, Model
from galera_backup.models.mark import PrimaryMove, StartRecipe
from galera_backup.models.restore import ClaimReport, Strategy
from galera_backup.models.site import Site


class LeaseRequest(Model):
    """Hold the cluster for one operation, at most for `ttl`."""

    site: Site
    operation: str
    """The word of its workflow type."""
    owner: str
    """Workflow id of the operation."""
    ttl: timedelta


# --- commands


class DesyncCommand(Model):
    """Take this replica out of flow control and out of the Services."""

    pod: str
    drain_timeout: timedelta
    others_in_sync: int
    """So many other members must be in sync at that moment."""
    unready_after: int | None = None
    """Seconds in which its readiness probe must fail for the pod to be Not Ready; None: not known."""


class CleanUpCommand(Model):
    """Remove what earlier restores left on the volumes now, and what this one leaves when the lease ends."""

    strategy: Strategy
    """Where copies are: `rolling` unpacks on the backup volume, `staged` on the data volumes."""
    restore_id: str
    claims: tuple[str, ...]
    """Data claims by ordinal."""
    first_ordinal: int = 0
    runner_pod_prefix: str
    keep_previous_for: timedelta = timedelta(0)
    """The previous data stays beside the restored data for so long."""
    is_rollback: bool = False
    """Until the swap the data directories hold the restored data, and the previous data is beside it."""

    @classmethod
    def of(cls, recipe: StartRecipe, keep_previous_for: timedelta = timedelta(0)) -> CleanUpCommand:
        """For the operation with this recipe."""
        return cls(
            strategy=recipe.strategy,
            restore_id=recipe.restore_id,
            claims=recipe.claims,
            first_ordinal=recipe.first_ordinal,
            runner_pod_prefix=recipe.runner_pod_prefix,
            keep_previous_for=keep_previous_for,
            is_rollback=recipe.is_rollback,
        )


class StopCommand(Model):
    """Scale the StatefulSet to 0, and note that runner pods may change data from the reply on."""

    recipe: StartRecipe
    """How it is started again, whoever has to."""
    stop_timeout: timedelta


class RenewCommand(Model):
    """Write the mark of a stopped cluster again: runner pods rename data once more, and need it."""

    restored_failed: bool = False
    """The restored data must not be started again."""


class StartCommand(Model):
    """Scale the StatefulSet back; `claims` is what the operation knows of the data it wrote."""

    claims: tuple[ClaimReport, ...]
    may_stop_again: bool = False
    """The operation will judge the cluster: it stays marked until the lease ends, and may be stopped once more."""
    first_alone: bool = False
    """Only the first replica: it serves, marked, while the operation goes on with the claims of the others."""


CommandName = Literal["desync", "resync", "clean_up", "stop", "renew", "start"]
"""The signal of each. `resync` has no argument."""


# --- replies


class LeaseReply(Model):
    """The lease's reply to one command, keyed by the lease's run: a reset owner sees old replies again."""

    lease_run: str
    command: CommandName | Literal["end"]
    """`end` replies to nothing: the lease ends before it was released, and waits for its owner to end its work."""
    error_type: str | None = None
    message: str = ""
    seconds: float = 0
    """`resync`: how long the replica was desynced. `start`: how long the StatefulSet was stopped."""
    drained: bool = True
    moved: PrimaryMove | None = None
    """`desync`: what else its owner must undo, should the lease be terminated."""


class LeaseResult(Model):
    """Why the lease ended. It ends in sync, or it fails."""

    reason: str
    claims: tuple[ClaimReport, ...] = ()
    """The data claims on which it started a stopped cluster."""
    untidy: tuple[str, ...] = ()
    """Claims on which copies of the data may be left."""
    kept_until: datetime | None = None
    """So long the previous data is kept beside the restored data."""


class LeaseStatus(Model):
    """Reply of the lease's query `status`."""

    cluster: ClusterRef
    operation: str
    owner: str
    phase: str
    replica: str | None
    reason: str | None
    """Why the lease is ending, when it is."""
    until: datetime
    """When its time to live is over."""
