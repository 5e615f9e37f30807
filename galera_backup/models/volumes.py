"""What restores write on a data volume: the marker in the data directory, the journal beside it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from galera_backup.models.common import Model
from galera_backup.models.manifest import BackupId, GaleraPosition
from galera_backup.models.passwords import PasswordReport
from galera_backup.models.previous import DirectoryContent

STAGED_RESTORES = "#sql-galera-backup.sst"
"""Directory at the top of a data volume, which may be the data directory itself; `runner.staged` says what is in it.

A server hides names that begin with `#sql`, so neither mariadb-upgrade nor mariadb-dump takes it for a database; a
state transfer by mariadb-backup keeps names that end with `.sst` (tried with 10.11 and 11.8; one by rsync does not)."""
STAGING_RESERVE = 0.1
"""Part of a data volume that stays free while a second copy is made: its server stops when it is full."""


class ClaimMarker(Model):
    """`.galera-backup-restore.json` in a data directory: whether a restore has touched it, or finished it."""

    restore_id: str
    backup_id: BackupId
    state: Literal["restoring", "restored"]
    at: datetime
    entries: tuple[str, ...] | None = None
    """Names at the top of the data directory when a staged restore swapped its data in; None: not a staged restore."""


class SwapState(StrEnum):
    """How far a staged restore is on one data volume. It only ever goes on, in this order, or by one of the jumps."""

    STAGING = "staging"
    STAGED = "staged"
    OUT = "moving the previous data out"
    IN = "moving the staged data in"
    SWAPPED = "swapped"
    BACK_OUT = "moving the staged data out again"
    """Also from `moving the staged data in`."""
    BACK_IN = "moving the previous data back"
    """Also from `moving the previous data out`."""
    RETURNED = "returned"
    EMPTYING = "emptying the data directory"
    """From any state: its previous data was lost, and a state transfer from the other replicas shall fill it."""
    EMPTIED = "emptied"


class Journal(Model):
    """`<restore id>/journal.json` in `STAGED_RESTORES`: written, durably, before each step that it names."""

    restore_id: str
    backup_id: BackupId | None
    """None: of a claim that was emptied when it had no journal."""
    claim: str = ""
    """On whose volume it was written. A state transfer by rsync brings the donor's copies, journal and all."""
    state: SwapState
    position: GaleraPosition | None = None
    """Once it is staged: the one that InnoDB recovered, and that `grastate.dat` has."""
    files: int = 0
    """Of the staged data, when it was complete."""
    bytes: int = 0
    passwords: PasswordReport | None = None
    previous: DirectoryContent | None = None
    """What the data directory held before the first rename; None: there was none yet."""
    stays: tuple[str, ...] = ()
    """Names at the top of the data directory that no rename touches, as found before the first one."""
    at: datetime
