"""The messages of a backup that was given up: somebody holds a lock, or it holds up the cluster or its clients."""

from __future__ import annotations

from datetime import timedelta

from galera_backup.models.blocked import BackupWait
from galera_backup.text import bounded

_NAMED_CHARACTERS = 900
"""What is said of them; the remedy comes behind it."""


def blocked(pod: str, seen: BackupWait, limit: timedelta, *, serves: bool) -> str:
    """Names the statements that may hold it. `serves`: the replica was never taken out of service."""
    running = bounded(
        "; ".join(
            f"connection {each.id} of {each.user!r} since {each.seconds} s: {each.text}" for each in seen.running
        ),
        _NAMED_CHARACTERS,
    )
    return (
        f"backup of {pod!r}: expected mariadb-backup to get its lock within {limit}, it has waited {seen.seconds} s "
        f"({seen.state}). It may be held by: {running or 'nobody who can be seen'}. {_ended(serves)}; start the backup "
        "again when that has ended, or set 'lock_wait_timeout'"
    )


def stalled(pod: str, queue: int, limit: timedelta) -> str:
    """The appliers have stood still, with so many write-sets in the queue."""
    return (
        f"backup of {pod!r}: expected the replica to apply write-sets while mariadb-backup runs, it has applied none "
        f"for {limit} and {queue} wait. The tool stops it while it copies tables of Aria and MyISAM. The replica was "
        "given back; start the backup again at a quieter time, move large tables to InnoDB, or set 'lock_wait_timeout'"
    )


def writes_wait(pod: str, limit: timedelta) -> str:
    """Clients of a server that goes on serving have waited."""
    return (
        f"backup of {pod!r}: expected mariadb-backup to hold up a server that serves for less than {limit}; so long "
        "clients' writes there have waited, and were let go with the end of the backup. The tool holds them up while "
        "it copies tables outside of InnoDB, or waits for a long DDL statement. Start the backup again at a quieter "
        "time, move large tables to InnoDB, or set 'write_wait_timeout'"
    )


def falls_behind(pod: str, queue: int, since: timedelta) -> str:
    """The appliers work, and write-sets come faster."""
    return (
        f"backup of {pod!r}: expected the replica to keep up with the cluster while it is read, the queue of its "
        f"write-sets has grown for {since} and {queue} wait. It was given back, and catches up before it rejoins flow "
        "control; look for an ALTER TABLE or a large transaction that it applies, and at its disk, or lower "
        "'max_mb_per_second'"
    )


def _ended(serves: bool) -> str:
    return "The backup was given up" if serves else "The replica was given back"
