"""The id of a backup, and its manifest: written last, beside the stream; without one there is no backup."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from galera_backup.models.common import ClusterRef, Model
from galera_backup.models.layout import Layout

BackupId = Annotated[str, Field(pattern=r"^[0-9]{8}T[0-9]{6}Z-full$")]
"""UTC time and type, for example `20261122T010000Z-full`. As texts, ids are in the order of time."""
_BACKUP_ID: TypeAdapter[str] = TypeAdapter(BackupId)


def is_backup_id(text: str) -> bool:
    """Whether it has the form of one."""
    try:
        return bool(_BACKUP_ID.validate_python(text))
    except ValidationError:
        return False


class GaleraPosition(Model):
    """The write-set a data directory is at: cluster state UUID and sequence number."""

    uuid: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    seqno: Annotated[int, Field(ge=0)]
    domain_id: int | None = None
    """wsrep_gtid_domain_id, where the tool reports it."""

    def __str__(self) -> str:
        return f"{self.uuid}:{self.seqno}"


class LogSequenceNumbers(Model):
    """InnoDB LSNs of `xtrabackup_checkpoints`; they belong to one data directory."""

    from_lsn: int
    to_lsn: int
    last_lsn: int


class Manifest(Model):
    """All that a restore must know of a backup."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer version may have written more

    schema_version: Literal[1] = 1
    backup_id: BackupId
    type: Literal["full"] = "full"
    cluster: ClusterRef
    replica: str
    """Pod that was backed up."""
    node: str
    claim: str
    claim_uid: str
    lease_run: str
    """Run id of the lease under which it was taken: the same runner started twice recognises its own work."""
    position: GaleraPosition
    lsn: LogSequenceNumbers
    server_version: str
    tool_version: str
    stream: str
    """Name of the stream, beside the manifest."""
    compression: Literal["zstd"] = "zstd"
    data_bytes: int
    """Bytes that the data directory used on disk."""
    unpacked_bytes: int = 0
    """Bytes that it unpacks to; 0: not known. More than it used where files had holes."""
    holes: float = 0
    """Part of its tablespaces that used no blocks, as of tables with page_compressed."""
    stream_bytes: int
    """Bytes of the uncompressed mbstream."""
    stored_bytes: int
    """Bytes of the compressed file."""
    sha256: str
    """Of the compressed file, in hex."""
    started_at: datetime
    finished_at: datetime
    layout: Layout = Layout()
    """Where the replica's data directory was on its volume, and what its configuration named in it."""
    ddl_blocked_seconds: int | None = None
    """Whole seconds in which mariadb-backup blocked DDL, and had desynced its server by itself; None: not known."""
    in_service: bool = False
    """The replica went on serving: its cluster could not do without it."""
    unsafe: bool = False
    """It has problems."""
    problems: tuple[str, ...] = ()
    """What was wrong with the cluster, and what the backup lacks, where the request said to go on: `allow_unsafe`,
    `accept`."""

    @property
    def room_kb(self) -> int:
        """KB that its data needs once it is unpacked."""
        return max(self.data_bytes, self.unpacked_bytes) // 1024
