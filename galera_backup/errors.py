"""The one error tree. A class says whether a retry can help; its name is the type that Temporal and its UI show.

Messages are whole sentences for an operator: what was being done, to which object, what was expected, what was seen
and what to do next. They are bounded, because Temporal copies them into the history several times.
"""

from __future__ import annotations

from typing import Any, ClassVar

from temporalio.exceptions import ApplicationError

from galera_backup.text import bounded


class GaleraBackupError(ApplicationError):
    """Base of all errors of this project."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *details: Any) -> None:
        super().__init__(bounded(message), *details, type=type(self).__name__, non_retryable=not self.retryable)


class InvalidInput(GaleraBackupError):
    """The request is wrong; the message lists every wrong field."""


class InternalError(GaleraBackupError):
    """A bug in workflow code, turned into a failure so that every cleanup runs."""


# --- the cluster and its lease


class ClusterBusy(GaleraBackupError):
    """Another operation holds the cluster's lease."""


class ClusterNotFound(GaleraBackupError):
    """A Kubernetes object that the request or the StatefulSet names does not exist, or is not of the expected shape."""


class ClusterUnhealthy(GaleraBackupError):
    """The cluster check failed; the message has the table of what was seen."""


class ClusterDegraded(GaleraBackupError):
    """Too few members were left in sync while one was backed up; it was given back and the backup given up."""


class LeaseLost(GaleraBackupError):
    """The lease ended, or the mark on the cluster names another one: whoever sees this must not act any more."""


class DesyncFailed(GaleraBackupError):
    """The replica could not be taken out of the cluster's flow control or out of the Services."""


class ScaleFailed(GaleraBackupError):
    """The StatefulSet could not be scaled, or its pods did not go or come."""


class RestoreRejected(GaleraBackupError):
    """A person rejected the plan of a restore, or nobody approved it in time; nothing was changed."""


class ClusterNotFormed(GaleraBackupError):
    """After a restore the pods are not Ready or do not form one cluster of the right size."""


class ClusterLeftStopped(GaleraBackupError):
    """The StatefulSet stays at 0 replicas, because its claims hold a mixture of old and restored data."""


class ClusterLeftPartial(GaleraBackupError):
    """The StatefulSet stays at less than its size: the first replicas serve the restored data, the claims of the others
    do not all hold it."""


class JanitorFailed(GaleraBackupError):
    """What an abandoned operation left on the cluster could not be mended."""


# --- the runner and its work


class RunnerFailed(GaleraBackupError):
    """The runner pod was killed, or ended without an answer."""


class RunnerNotStarted(GaleraBackupError):
    """The runner pod did not start: its image, node or volumes cannot be had. Another pod would fare no better."""


class NotEnoughSpace(GaleraBackupError):
    """The backup volume or a data volume has too little free space."""


class BackupFailed(GaleraBackupError):
    """mariadb-backup failed; nothing that counts as a backup was left."""


class BackupNotFound(GaleraBackupError):
    """There is no complete backup with this id."""


class BackupDamaged(GaleraBackupError):
    """The backup's size or checksum is not what its manifest says."""


class VersionMismatch(GaleraBackupError):
    """The backup was taken from a server whose version does not fit the one that would run on it."""


class RestoreFailed(GaleraBackupError):
    """The restore failed; the message says in which state each claim and the cluster are."""


class PruneFailed(GaleraBackupError):
    """The new backup is complete, but old ones could not be removed."""


# --- what the services said


class KubernetesRefused(GaleraBackupError):
    """The API server said no: missing permission, invalid object, wrong credentials."""


class KubernetesUnavailable(GaleraBackupError):
    """The API server could not be reached, was busy, or had an internal error."""

    retryable = True


class DatabaseRefused(GaleraBackupError):
    """MariaDB said no: wrong password, missing privilege, wrong statement."""


class DatabaseUnavailable(GaleraBackupError):
    """MariaDB could not be reached, or the connection was lost."""

    retryable = True


class TemporalUnavailable(GaleraBackupError):
    """The Temporal server could not be reached, or does not have the namespace (yet)."""

    retryable = True


class TemporalRefused(GaleraBackupError):
    """The Temporal server said no: missing permission, wrong credentials, wrong configuration."""


class NotYet(GaleraBackupError):
    """Something that is waited for has not come about yet."""

    retryable = True


# --- what a person at the command line meets


class WorkerMissing(GaleraBackupError):
    """No worker polls the task queue, so nothing will answer."""


class AnswerNotUnderstood(GaleraBackupError):
    """The worker's answer does not fit the models of this version."""


class NotFound(GaleraBackupError):
    """There is no such run or schedule."""


def by_name(name: str) -> type[GaleraBackupError]:
    """The error class called `name`; `InternalError` for a name that this version does not know."""
    found = globals().get(name)
    if isinstance(found, type) and issubclass(found, GaleraBackupError):
        return found
    return InternalError
