"""What a worker asks of the agent in a runner pod (job) and what the agent answers (result).

The job travels as JSON in the agent container's environment (`GALERA_BACKUP_JOB`), the result as JSON in its
termination message (at most 4096 bytes) and, for a list, as JSON lines in its log.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from galera_backup.models.clone import BackupReader
from galera_backup.models.common import ClusterRef, Model
from galera_backup.models.manifest import BackupId, GaleraPosition, Manifest
from galera_backup.models.passwords import PasswordMode, PasswordReport


class BackupJob(Model):
    """Check the space, store the stream of mariadb-backup, write the manifest."""

    mode: Literal["backup"] = "backup"
    cluster: ClusterRef
    backup_id: BackupId
    replica: str
    node: str
    claim: str
    claim_uid: str
    lease_run: str
    required_space_ratio: float
    max_mb_per_second: float | None = None
    unsafe: bool = False
    problems: tuple[str, ...] = ()


class CheckJob(BackupReader):
    """Look at one data volume, and, when `backup_id` is given, verify that backup. Changes nothing."""

    mode: Literal["check"] = "check"
    backup_id: BackupId | None = None
    restore_id: str | None = None
    """Report what this restore has staged."""


class RestoreJob(BackupReader):
    """Restore one data volume from a backup; the first unpacks and prepares, the last removes what that made."""

    mode: Literal["restore"] = "restore"
    backup_id: BackupId
    restore_id: str
    """Names this restore: marks the data volumes and the temporary directory."""
    ordinal: int
    last: bool
    safe_to_bootstrap: bool
    while_serving: bool = False
    """Other replicas serve meanwhile."""


class UnpackJob(BackupReader):
    """Unpack and prepare a backup in the temporary directory of a restore, for its RestoreJobs to copy from."""

    mode: Literal["unpack"] = "unpack"
    backup_id: BackupId
    restore_id: str


class DiscardJob(Model):
    """Remove the temporary directories of restores from the backup volume."""

    mode: Literal["discard"] = "discard"
    cluster: ClusterRef
    keep: str | None = None
    """All but that of this restore: it is under way."""


class StageJob(BackupReader):
    """Unpack and prepare a backup on the data volume of a replica, which goes on serving."""

    mode: Literal["stage"] = "stage"
    backup_id: BackupId
    restore_id: str
    safe_to_bootstrap: bool
    passwords: PasswordMode = "compare"


class SwapJob(Model):
    """Exchange what is in the data directory by renames; no server runs on it."""

    mode: Literal["swap"] = "swap"
    cluster: ClusterRef
    restore_id: str
    direction: Literal["in", "back"]
    """The staged data in, and the old data aside; or the old data back."""


class TidyJob(Model):
    """Remove what staged restores have left on a data volume."""

    mode: Literal["tidy"] = "tidy"
    cluster: ClusterRef
    keep: str | None = None
    """All but what this restore has there: it is under way, or kept."""
    only: str | None = None
    """Nothing but what this restore has there."""


class PruneJob(Model):
    """Remove the oldest complete backups beyond `keep`, and what failed runs left."""

    mode: Literal["prune"] = "prune"
    cluster: ClusterRef
    keep: int


class ListJob(Model):
    """Print the manifest of every complete backup of the cluster, oldest first, one JSON object a line."""

    mode: Literal["list"] = "list"
    cluster: ClusterRef


RunnerJob = Annotated[
    BackupJob | CheckJob | RestoreJob | UnpackJob | DiscardJob | StageJob | SwapJob | TidyJob | PruneJob | ListJob,
    Field(discriminator="mode"),
]


def is_in_the_outage(job: RunnerJob) -> bool:
    """The database is down until it has ended: no commit waits for the processor that it takes."""
    return isinstance(job, SwapJob) or (isinstance(job, RestoreJob) and not job.while_serving)


class ClaimMarker(Model):
    """`.galera-backup-restore.json` in a data directory: says whether a restore has touched, or finished it."""

    restore_id: str
    backup_id: BackupId
    state: Literal["restoring", "restored"]
    at: datetime


class SwapState(StrEnum):
    """How far a staged restore is on one data volume. It only ever goes on, in this order, or by one of the jumps."""

    STAGING = "staging"
    STAGED = "staged"
    OUT = "moving the old data out"
    IN = "moving the staged data in"
    SWAPPED = "swapped"
    BACK_OUT = "moving the staged data out again"
    """Also from `moving the staged data in`."""
    BACK_IN = "moving the old data back"
    """Also from `moving the old data out`."""
    RETURNED = "returned"


class Journal(Model):
    """`.galera-backup/<restore id>/journal.json` on a data volume: written, durably, before each step that it names."""

    restore_id: str
    backup_id: BackupId
    state: SwapState
    position: GaleraPosition | None = None
    """Once it is staged: the one that InnoDB recovered, and that `grastate.dat` has."""
    files: int = 0
    """Of the staged data, when it was complete."""
    bytes: int = 0
    passwords: PasswordReport | None = None
    at: datetime


class CheckReport(Model):
    """What a CheckJob saw. KB are 1024 bytes."""

    data_total_kb: int
    data_free_kb: int
    data_used_kb: int
    """Used by the data directory itself."""
    copies_kb: int = 0
    """Used by what staged restores have left, or keep, on the volume."""
    backup_free_kb: int
    marker: ClaimMarker | None = None
    journal: Journal | None = None
    """Of the restore that was asked for; None: it has staged nothing here, or an SST has wiped it."""
    staged_whole: bool = False
    """The staged data is there as it was when it was completed."""
    has_previous: bool = False
    """The old data lies aside."""
    manifest: Manifest | None = None
    server_version: str | None = None
    """Version of the image's mariadb-backup, when a backup was verified."""


