"""The volumes of the fakes: a data claim with what restores leave on it, and the backup volume."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from galera_backup.failure import AgentError
from galera_backup.models.common import ClusterRef
from galera_backup.models.jobs import BackupJob, BootstrapJob, EmptyJob, InspectJob, RestoreJob, StageJob, SwapJob
from galera_backup.models.layout import Layout
from galera_backup.models.manifest import GaleraPosition, LogSequenceNumbers, Manifest
from galera_backup.models.passwords import PasswordReport
from galera_backup.models.previous import PreviousData, SavedState
from galera_backup.models.reports import Done, Inspection, SwapReport
from galera_backup.models.volumes import ClaimMarker, Journal, SwapState

CLUSTER_UUID = "0979c94d-e6ee-11f1-b6f6-93a976a0f1fb"


@dataclass
class Claim:
    """A data volume: which data it holds, and the restore's marker."""

    name: str
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    deleting: bool = False
    data: str = "live"
    """`live`, a backup id, `incomplete`, or `empty`: a state transfer fills it."""
    marker: ClaimMarker | None = None
    journal: Journal | None = None
    staged: str | None = None
    """The backup that lies beside the data."""
    previous: str | None = None
    """The previous data, while it lies beside the restored."""
    saved: SavedState | None = field(
        default_factory=lambda: SavedState(uuid=CLUSTER_UUID, seqno=100, safe_to_bootstrap=False)
    )
    """Of the previous data."""
    safe_to_bootstrap: bool = False
    was_killed: bool = False
    """Its server, when it left last."""
    written: int = 0
    """How often a restore in place has written it."""
    uuids: dict[str, str] = field(default_factory=dict)
    """The wsrep identity of restored data."""
    keeps_uuid: bool = False
    """Restored data has that of the backup, whatever the job says."""
    free_kb: int = 10_000_000
    used_kb: int = 1_000_000
    seen: Mapping[str, Any] = field(default_factory=dict)
    """What a pod that looks at it sees beside the sizes: fields of a `CheckReport`."""

    @property
    def cluster_uuid(self) -> str:
        """The identity with which a server would start."""
        return self.uuids.get(self.data, CLUSTER_UUID)

    def left_last(self, *, killed: bool) -> None:
        """What a server notes when it ends as the last one of its cluster."""
        self.was_killed, self.safe_to_bootstrap = killed, not killed
        self.saved = SavedState(uuid=CLUSTER_UUID, seqno=-1 if killed else 100, safe_to_bootstrap=not killed)

    def left_incomplete(self, restore_id: str | None = None) -> str:
        """What a restore, other than this one, has left half written; empty: nothing."""
        marker = self.marker
        if marker is None or marker.state != "restoring" or marker.restore_id == restore_id:
            return ""
        return f"restore {marker.restore_id} has not finished it"

    def lose_copies(self, *, with_data: bool) -> None:
        """What lies beside the data is removed, the journal included; `with_data`: by a state transfer to its replica.

        A state transfer leaves the data of the others, which run on the same, without the marker.
        """
        self.journal = self.staged = self.previous = None
        if with_data:
            self.marker = None

    def identify(self, job: RestoreJob | StageJob) -> None:
        """The data of this job's backup has the identity that the job says."""
        self.uuids[job.backup_id] = job.uuid or CLUSTER_UUID if not self.keeps_uuid else CLUSTER_UUID

    # --- what jobs of a staged restore do

    def journal_of(self, restore_id: str) -> Journal | None:
        """Of this restore."""
        return self.journal if self.journal is not None and self.journal.restore_id == restore_id else None

    def enter(self, restore_id: str, backup_id: str | None, state: SwapState) -> None:
        """Note in the journal how far it is."""
        self.journal = Journal(restore_id=restore_id, backup_id=backup_id, state=state, at=datetime.now(UTC))

    def inspect(self, job: InspectJob) -> Inspection:
        """What is proved; a marker without entries is that of a restore in place."""
        journal, marker = self.journal_of(job.restore_id), self.marker
        ours = marker is not None and (marker.restore_id, marker.state) == (job.restore_id, "restored")
        whole = ours and marker is not None and marker.entries is not None
        return Inspection(
            marker=marker,
            journal=journal,
            staged_whole=self.staged is not None and journal is not None and journal.state == SwapState.STAGED,
            restored_whole=whole and (journal is None or journal.state == SwapState.SWAPPED),
            previous=self._previous(journal) if journal is not None else None,
            saved=self.saved and self.saved.model_copy(update={"safe_to_bootstrap": self.safe_to_bootstrap}),
            left_incomplete=self.left_incomplete(job.restore_id),
        )

    def _previous(self, journal: Journal) -> PreviousData:
        if journal.state in (SwapState.STAGING, SwapState.STAGED, SwapState.RETURNED) or self.previous:
            return PreviousData(whole=True, saved=self.saved)
        return PreviousData(whole=False, problem=f"the fake lost it, its journal says {str(journal.state)!r}")

    def begin_to_swap(self, job: SwapJob) -> None:
        """Between two renames."""
        journal = self.journal_of(job.restore_id)
        if journal is None or journal.state in (SwapState.STAGING, SwapState.RETURNED, SwapState.EMPTIED):
            return
        if job.direction == "in" and journal.state == SwapState.STAGED:
            self.previous, self.data = self.data, "incomplete"
            self.enter(job.restore_id, journal.backup_id, SwapState.IN)
        if job.direction == "back" and journal.state != SwapState.STAGED and self._previous(journal).whole:
            self.data, self.marker = "incomplete", None
            self.enter(job.restore_id, journal.backup_id, SwapState.BACK_OUT)

    def swap(self, job: SwapJob) -> SwapReport:
        """The renames that are left."""
        journal = self.journal_of(job.restore_id)
        if journal is None:
            raise AgentError("RestoreFailed", "there is no journal, nothing says what the data directory holds. Stop")
        if job.direction == "in" and journal.state != SwapState.SWAPPED:
            if journal.state != SwapState.IN or self.staged is None or journal.backup_id is None:
                message = f"expected staged data, the journal says {journal.state}. Start the restore again"
                raise AgentError("RestoreFailed", message)
            self.data, self.staged = self.staged, None
            self.marker = ClaimMarker(
                restore_id=job.restore_id,
                backup_id=journal.backup_id,
                state="restored",
                at=datetime.now(UTC),
                entries=("ibdata1",),
            )
            self.enter(job.restore_id, journal.backup_id, SwapState.SWAPPED)
        if job.direction == "back":
            self._swap_back(job, journal)
        assert self.journal is not None
        return SwapReport(state=self.journal.state)

    def _swap_back(self, job: SwapJob, journal: Journal) -> None:
        found = self._previous(journal)
        if not found.whole:
            raise AgentError("RestoreFailed", f"expected the previous data whole, seen: {found.problem}. Stop")
        if job.safe_to_bootstrap is not None:
            self.safe_to_bootstrap = job.safe_to_bootstrap
        if journal.state == SwapState.BACK_OUT:
            assert self.previous is not None
            self.data, self.previous = self.previous, None
            self.enter(job.restore_id, journal.backup_id, SwapState.RETURNED)

    def empty(self, job: EmptyJob) -> Done:
        """All data of a claim that lost its previous data goes."""
        journal = self.journal_of(job.restore_id)
        if journal is not None and self._previous(journal).whole:
            raise AgentError("RestoreFailed", "expected a claim that lost its previous data. Swap it back")
        self.data, self.marker, self.staged, self.previous = "empty", None, None, None
        self.enter(job.restore_id, journal.backup_id if journal else None, SwapState.EMPTIED)
        return Done()

    def bootstrap(self, job: BootstrapJob) -> Done:
        """Its server may form the cluster."""
        self.safe_to_bootstrap = True
        return Done()


@dataclass
class BackupVolume:
    """The claim with the backups."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    unpacked: set[tuple[ClusterRef, str]] = field(default_factory=set)
    """Restores whose scratch directory is there, with the cluster that is restored."""
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
            layout=job.layout if job else Layout(),
            in_service=job.in_service if job else False,
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
        """Remove the scratch directories of a cluster's restores, but that of the restore `keep`."""
        self.unpacked = {each for each in self.unpacked if each[0] != cluster or each[1] == keep}
