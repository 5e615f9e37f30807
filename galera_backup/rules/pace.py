"""Whether a backup can be read in the time that it has."""

from __future__ import annotations

from datetime import timedelta

from galera_backup.models.backup import MB_PER_SECOND_AND_PROCESSOR
from galera_backup.models.jobs import CheckReport


def reading_takes(report: CheckReport, mb_per_second: float | None) -> timedelta:
    """How long the tool reads the data that was seen; without a rate at that of one processor, the longest."""
    rate = mb_per_second or MB_PER_SECOND_AND_PROCESSOR
    return timedelta(seconds=round(report.data_used_kb * 1024 / (rate * 1e6)))


def too_slow(report: CheckReport, mb_per_second: float | None, limit: timedelta) -> str | None:
    """Why the data cannot be read within `limit` at the rate that a request sets, or None."""
    takes = reading_takes(report, mb_per_second)
    if mb_per_second is None or takes <= limit:
        return None
    return (
        f"runner_timeout: expected at least {takes}, which reading {report.data_used_kb} KB takes with "
        f"'max_mb_per_second': {mb_per_second:g}, got {limit}"
    )
