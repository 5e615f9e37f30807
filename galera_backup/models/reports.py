"""The reports of a runner pod's jobs."""

from __future__ import annotations

from galera_backup.models.common import Facts, Model
from galera_backup.models.manifest import BackupId, Manifest
from galera_backup.models.passwords import PasswordReport
from galera_backup.models.previous import PreviousData, SavedState
from galera_backup.models.volumes import ClaimMarker, Journal, SwapState

LISTED = 10
"""Names in one list of a report, which has to fit a termination message."""


class Done(Model):
    """Report of a job that has nothing to report."""


class CheckReport(Facts):
    """What a CheckJob saw. KB are 1024 bytes."""

    data_total_kb: int
    data_free_kb: int
    data_used_kb: int
    """Used by the data directory itself."""
    copies_kb: int = 0
    """Used by what staged restores have left, or keep, on the volume."""
    backup_free_kb: int = 0
    unpacked_kb: int = 0
    """Size of the files that a backup has: more than they use where they have holes, and what they unpack to."""
    read_kb: int = 0
    """Size of the files that mariadb-backup reads."""
    processors: int = 1
    """Of the node, as far as the pod may use them."""
    outside_innodb_kb: int = 0
    """Of tables of Aria, MyISAM and the like: the tool copies them while it blocks DDL."""
    volume_writable: bool = True
    """The runner's user may make names in the root of the data volume, by its owner and mode."""
    data_writable: bool = True
    """The same of the data directory."""
    backup_writable: bool = True
    """The same of the backups of the cluster, as the system says; of a job that mounts them to be written to."""
    data_at: tuple[str, ...] = ()
    """Directories that hold a server's data, from the root of the volume; `.` is that itself. Of this list and those
    below at most LISTED, and then how many more."""
    elsewhere: tuple[str, ...] = ()
    """Databases and tables whose files lie elsewhere, by a link."""
    not_backed_up: tuple[str, ...] = ()
    """Tables, with their engine, whose rows mariadb-backup does not read."""
    group: str | None = None
    """wsrep_cluster_state_uuid of the data, as `grastate.dat` has it; None: it does not say."""
    has_snapshots: bool = False
    """The file system shows snapshots, which may keep what is removed from it."""
    replication: tuple[str, ...] = ()
    """Files with the state of a replication from another cluster."""
    unreadable: tuple[str, ...] = ()
    """Directories that the runner's user may not list; `.` is the data directory, of which nothing is known then."""
    left_incomplete: str = ""
    """What says that an earlier restore has left the data incomplete; it counts only where no server runs."""
    staying: tuple[str, ...] = ()
    """Names at the top of the data directory that a restore leaves where they are."""
    going: tuple[str, ...] = ()
    """Names there that go with the old data, and that no server makes again: files of others, binlogs."""
    in_the_way: tuple[str, ...] = ()
    """Paths of the server's data that nothing can rename or remove, each with the reason."""
    manifest: Manifest | None = None


class Inspection(Model):
    """What one restore has left on a data claim. The lists of names in marker and journal are left out."""

    marker: ClaimMarker | None = None
    """Of whichever restore wrote it last."""
    journal: Journal | None = None
    """None: this restore has none here. It has staged nothing, or its directory was removed."""
    staged_whole: bool = False
    """The staged data is as it was when it was completed, and not swapped in."""
    restored_whole: bool = False
    """The data directory holds all that the swap of this restore has left in it."""
    previous: PreviousData | None = None
    """None: without a journal nothing is known of it."""
    saved: SavedState | None = None
    """What is in the data directory now, as `grastate.dat` has it; None: it does not say."""
    left_incomplete: str = ""
    """What says that another restore has left the data directory incomplete, before this one."""


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
    passwords: PasswordReport | None = None


class StageReport(Model):
    """What a StageJob did; seconds are 0 for what was there already."""

    unpack_seconds: float
    prepare_seconds: float
    staged_bytes: int
    passwords: PasswordReport | None = None


class SwapReport(Facts):
    """What a SwapJob left."""

    state: SwapState


class PruneReport(Model):
    """Ids that were removed, and how many complete backups are left."""

    pruned: tuple[str, ...]
    kept: int
    future: tuple[str, ...] = ()
    """Ids that are later than that of the backup which was just made."""


class ListReport(Model):
    """How many manifests the log has, and whether there are older ones."""

    count: int
    next: BackupId | None = None
    """What the job for the older ones gets as `before`; None: there are none."""
