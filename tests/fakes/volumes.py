"""The volumes of a fake cluster: data claims, and the volume with its backups."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from galera_backup.models.common import ClusterRef
from galera_backup.models.jobs import BackupJob, RestoreJob, StageJob
from galera_backup.models.manifest import GaleraPosition, LogSequenceNumbers, Manifest
from galera_backup.models.passwords import PasswordReport
from galera_backup.models.volumes import ClaimMarker, Journal

CLUSTER_UUID = "0979c94d-e6ee-11f1-b6f6-93a976a0f1fb"


@dataclass
class Claim:
    """A data volume: which data it holds, and the restore's marker."""

    name: str
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    data: str = "live"
    """`live`, a backup id, or `incomplete`."""
    marker: ClaimMarker | None = None
    journal: Journal | None = None
    staged: str | None = None
    """The backup that lies beside the data."""
    previous: str | None = None
    """The old data that lies beside the restored."""
    safe_to_bootstrap: bool = False
    written: int = 0
    """How often a restore in place has written it."""
    uuids: dict[str, str] = field(default_factory=dict)
    """The wsrep identity of restored data."""
    free_kb: int = 10_000_000
    used_kb: int = 1_000_000

    @property
    def cluster_uuid(self) -> str:
        """The identity with which a server would start."""
        return self.uuids.get(self.data, CLUSTER_UUID)

    def identify(self, job: RestoreJob | StageJob) -> None:
        """The data of this job's backup has the identity that the job says."""
        self.uuids[job.backup_id] = job.clone.uuid if job.clone is not None else CLUSTER_UUID


@dataclass
class BackupVolume:
    """The claim with the backups."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    unpacked: set[tuple[ClusterRef, str]] = field(default_factory=set)
    """Restores whose temporary directory is there, with the cluster that is restored."""
    free_kb: int = 10_000_000
    passwords: PasswordReport = field(default_factory=lambda: PasswordReport(same=1))
    """What comparing them finds."""

    def store(
        self, backup_id: str, cluster: ClusterRef, replica: str = "mariadb-server-2", job: BackupJob | None = None
    ) -> Manifest:
        """A complete backup."""
        manifest = Manifest(
            backup_id=backup_id,
            cluster=cluster,
            replica=job.replica if job else replica,
            node=job.node if job else "node-1",
            claim=job.claim if job else "claim",
            claim_uid=job.claim_uid if job else "uid",
            lease_run=job.lease_run if job else "run",
            position=GaleraPosition(uuid=CLUSTER_UUID, seqno=42),
            lsn=LogSequenceNumbers(from_lsn=0, to_lsn=1, last_lsn=1),
            server_version="10.11.19-MariaDB",
            stream="backup.mbs.zst",
            tool_version="10.11.19-MariaDB",
            data_bytes=1_000_000 * 1024,
            stream_bytes=900_000 * 1024,
            stored_bytes=400_000 * 1024,
            sha256="0" * 64,
            started_at=datetime.now(UTC),
            finished_at=datetime.now(UTC),
            unsafe=job.unsafe if job else False,
            problems=job.problems if job else (),
        )
        self.manifests[backup_id] = manifest
        return manifest

    def remove_unpacked(self, cluster: ClusterRef, keep: str | None = None) -> None:
        """Remove the temporary directories of a cluster's restores, but that of the restore `keep`."""
        self.unpacked = {each for each in self.unpacked if each[0] != cluster or each[1] == keep}
