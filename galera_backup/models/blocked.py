"""A statement of mariadb-backup that waits for a lock, and what may hold it."""

from __future__ import annotations

from galera_backup.models.common import Facts


class Statement(Facts):
    """One connection of a server, and what it does."""

    id: int
    user: str
    seconds: int
    text: str


class BackupWait(Facts):
    """How long the tool has waited."""

    seconds: int
    state: str
    """As the server calls it: `Waiting for backup lock`."""
    running: tuple[Statement, ...] = ()
    """What else runs, the longest first."""
