"""Input and result of each activity: what travels between a workflow and the worker's threads."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Generic, Literal, TypeVar

from pydantic import JsonValue

from galera_backup.models.common import ClusterRef, LeaseRef, Model, SecretRef
from galera_backup.models.manifest import Manifest
from galera_backup.models.mark import Mark
from galera_backup.models.runner import RunnerError, RunnerLog
from galera_backup.models.site import Site

JobT_co = TypeVar("JobT_co", bound=Model, covariant=True)


class Observe(Model):
    """Which cluster to look at, and as whom."""

    site: Site
    replicas: int | None = None
    """Where the StatefulSet is at 0 replicas: look at this many members and claims."""


class ReplicaTask(Model):
    """Act on one replica under a lease."""

    site: Site
    lease: LeaseRef
    pod: str
    mark: Mark
    """The mark that the replica gets, or has."""
    drain_until: datetime | None = None
    """When to set wsrep_desync=OFF although write-sets still wait; None: at once."""
    only_if_marked: bool = False
    """Undo only what carries the lease's mark. False: also what carries none; it is known that the lease did it."""
    others_in_sync: int = 0
    """Before it is desynced: so many other members must be in sync."""
    on_may_land: bool = True
    """A `SET GLOBAL wsrep_desync=ON` may still be in flight."""


class DesyncReport(Model):
    """The replica was seen desynced."""

    attempt: int = 1
    """More than 1: earlier attempts have ended, or were given up, and may still be under way."""


class ResyncReport(Model):
    """What it took until the replica was seen in sync."""

    was_desynced: bool
    """False: there was nothing to undo."""
    drained: bool
    """False: the receive queue was still long when the drain's time was over."""


class ScaleTask(Model):
    """Scale a StatefulSet under a lease."""

    site: Site
    mark: Mark
    """The mark that the StatefulSet gets, or has."""
    replicas: int
    """Replicas to scale up to; scaling down is always to 0, one after the other."""
    known_by: LeaseRef | None = None
    """The workflow run that knows that this lease stopped the StatefulSet: the lease, or its owner. While that run is
    open, a stopped StatefulSet without a mark has lost it, and is marked again. None: it is left alone."""
    undoing: bool = False
    """The lease may not scale down any more: a note of that which was removed with the mark is written again."""


class HoldTask(Model):
    """Hold the names of stopped replicas, or release them."""

    site: Site
    mark: Mark
    """The mark that the StatefulSet has."""
    pods: tuple[str, ...] | None
    """Their names; None: all that are held for this stop."""
    undoing: bool = False
    """The lease, open or not, is one whose changes are undone."""

    @property
    def owner(self) -> str:
        """Names one stop of a lease, or all of them once it is undone: other holds are not released or relied on."""
        run = self.mark.lease.run_id
        return run if self.undoing or self.mark.since is None else f"{run} {self.mark.since.isoformat()}"


class Revoked(Model):
    """What was found when a lease's right to change an object was taken away."""

    marked: bool
    """The object carries the lease's mark."""
    replicas: int = 0
    """Of a StatefulSet: how many it wants."""
    stopping_from: int = 0
    """By the lease's mark: how many ran when the stop began that has not taken all of them."""
    held: tuple[str, ...] = ()
    """Names of its replicas that are held: those cannot run, whatever it wants."""
    lost: tuple[str, ...] = ()
    """Data claims that are gone, or in whose place there is a new one."""


class FormTask(Model):
    """Wait until the pods are Ready and form one cluster, then put the primary label back."""

    site: Site
    lease: LeaseRef
    replicas: int
    """The first so many; more that the StatefulSet wants join them."""
    alone: bool = False
    """The names of the others are held, whatever the StatefulSet wants."""
    primary_pod: str | None
    first_role: str | None = None
    """Value of the primary label on the first replica where another one carries it."""
    uuids: tuple[str, ...] = ()
    """wsrep_cluster_state_uuid that it must have, one of these; empty: any."""
    stop: str
    """`HoldTask.owner` of the names that were held for its start."""
    may_fail: bool = False
    """There is other data to start on: a first server that ends again and again is not waited for."""


class RunnerTask(Model, Generic[JobT_co]):
    """Create, or adopt, one runner pod and watch it to its end. The parameter is the class of its job."""

    site: Site
    lease: LeaseRef | None
    """None: the runner only reads, so it needs no lease."""
    fence: Literal["none", "lease", "desynced", "stopped", "undo"]
    """What must hold before it starts: nothing, the lease open, and the mark on the replica or the StatefulSet.

    `undo`: the lease, open or not, is being undone, and the StatefulSet still carries its mark.
    """
    stopped_from: int = 0
    """With `stopped` and `undo`: the replicas from this ordinal on are stopped; those below it may serve."""
    begins: bool = False
    """With `stopped`: it is the first to change data. Where somebody has scaled the StatefulSet up, nothing begins."""
    pod: str
    run: str = ""
    """Run id of the workflow that starts it: a pod of this name that carries another one is not adopted."""
    job: JobT_co
    accounts: tuple[SecretRef, ...] = ()
    """Of a StageJob or an UnpackJob: the Secrets whose passwords it compares, or sets."""
    data_claim: str | None
    """Data claim to mount; None for a job that does not look at one."""
    server_volumes: tuple[str, ...] = ()
    """Volumes of the servers' pods that hold files which a tool needs where the server has them: keys."""
    tls: bool = False
    """The server of `replica` offers TLS, and may demand it."""
    prefer_node: str = ""
    """Where the data volume was attached last, in an outage."""
    replica: str | None = None
    """Pod of the cluster whose node the runner must share, where there is such a pod, and whose server it asks."""
    timeout: timedelta
    others_in_sync: int = 0
    """So many members beside `replica` must be in sync before it starts."""
    give_back_when_degraded: bool = False
    """They must stay so while it works, else it is stopped."""
    lock_wait: timedelta | None = None
    """How long mariadb-backup may wait for a lock on `replica`; None: nobody looks."""
    write_wait: timedelta | None = None
    """`replica` serves meanwhile: how long its clients' writes may wait; None: it is out of service."""


class RunnerOutcome(Model):
    """How a runner pod ended. A runner that failed is an outcome, not an error: the workflow decides."""

    log: RunnerLog
    error: RunnerError | None = None
    report: dict[str, JsonValue] | None = None
    """Of the model that the job names; None after an error."""
    deleted: bool = False
    """Somebody deleted the pod while it worked, so nobody tries again."""
    listed: tuple[Manifest, ...] = ()
    """Manifests that a ListJob printed."""
    runs_on: bool = False
    """A container that somebody else has put into the pod does not end: the pod still has its volumes."""


class RemoveRunners(Model):
    """Remove one runner pod, or every runner pod of a lease, and wait until they are gone."""

    cluster: ClusterRef
    pod: str | None = None
    run: str = ""
    """With `pod`: run id of the workflow that has started it; another run's pod of this name stays. Empty: any."""
    lease: LeaseRef | None = None


class LeaseName(Model):
    """The lease of a cluster, whatever run of it is open."""

    workflow_id: str


class LeaseHolder(Model):
    """Who holds a lease; `owner` is None when nobody does any more."""

    owner: str | None
    since: datetime | None = None
