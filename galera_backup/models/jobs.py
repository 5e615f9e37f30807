"""The jobs of a runner pod, each with its report. What all of them have is in `models.runner`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from galera_backup.models.backup import BackupFields
from galera_backup.models.clone import Clone, ClusterUuid
from galera_backup.models.common import ClusterRef, Model
from galera_backup.models.manifest import BackupId, Manifest
from galera_backup.models.passwords import PasswordMode
from galera_backup.models.reports import (
    CheckReport,
    Done,
    Inspection,
    ListReport,
    PruneReport,
    RestoreReport,
    StageReport,
    SwapReport,
    UnpackReport,
)
from galera_backup.models.runner import DataJob, Job, Needs, StoredLog

PAGE_LIMIT = 400
"""Manifests in one answer: about 1 KB each, and Temporal takes 2 MiB, a node's log file 10 MiB."""


class BackupReader(Model):
    """A job that reads backups: those of its cluster, or of the source of a clone."""

    cluster: ClusterRef
    clone: Clone | None = None
    uuid: ClusterUuid | None = None
    """wsrep_cluster_state_uuid that restored data gets instead of the backup's."""

    @property
    def owner(self) -> ClusterRef:
        """The cluster whose backups are read."""
        return self.clone.source if self.clone else self.cluster

    @property
    def unpack_script(self) -> tuple[str, ...]:
        """Unpack and prepare; then give the data its new identity."""
        return ("unpack", "adopt") if self.uuid else ("unpack",)


class BackupJob(BackupFields, DataJob[Manifest]):
    """Check the space, store the stream of mariadb-backup, write the manifest."""

    mode: Literal["backup"] = "backup"
    backup_id: BackupId
    replica: str
    node: str
    claim: str
    claim_uid: str
    lease_run: str
    in_service: bool = False
    """The replica serves meanwhile."""
    unsafe: bool = False
    problems: tuple[str, ...] = ()

    @property
    def needs(self) -> Needs:
        return Needs(backups="write", data="read", script=("client", "backup"), server=True, secrets="credentials")

    @property
    def stored_log(self) -> StoredLog:
        return StoredLog(self.cluster, self.backup_id)


class Pin(Model):
    """What keeps a backup."""

    restore_id: str
    lifetime: timedelta
    """The pin needs nobody who removes it."""


class CheckJob(BackupReader, DataJob[CheckReport]):
    """Look at one data volume, and, when `backup_id` is given, verify that backup. It changes nothing but a pin."""

    mode: Literal["check"] = "check"
    backup_id: BackupId | None = None
    before_backup: bool = False
    """Of this replica: the tools must fit its server, and reach it."""
    unpacks_backup: bool = False
    """The restore will unpack it on the backup volume."""
    pin: Pin | None = None
    """Keep the backup: it is another cluster's, whose retention does not see this restore's lease."""
    without_backups: bool = False
    """Nobody needs the backup volume: then its claim may be gone."""

    @property
    def writes_backups(self) -> bool:
        """A later pod will write to the backup volume. It is mounted so here too: whether that is possible depends on
        what the kubelet does to a volume then, and on what its file server answers."""
        return self.before_backup or self.unpacks_backup or self.pin is not None

    @property
    def needs(self) -> Needs:
        script = ("version", "client", "log_in") if self.before_backup else ("version",)
        return Needs(
            backups="none" if self.without_backups else "write" if self.writes_backups else "read",
            data="read",
            whole_volume=True,
            script=script if self.backup_id or self.before_backup else (),
            server=self.before_backup,
            secrets="credentials" if self.before_backup else "none",
            as_server=not self.before_backup,
        )


class InspectJob(DataJob[Inspection]):
    """Look at what a restore has left on one data claim, and prove which data is whole. Changes nothing."""

    mode: Literal["inspect"] = "inspect"
    restore_id: str
    in_outage: bool = False

    @property
    def needs(self) -> Needs:
        return Needs(data="read", whole_volume=True, in_outage=self.in_outage)


