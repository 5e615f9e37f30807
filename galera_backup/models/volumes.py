"""What restores write on a data volume: the marker in the data directory, the journal beside it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from galera_backup.models.common import Model
from galera_backup.models.manifest import BackupId, GaleraPosition
from galera_backup.models.passwords import PasswordReport

STAGING_RESERVE = 0.1
"""Part of a data volume that stays free while a second copy is made: its server stops when it is full."""


class ClaimMarker(Model):
    """`.galera-backup-restore.json` in a data directory: whether a restore has touched it, or finished it."""

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
