"""Whether the volumes have room for a restore."""

from __future__ import annotations

from galera_backup.models.reports import CheckReport
from galera_backup.models.volumes import STAGING_RESERVE

RESTORE_RESERVE = 1.05
"""Space that restored data needs, as a multiple of what it used: it gets a new redo log and temporary tablespace."""


def lacking_backup_space(report: CheckReport, ratio: float, claim: str) -> str | None:
    """Why the backup volume is too small for another backup (the formula of MOSK's backup workflow), or None."""
    needed = int(report.data_used_kb * ratio)
    if report.backup_free_kb > needed:
        return None
    return (
        f"backup claim {claim!r}: expected more than {needed} KB free = {report.data_used_kb} KB of data x required "
        f"space ratio {ratio}, it has {report.backup_free_kb} KB free"
    )


def lacking_space(report: CheckReport, data_kb: int, claim: str) -> str | None:
    """Why a data volume is too small for a backup that used `data_kb` once its old data is removed, or None."""
    needed = int(data_kb * RESTORE_RESERVE)
    if report.has_snapshots:
        room, how = report.data_free_kb, "free, and snapshots of its file system may keep what is removed"
    else:
        room, how = report.data_free_kb + report.data_used_kb, "once its old data is removed"
    if room >= needed:
        return None
    return f"claim {claim!r}: expected room for {needed} KB, it has {room} KB {how}"


def lacking_staging_space(report: CheckReport, data_kb: int, claim: str) -> str | None:
    """Why a second copy does not fit on a data volume beside the live data, which may grow meanwhile; or None."""
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