class RestoreJob(BackupReader, DataJob[RestoreReport]):
    """Restore one data volume from a backup; the first unpacks and prepares, the last removes what that made."""

    mode: Literal["restore"] = "restore"
    backup_id: BackupId
    restore_id: str
    """Names this restore: marks the data volumes and the scratch directory."""
    ordinal: int
    last: bool
    safe_to_bootstrap: bool
    while_serving: bool = False
    """Other replicas serve meanwhile."""

    @property
    def needs(self) -> Needs:
        return Needs(
            backups="write",
            data="write",
            whole_volume=True,
            script=self.unpack_script,
            in_outage=not self.while_serving,
        )

    @property
    def stored_log(self) -> StoredLog:
        return StoredLog(self.owner, self.backup_id, self.restore_id, str(self.ordinal))


class UnpackJob(BackupReader, Job[UnpackReport]):
    """Unpack and prepare a backup in the scratch directory of a restore, for its RestoreJobs to copy from; compare its
    passwords."""

    mode: Literal["unpack"] = "unpack"
    backup_id: BackupId
    restore_id: str

    @property
    def needs(self) -> Needs:
        return Needs(backups="write", script=(*self.unpack_script, "passwords"), secrets="accounts")

    @property
    def stored_log(self) -> StoredLog:
        return StoredLog(self.owner, self.backup_id, self.restore_id, "unpack")


class DiscardJob(Job[Done]):
    """Remove the scratch directories of restores from the backup volume."""

    mode: Literal["discard"] = "discard"
    keep: str | None = None
    """All but that of this restore: it is under way."""

    @property
    def needs(self) -> Needs:
        return Needs(backups="write")


class StageJob(BackupReader, DataJob[StageReport]):
    """Unpack and prepare a backup on the data volume of a replica, which goes on serving."""

    mode: Literal["stage"] = "stage"
    backup_id: BackupId
    restore_id: str
    safe_to_bootstrap: bool
    passwords: PasswordMode = "compare"

    @property
    def needs(self) -> Needs:
        script = (*self.unpack_script, "passwords")
        return Needs(backups="read", data="write", whole_volume=True, script=script, secrets="accounts")


class SwapJob(DataJob[SwapReport]):
    """Exchange what is in the data directory by renames; no server runs on it."""

    mode: Literal["swap"] = "swap"
    restore_id: str
    direction: Literal["in", "back"]
    """The staged data in, and the previous data aside; or the previous data back."""
    safe_to_bootstrap: bool | None = None
    """With `back`: what `grastate.dat` of the previous data shall say; None: as Galera left it."""

    @property
    def needs(self) -> Needs:
        return Needs(data="write", whole_volume=True, in_outage=True, stays=True)


class EmptyJob(DataJob[Done]):
    """Remove all data of a claim that lost its previous data, for a state transfer to fill it; no server runs on it."""

    mode: Literal["empty"] = "empty"
    restore_id: str

    @property
    def needs(self) -> Needs:
        return Needs(data="write", whole_volume=True, in_outage=True)


class BootstrapJob(DataJob[Done]):
    """Let the server of a claim form the cluster: say so in its `grastate.dat`. No server runs on it."""

    mode: Literal["bootstrap"] = "bootstrap"

    @property
    def needs(self) -> Needs:
        return Needs(data="write", whole_volume=True, in_outage=True)


class TidyJob(Job[Done]):
    """Remove what staged restores have left on a data volume."""

    mode: Literal["tidy"] = "tidy"
    keep: str | None = None
    """All but what this restore has there: it is under way, or kept."""
    only: str | None = None
    """Nothing but what this restore has there."""

    @property
    def needs(self) -> Needs:
        return Needs(data="write", whole_volume=True)


class PruneJob(Job[PruneReport]):
    """Remove the oldest complete backups beyond `keep`, and what failed runs left."""

    mode: Literal["prune"] = "prune"
    keep: int
    own: BackupId
    """The backup that this run has made: it stays."""

    @property
    def needs(self) -> Needs:
        return Needs(backups="write")


class ListJob(Job[ListReport]):
    """Print manifests of complete backups of the cluster, one JSON object a line: the newest ones, oldest first."""

    mode: Literal["list"] = "list"
    before: BackupId | None = None
    """Only backups that are older than this one."""
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = PAGE_LIMIT

    @property
    def needs(self) -> Needs:
        return Needs(backups="read")


RunnerJob = Annotated[
    BackupJob
    | CheckJob
    | InspectJob
    | RestoreJob
    | UnpackJob
    | DiscardJob
    | StageJob
    | SwapJob
    | EmptyJob
    | BootstrapJob
    | TidyJob
    | PruneJob
    | ListJob,
    Field(discriminator="mode"),
]
