"""Ids, pod names, labels and annotations. They are derived, so that a second attempt finds what the first one made."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from galera_backup.models.common import ClusterRef

TASK_QUEUE = "galera-backup"
"""Default task queue of operations. The leases, with all that undoes, have a queue of their own."""

BACKUP_RUNNER_PREFIX = "mariadb-phy-backup-runner"
RESTORE_RUNNER_PREFIX = "openstack-mariadb-phy-restore-runner"
JANITOR_RUNNER_PREFIX = "mariadb-phy-janitor"

LEASE_ANNOTATION = "galera-backup/lease"
"""On a pod: who desynced it. On a StatefulSet: who scaled it to 0. JSON of `models.mark.Mark`."""
LAST_LEASE_ANNOTATION = "galera-backup/last-lease"
"""On a pod or a StatefulSet: run id of the lease whose changes of it are undone, or are being undone."""
LEASE_GATE = "galera-backup/lease"
"""Scheduling gate of a runner pod, removed when its lease was seen open after the pod was created."""
ATTEMPT_ANNOTATION = "galera-backup/attempt"
"""On a runner pod: which attempt of its activity has created it."""
RUN_LABEL = "galera-backup/run"
"""On a runner pod: run id of the workflow that started it."""
LEASE_LABEL = "galera-backup/lease-run"
"""On a runner pod: run id of the lease under which it works."""
HOLD_GATE = HOLD_FINALIZER = "galera-backup/hold"
"""Scheduling gate and finalizer of a pod that holds the name of a stopped replica."""
HOLD_LABEL = "galera-backup/holds"
"""On such a pod: the StatefulSet."""
HOLD_OWNER_ANNOTATION = "galera-backup/held-by"
"""On such a pod: run id of the lease that made it."""
HOLD_WHY_ANNOTATION = "galera-backup/why"
"""On such a pod: a sentence for whoever finds it."""
RELEASED_ANNOTATION = "galera-backup/released"
"""On a StatefulSet: when names of its replicas were released while it wanted them: the change wakes its controller."""
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "galera-backup"
CLUSTER_LABEL = "galera-backup/statefulset"


_HASH = 8
RUNNER_PREFIX_LIMIT = 63 - 1 - _HASH - 1 - len("prove-up-9999-2")
"""Characters of a prefix, so that the name of every part fits."""


def lease_queue(task_queue: str) -> str:
    """Task queue of the lease: a resync never waits behind a backup."""
    return f"{task_queue}-lease"


def operation_queue(lease_queue: str) -> str:
    """Task queue of the operations, as a lease sees it from its own."""
    return lease_queue.removesuffix("-lease")


def lease_id(cluster: ClusterRef) -> str:
    """Workflow id of the cluster's lease. Fixed: at most one is open, so at most one operation runs."""
    return f"galera-lease/{cluster}"


def operation_id(operation: str, cluster: ClusterRef, at: datetime) -> str:
    """Workflow id of an operation that a starter starts; `operation` is `backup`, `restore`, ..."""
    return f"galera-{operation}/{cluster}/{timestamp(at)}"


def tidy_id(cluster: ClusterRef, restore_id: str) -> str:
    """Workflow id of what removes the data that a restore has kept, when its time is over."""
    return f"galera-tidy/{cluster}/{restore_id}"


def schedule_id(cluster: ClusterRef) -> str:
    """Id of the schedule of a cluster's periodic backup."""
    return f"galera-backup/{cluster}"


def janitor_schedule_id(cluster: ClusterRef) -> str:
    """Id of the schedule of a cluster's janitor."""
    return f"galera-janitor/{cluster}"


def backup_id(at: datetime) -> str:
    """Id of a full backup that begins at `at`: a `models.manifest.BackupId`."""
    return f"{timestamp(at)}-full"


def timestamp(at: datetime) -> str:
    """UTC, to the second: `20261122T010000Z`."""
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def runner_pod(prefix: str, cluster: ClusterRef, run: str, part: str) -> str:
    """Name of a runner pod: `<prefix>-<hash>-<part>`, at most 63 characters, as a pod's host name has.

    `run`: of the workflow that starts it. So no other cluster of the namespace, and no other run, has a pod of this
    name; the two are on its labels too.
    """
    digest = hashlib.sha256(f"{cluster}/{run}".encode()).hexdigest()
    return f"{prefix}-{digest[:_HASH]}-{part}"


def pod(cluster: ClusterRef, ordinal: int) -> str:
    """Name of the member with this ordinal."""
    return f"{cluster.statefulset}-{ordinal}"


def ordinal(pod_name: str) -> int:
    """Ordinal of a StatefulSet's pod, as a number: 10 comes after 9."""
    return int(pod_name.rpartition("-")[2])
