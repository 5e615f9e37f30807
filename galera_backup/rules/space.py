"""Whether a restore has room."""

from __future__ import annotations

from galera_backup.models.jobs import CheckReport
from galera_backup.models.volumes import STAGING_RESERVE

RESTORE_RESERVE = 1.05
"""Space that restored data needs, as a multiple of what it used: redo log and temporary tablespace are made anew."""


def lacking_space(report: CheckReport, data_kb: int, claim: str) -> str | None:
    """Why a data volume is too small for a backup that used `data_kb`, or None. Its old data will be removed."""
    needed = int(data_kb * RESTORE_RESERVE)
    room = report.data_free_kb + report.data_used_kb
    if room >= needed:
        return None
    return f"claim {claim!r}: expected room for {needed} KB, it has {room} KB once its old data is removed"


def lacking_staging_space(report: CheckReport, data_kb: int, claim: str) -> str | None:
    """Why a second copy does not fit on a data volume, or None. Its replica goes on serving, and needs room too."""
    needed = int(data_kb * RESTORE_RESERVE + report.data_total_kb * STAGING_RESERVE)
    free = report.data_free_kb + report.copies_kb
    if free >= needed:
        return None
    return (
        f"claim {claim!r}: expected {needed} KB free for a second copy and {STAGING_RESERVE:.0%} of the volume for the "
        f"live one, it has {free} KB"
    )


def lacking_unpack_space(report: CheckReport, data_kb: int, claim: str) -> str | None:
    """Why the backup volume is too small to unpack a backup that used `data_kb`, or None."""
    needed = int(data_kb * RESTORE_RESERVE)
    if report.backup_free_kb >= needed:
        return None
    return f"backup claim {claim!r}: expected {needed} KB free to unpack the backup, it has {report.backup_free_kb} KB"
