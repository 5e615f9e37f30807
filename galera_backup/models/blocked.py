"""A statement of mariadb-backup that waits for a lock, and what may hold it."""

from __future__ import annotations

from galera_backup.models.common import Facts


class Statement(Facts):
    """One connection of a server, and what it does."""

    id: int
    user: str
    seconds: int
    text: str
    """`idle`: it runs nothing, and may hold a lock all the same."""


class BackupWait(Facts):
    """How long the tool has waited."""

    seconds: int
    state: str
    """As the server calls it: `Waiting for backup lock`."""
    running: tuple[Statement, ...] = ()
    """Who may hold the lock: who writes first, then who reads, then who is idle; the longest first."""
