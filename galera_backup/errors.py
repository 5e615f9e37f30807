"""The error tree. A class says whether a retry can help; its name is the type that Temporal and its UI show.

    GaleraBackupError
    ├── InvalidInput, InternalError, NotYet*
    ├── ClusterError          the cluster, or what an operation did to it
    │   ├── ClusterBusy, ClusterNotFound, ClusterUnhealthy, PreflightRefused, ClusterDegraded, LeaseLost
    │   ├── DesyncFailed, ScaleFailed, ClusterNotFormed, ClusterLeftStopped, ClusterLeftPartial, MarkUnreadable
    │   └── RestoreRejected, JanitorFailed
    ├── RunnerPodError        a runner pod and its work on backups and data
    │   ├── RunnerFailed, RunnerNotStarted, NotEnoughSpace, VersionMismatch
    │   ├── BackupFailed, BackupBlocked, BackupIncomplete, BackupExists, BackupNotFound, BackupDamaged
    │   └── RestoreFailed, PruneFailed
    ├── ServiceRefused        KubernetesRefused, DatabaseRefused, TemporalRefused
    ├── ServiceUnavailable*   KubernetesUnavailable*, QuotaExceeded*, DatabaseUnavailable*, TemporalUnavailable*
    └── CommandError          WorkerMissing, AnswerNotUnderstood, NotFound

`*`: a retry can help. The second level are families to catch; only their members are raised.

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
    """A bug in workflow code, raised as a failure so that every undo runs."""


class NotYet(GaleraBackupError):
    """What an activity waits for has not happened yet."""

    retryable = True


# --- the cluster and its lease


class ClusterError(GaleraBackupError):
    """The cluster is not as it must be, or could not be changed as it had to be."""


class ClusterBusy(ClusterError):
    """Another operation holds the cluster's lease."""


class ClusterNotFound(ClusterError):
    """A Kubernetes object that the request or the StatefulSet names does not exist, or is not of the expected shape."""


class ClusterUnhealthy(ClusterError):
    """The cluster check failed; the message has the table of what was seen."""


class PreflightRefused(ClusterError):
    """Something was seen that makes the operation dangerous or useless here; the message has the remedies."""


class ClusterDegraded(ClusterError):
    """Too few members were left in sync while one was backed up; it was resynced and the backup given up."""


class LeaseLost(ClusterError):
    """The lease ended, or the mark on the cluster names another one: the caller must not act any more."""


class MarkUnreadable(ClusterError):
    """An object carries a mark that this version cannot read, or cannot follow: it was not overwritten."""


class DesyncFailed(ClusterError):
    """The replica could not be taken out of the cluster's flow control or out of the Services."""


class ScaleFailed(ClusterError):
    """The StatefulSet could not be scaled, or its pods did not go or come."""


class RestoreRejected(ClusterError):
    """A person rejected the plan of a restore, or nobody approved it in time; nothing was changed."""


class ClusterNotFormed(ClusterError):
    """After a restore the pods are not Ready or do not form one cluster of the right size."""


class ClusterLeftStopped(ClusterError):
    """The StatefulSet stays at 0 replicas: its claims hold a mixture of old and restored data, or a start would lose
    something that was written."""


class ClusterLeftPartial(ClusterError):
    """The StatefulSet stays at less than its size: the first replicas serve the restored data, the claims of the others
    do not all hold it."""


class JanitorFailed(ClusterError):
    """What an abandoned operation left on the cluster could not be undone."""


# --- the runner and its work


class RunnerPodError(GaleraBackupError):
    """A runner pod failed, or could not do its work."""


class RunnerFailed(RunnerPodError):
    """The runner pod was killed, or ended without a report."""


class RunnerNotStarted(RunnerPodError):
    """The runner pod did not start: its image, node or volumes cannot be had. Another would fail in the same way."""


class NotEnoughSpace(RunnerPodError):
    """The backup volume or a data volume has too little free space."""


class BackupFailed(RunnerPodError):
    """mariadb-backup failed; nothing that counts as a backup was left."""


class BackupBlocked(RunnerPodError):
    """mariadb-backup waited too long for a lock that somebody holds; its replica was given back."""


class BackupIncomplete(RunnerPodError):
    """The stream of mariadb-backup lacks tables, or nobody can tell what it has. Another one would be as this one."""


class BackupExists(RunnerPodError):
    """Another run has stored, or is storing, a backup with the same id."""


class BackupNotFound(RunnerPodError):
    """There is no complete backup with this id."""


class BackupDamaged(RunnerPodError):
    """The backup's size or checksum is not what its manifest says."""


class VersionMismatch(RunnerPodError):
    """The backup was taken from a server whose version does not fit the one that would run on it."""


class RestoreFailed(RunnerPodError):
    """The restore failed; the message says in which state each claim and the cluster are."""


class PruneFailed(RunnerPodError):
    """The new backup is complete, but old ones could not be removed."""


# --- Kubernetes, MariaDB, Temporal


class ServiceRefused(GaleraBackupError):
    """Kubernetes, MariaDB or Temporal said no; the same call would be refused again."""


class ServiceUnavailable(GaleraBackupError):
    """Kubernetes, MariaDB or Temporal could not be reached, or is busy."""

    retryable = True


class KubernetesRefused(ServiceRefused):
    """The API server refused: missing permission, invalid object, wrong credentials."""


class KubernetesUnavailable(ServiceUnavailable):
    """The API server could not be reached, was busy, or had an internal error."""


class QuotaExceeded(ServiceUnavailable):
    """A ResourceQuota, whose name is the detail, has no room now: pods that go make room a moment later."""


class DatabaseRefused(ServiceRefused):
    """MariaDB refused: wrong password, missing privilege, wrong statement."""


class DatabaseUnavailable(ServiceUnavailable):
    """MariaDB could not be reached, or the connection was lost."""


class TemporalUnavailable(ServiceUnavailable):
    """The Temporal server could not be reached, or does not have the namespace (yet)."""


class TemporalRefused(ServiceRefused):
    """The Temporal server refused: missing permission, wrong credentials, wrong configuration."""


# --- the command line


class CommandError(GaleraBackupError):
    """A command got no result, for a reason that is not an operation's."""


class WorkerMissing(CommandError):
    """No worker polls the task queue, so the run will not proceed."""


class AnswerNotUnderstood(CommandError):
    """The worker's result does not fit the models of this version."""


class NotFound(CommandError):
    """There is no such run or schedule."""


def by_name(name: str) -> type[GaleraBackupError]:
    """The error class called `name`; `InternalError` for a name that this version does not know."""
    found = globals().get(name)
    if isinstance(found, type) and issubclass(found, GaleraBackupError):
        return found
    return InternalError
