"""What every job of a runner pod has: what it needs of the pod, where it is logged, and how the agent answers.

A job travels as JSON in the agent container's environment (`GALERA_BACKUP_JOB`), its result as JSON in the termination
message (at most 4096 bytes) and, for a list, as JSON lines in the agent's log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar, cast

from pydantic import Field, model_validator

from galera_backup.models.common import ClusterRef, Model
from galera_backup.models.layout import Layout

Report = TypeVar("Report", bound=Model)
Access = Literal["none", "read", "write"]


@dataclass(frozen=True)
class Needs:
    """What a job needs of its pod. The pod gets nothing else."""

    backups: Access = "none"
    """The backup volume."""
    data: Access = "none"
    """The data claim of one replica."""
    whole_volume: bool = False
    """Mount the data volume from its root, not only the data directory: renames do not cross mounts."""
    script: tuple[str, ...] = ()
    """Files of `runner/scripts` that the mariadb container runs, one after the other. Empty: no tool of the server
    runs, so the pod has no mariadb container."""
    server: bool = False
    """The replica's server itself: the tools are of the image that it runs, and its address is known."""
    as_server: bool = False
    """Beside a running server it demands of the node what the template's pods will, when they are started again."""
    secrets: Literal["none", "credentials", "accounts"] = "none"
    """Of the mariadb container: the account that takes backups, or the accounts whose passwords are compared."""
    in_outage: bool = False
    """The database is down until the job has ended: no commit waits for the processor that the job takes."""
    stays: bool = False
    """Once the job has succeeded on a stopped cluster, its pod stays to the end of the lease: the start of the cluster
    does not wait for the removal."""


@dataclass(frozen=True)
class StoredLog:
    """A log that a job writes beside a backup: of the backup itself, or of a restore from it."""

    owner: ClusterRef
    """Whose backup it is."""
    backup_id: str
    restore_id: str | None = None
    part: str = ""
    """Of the restore: the ordinal of a claim, or `unpack`."""


class Job(Model, Generic[Report]):
    """Base of the jobs; the parameter is the model of the job's report."""

    cluster: ClusterRef

    @property
    def needs(self) -> Needs:
        """What the pod must have."""
        raise NotImplementedError

    @property
    def stored_log(self) -> StoredLog | None:
        """The log that the job leaves on the backup volume."""
        return None

    @classmethod
    def report_type(cls) -> type[Report]:
        """The model of the job's report."""
        metadata = (getattr(each, "__pydantic_generic_metadata__", {}) for each in cls.__mro__)
        return next(cast(type[Report], each["args"][0]) for each in metadata if each.get("origin") in (Job, DataJob))

    @classmethod
    def result_type(cls) -> type[RunnerResult[Report]]:
        """The model of the job's result."""
        return cast(type[RunnerResult[Report]], RunnerResult.__class_getitem__(cls.report_type()))


class DataJob(Job[Report], Generic[Report]):
    """Base of the jobs that work in the data directory on a data volume."""

    layout: Layout = Layout()
    """Where that is, and what must be in it."""


AnyJob = Job[Any]


# --- what the agent answers


RunnerErrorType = Literal[
    "NotEnoughSpace",
    "BackupFailed",
    "BackupIncomplete",
    "BackupExists",
    "BackupNotFound",
    "BackupDamaged",
    "DatabaseRefused",
    "RestoreFailed",
    "VersionMismatch",
    "RunnerFailed",
    "RunnerNotStarted",
]


class RunnerError(Model):
    """Why the agent failed: the name of a class in `galera_backup.errors` and a sentence for an operator."""

    type: RunnerErrorType
    message: Annotated[str, Field(max_length=1500)]


class RunnerResult(Model, Generic[Report]):
    """How a job ended: a report or an error, exactly one of them."""

    error: RunnerError | None = None
    report: Report | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> RunnerResult[Report]:
        if (self.error is None) == (self.report is None):
            raise ValueError("expected a report or an error, exactly one of them")
        return self


class RunnerLog(Model):
    """What is kept of a runner pod after it was removed."""

    pod: str
    node: str
    exit_code: int | None
    """Of the agent; None when it never ran to its end."""
    tail: str
    """Last lines of its log, at most 2000 characters."""
    path: str | None = None
    """Whole log on the backup volume."""
