"""Whether a backup can be read in the time that it has."""

from __future__ import annotations

from datetime import timedelta

from galera_backup.models.backup import MB_PER_SECOND_AND_PROCESSOR
from galera_backup.models.jobs import CheckReport

SHORTEST_DESYNC = 0.5
"""Seconds, of an idle server whose tables are all InnoDB's: 0.3 to 0.5 (measured)."""


def reading_takes(report: CheckReport, mb_per_second: float | None) -> timedelta:
    """How long the tool reads the data that was seen; without a rate at that of one processor, the longest."""
    rate = mb_per_second or MB_PER_SECOND_AND_PROCESSOR
    return timedelta(seconds=round(report.data_used_kb * 1024 / (rate * 1e6)))


def desynced_by_the_tool(report: CheckReport, mb_per_second: float | None) -> float:
    """Seconds in which the tool will have desynced its server by itself: it copies tables outside of InnoDB then."""
    rate = mb_per_second or MB_PER_SECOND_AND_PROCESSOR
    return SHORTEST_DESYNC + report.outside_innodb_kb * 1024 / (rate * 1e6)


def in_service(report: CheckReport, mb_per_second: float | None, unready_after: int | None) -> str:
    """What clients will see of the backup of a server that goes on serving."""
    seconds = desynced_by_the_tool(report, mb_per_second)
    text = f"mariadb-backup desyncs the server for about {seconds:.1f} s"
    if unready_after is None or seconds < unready_after:
        return text
    return (
        f"{text}, longer than the {unready_after} s in which its readiness probe may fail: where the probe demands "
        "Synced, the pod is Not Ready meanwhile"
    )


def too_slow(report: CheckReport, mb_per_second: float | None, limit: timedelta) -> str | None:
    """Why the data cannot be read within `limit` at the rate that a request sets, or None."""
    takes = reading_takes(report, mb_per_second)
    if mb_per_second is None or takes <= limit:
        return None
    return (
        f"runner_timeout: expected at least {takes}, which reading {report.data_used_kb} KB takes with "
        f"'max_mb_per_second': {mb_per_second:g}, got {limit}"
    )
