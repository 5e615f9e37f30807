"""Whether a backup can be read in the time that it has, and what clients will see of it."""

from __future__ import annotations

from datetime import timedelta

from galera_backup.models.backup import MB_PER_SECOND_AND_PROCESSOR
from galera_backup.models.reports import CheckReport

SHORTEST_DESYNC = 0.5
"""Seconds, of an idle server whose tables are all InnoDB's: 0.3 to 0.5 (measured)."""


def rate(report: CheckReport, mb_per_second: float | None) -> float:
    """At most so many MB/s are read: what a request says, else a share of each processor of the node."""
    return mb_per_second or MB_PER_SECOND_AND_PROCESSOR * max(report.processors, 1)


def reading_takes(report: CheckReport, mb_per_second: float | None) -> timedelta:
    """How long the tool reads the data that was seen."""
    return timedelta(seconds=round(report.read_kb * 1024 / (rate(report, mb_per_second) * 1e6)))


def desynced_by_the_tool(report: CheckReport, mb_per_second: float | None) -> float:
    """Seconds in which the tool will have desynced its server by itself: it copies tables outside of InnoDB then.

    An upper bound: from 10.11.8 on it copies those of Aria before, and without a rate in the request nobody slows it
    down meanwhile.
    """
    return SHORTEST_DESYNC + report.outside_innodb_kb * 1024 / (rate(report, mb_per_second) * 1e6)


def in_service(report: CheckReport, mb_per_second: float | None, unready_after: int | None) -> str:
    """What clients will see of the backup of a server that goes on serving."""
    seconds = desynced_by_the_tool(report, mb_per_second)
    text = f"mariadb-backup desyncs the server, and writes wait, for about {seconds:.1f} s"
    if unready_after is None or seconds < unready_after:
        return text
    return (
        f"{text}, longer than the {unready_after} s in which its readiness probe may fail: where the probe demands "
        "Synced, the pod is Not Ready meanwhile"
    )


def held_too_long(report: CheckReport, mb_per_second: float | None, limit: timedelta, field: str) -> str | None:
    """Why the backup may be given up while the tool copies tables outside of InnoDB, or None.

    `field`: of the request, with the limit.
    """
    seconds = desynced_by_the_tool(report, mb_per_second)
    if seconds < limit.total_seconds():
        return None
    return (
        f"it may be given up: mariadb-backup holds the server up for as much as {seconds:.0f} s while it copies "
        f"{report.outside_innodb_kb} KB of tables outside of InnoDB; {field!r} is {limit}. Raise that, or "
        "'max_mb_per_second', or move large tables to InnoDB"
    )


def too_slow(report: CheckReport, mb_per_second: float | None, limit: timedelta) -> str | None:
    """Why the data cannot be read within `limit`, or None."""
    takes = reading_takes(report, mb_per_second)
    if takes <= limit:
        return None
    said = f"{mb_per_second:g}" if mb_per_second else f"{rate(report, None):g}, its default on this node"
    return (
        f"runner_timeout: expected at least {takes}, which reading {report.read_kb} KB takes with "
        f"'max_mb_per_second': {said}, got {limit}"
    )
