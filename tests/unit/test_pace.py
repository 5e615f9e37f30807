"""Whether a backup can be read in the time that it has, and what clients will see of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from galera_backup.models.reports import CheckReport
from galera_backup.rules.pace import held_too_long, in_service, reading_takes, too_slow

REPORT = CheckReport(data_total_kb=0, data_free_kb=0, data_used_kb=99, backup_free_kb=0, read_kb=9_765_625)
"""10^10 bytes to read."""


@pytest.mark.parametrize(("processors", "seconds"), [(1, 400), (4, 100)])
def test_without_a_rate_the_processors_count(processors: int, seconds: int) -> None:
    report = REPORT.model_copy(update={"processors": processors})
    assert reading_takes(report, None) == timedelta(seconds=seconds)
    assert too_slow(report, None, timedelta(seconds=seconds)) is None
    said = too_slow(report, None, timedelta(seconds=seconds - 1))
    assert said is not None
    assert f"'max_mb_per_second': {25 * processors}, its default on this node" in said


@pytest.mark.parametrize(("limit", "refused"), [(999, True), (1000, False)])
def test_a_rate_that_cannot_end_in_time(limit: int, refused: bool) -> None:
    said = too_slow(REPORT, 10, timedelta(seconds=limit))
    assert (said is not None) == refused
    if said is not None:
        assert "expected at least 0:16:40" in said
        assert "with 'max_mb_per_second': 10, got 0:16:39" in said


@pytest.mark.parametrize(
    ("outside_kb", "unready_after", "told"),
    [
        (0, None, "about 0.5 s"),
        (0, 2, "about 0.5 s"),
        (97_657, 4, "about 4.5 s, longer than the 4 s in which its readiness probe may fail"),
    ],
)
def test_what_clients_see_of_a_server_that_goes_on(outside_kb: int, unready_after: int | None, told: str) -> None:
    report = REPORT.model_copy(update={"outside_innodb_kb": outside_kb})
    text = in_service(report, 25, unready_after)
    assert told in text
    assert ("Not Ready" in text) == ("longer" in told)


@pytest.mark.parametrize(("rate", "seconds"), [(25, 40), (None, 10)])
def test_what_may_last_longer_than_is_allowed(rate: float | None, seconds: int) -> None:
    report = REPORT.model_copy(update={"outside_innodb_kb": 976_563, "processors": 4})
    assert held_too_long(report, rate, timedelta(seconds=seconds + 1), "lock_wait_timeout") is None
    said = held_too_long(report, rate, timedelta(seconds=seconds), "lock_wait_timeout")
    assert said is not None
    assert f"'lock_wait_timeout' is 0:00:{seconds}" in said
    assert "'max_mb_per_second'" in said
