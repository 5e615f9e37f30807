"""The message of a backup that was given up because somebody holds a lock."""

from __future__ import annotations

from datetime import timedelta

from galera_backup.models.blocked import BackupWait


def blocked(pod: str, seen: BackupWait, limit: timedelta) -> str:
    """Names the statements that may hold it."""
    running = "; ".join(
        f"connection {each.id} of {each.user!r} since {each.seconds} s: {each.text}" for each in seen.running
    )
    return (
        f"backup of {pod!r}: expected mariadb-backup to get its lock within {limit}, it has waited {seen.seconds} s "
        f"({seen.state}). Running there: {running or 'nothing that can be seen'}. The replica was given back; start "
        "the backup again when that has ended, or set 'lock_wait_timeout'"
    )


def stalled(pod: str, queue: int, limit: timedelta) -> str:
    """The appliers have stood still, with so many write-sets in the queue."""
    return (
        f"backup of {pod!r}: expected the replica to apply write-sets while mariadb-backup runs, it has applied none "
        f"for {limit} and {queue} wait. The tool stops it while it copies tables of Aria and MyISAM. The replica was "
        "given back; start the backup again at a quieter time, move large tables to InnoDB, or set 'lock_wait_timeout'"
    )