class RestoreReport(Model):
    """What a RestoreJob did; seconds are 0 for what was already there."""

    unpack_seconds: float
    prepare_seconds: float
    copy_seconds: float
    restored_bytes: int


class UnpackReport(Model):
    """What an UnpackJob did; seconds are 0 for what was there already."""

    unpack_seconds: float
    prepare_seconds: float
    prepared_bytes: int


class StageReport(Model):
    """What a StageJob did; seconds are 0 for what was there already."""

    unpack_seconds: float
    prepare_seconds: float
    staged_bytes: int
    passwords: PasswordReport | None = None


class SwapReport(Model):
    """What a SwapJob left."""

    state: SwapState | None = None
    """None: this restore has no journal here. It has touched nothing, or an SST has wiped what it kept aside."""
    renames: int
    """In this pod."""


class PruneReport(Model):
    """Ids that were removed, and how many complete backups are left."""

    pruned: tuple[str, ...]
    kept: int


class RunnerProgress(Model):
    """A line `{"progress": {...}}` in the agent's log, each few seconds."""

    stage: str
    """`backup`, `verify`, `unpack` or `copy`."""
    done_bytes: int
    total_bytes: int
    """0: not known. For a backup the bytes that the data directory uses, of which the stream is a part."""
    stored_bytes: int = 0
    """Compressed bytes, in a backup."""
    mb_per_second: float
    """10^6 bytes; since the stage began."""


RunnerErrorType = Literal[
    "NotEnoughSpace",
    "BackupFailed",
    "BackupNotFound",
    "BackupDamaged",
    "RestoreFailed",
    "VersionMismatch",
    "RunnerFailed",
    "RunnerNotStarted",
]


class RunnerError(Model):
    """Why the agent failed: the name of a class in `galera_backup.errors` and a sentence for an operator."""

    type: RunnerErrorType
    message: Annotated[str, Field(max_length=1500)]


class RunnerResult(Model):
    """The agent's answer: exactly one report, or an error."""

    error: RunnerError | None = None
    backup: Manifest | None = None
    check: CheckReport | None = None
    restore: RestoreReport | None = None
    unpack: UnpackReport | None = None
    stage: StageReport | None = None
    swap: SwapReport | None = None
    prune: PruneReport | None = None


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
