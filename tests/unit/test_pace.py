"""Whether a backup can be read in the time that it has."""

from __future__ import annotations

from datetime import timedelta

import pytest

from galera_backup.models.jobs import CheckReport
from galera_backup.rules.pace import in_service, reading_takes, too_slow

REPORT = CheckReport(data_total_kb=0, data_free_kb=0, data_used_kb=9_765_625, backup_free_kb=0)
"""10^10 bytes."""


def test_without_a_rate_one_processor_counts() -> None:
    assert reading_takes(REPORT, None) == timedelta(seconds=400)
    assert too_slow(REPORT, None, timedelta(seconds=1)) is None, "nobody knows the node's processors"


@pytest.mark.parametrize(("limit", "refused"), [(999, True), (1000, False)])
def test_a_rate_that_cannot_end_in_time(limit: int, refused: bool) -> None:
    said = too_slow(REPORT, 10, timedelta(seconds=limit))
    assert (said is not None) == refused
    if said is not None:
        assert "expected at least 0:16:40" in said
        assert "got 0:16:39" in said


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
