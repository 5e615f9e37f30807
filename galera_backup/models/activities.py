"""Input and result of each activity: what travels between a workflow and the worker's threads."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from galera_backup.models.common import ClusterRef, LeaseRef, Model, PrimaryLabel, SecretRef
from galera_backup.models.lease import Mark
from galera_backup.models.manifest import Manifest
from galera_backup.models.runner import RunnerJob, RunnerLog, RunnerResult


class Observe(Model):
    """Which cluster to look at, and as whom."""

    cluster: ClusterRef
    credentials: SecretRef
    container: str
    primary_label: PrimaryLabel | None = None


class ReplicaTask(Model):
    """Act on one replica under a lease."""

    cluster: ClusterRef
    lease: LeaseRef
    pod: str
    credentials: SecretRef
    container: str
    primary_label: PrimaryLabel | None = None
    drain_timeout: timedelta = timedelta(minutes=10)


class MarkReplica(Model):
    """Write the lease's mark on a replica before it is desynced."""

    cluster: ClusterRef
    pod: str
    mark: Mark


class DesyncReport(Model):
    """When the replica was seen desynced."""

    at: datetime


class ResyncReport(Model):
    """When the replica was seen in sync, and what it took."""

    at: datetime
    was_desynced: bool
    """False: there was nothing to undo."""
    drained: bool
    """False: the receive queue was still long when the drain's time was over."""


class HandOver(Model):
    """Which pod has the primary label now; None when the replica did not carry it."""

    primary: str | None


class StopTask(Model):
    """Scale a StatefulSet to 0 and wait until its pods are gone."""

    cluster: ClusterRef
    mark: Mark
    timeout: timedelta


class StartTask(Model):
    """Scale a StatefulSet back and wait until its pods are Ready and form one cluster."""

    cluster: ClusterRef
    lease: LeaseRef
    replicas: int
    credentials: SecretRef
    container: str
    primary_label: PrimaryLabel | None
    primary_pod: str | None
    timeout: timedelta


class StartReport(Model):
    """When the cluster was seen whole."""

    at: datetime


class RunnerTask(Model):
    """Create, or adopt, one runner pod and watch it to its end."""

    cluster: ClusterRef
    lease: LeaseRef | None
    """None: the runner only reads, so it needs no lease."""
    fence: Literal["none", "lease", "desynced", "stopped"]
    """What must hold before it is created: nothing, the lease open, and the mark on the replica or the StatefulSet."""
    pod: str
    job: RunnerJob
    container: str
    credentials: SecretRef
    backup_claim: str
    data_claim: str | None
    """Data claim to mount; None for a job that does not look at one."""
    replica: str | None = None
    """Pod of the cluster whose node the runner must share, and whose server it asks."""
    run_as_user: int | None
    timeout: timedelta


class RunnerOutcome(Model):
    """How a runner pod ended. A runner that failed is an outcome, not an error: the workflow decides."""

    log: RunnerLog
    result: RunnerResult
    listed: tuple[Manifest, ...] = ()
    """Manifests that a ListJob printed."""


class RemoveRunners(Model):
    """Remove one runner pod, or every runner pod of a lease, and wait until they are gone."""

    cluster: ClusterRef
    pod: str | None = None
    lease: LeaseRef | None = None


class WaitClosed(Model):
    """Wait for the end of whatever run of this workflow is open."""

    workflow_id: str
