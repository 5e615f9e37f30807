"""What a reply to an SQL check means, on the restored cluster and before the outage."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from galera_backup.errors import DatabaseRefused, InvalidInput, RestoreFailed
from galera_backup.models.proof import CheckTables, ProofTask, SqlCheck
from tests.fakes.bench import Bench
from tests.fakes.faults import Fault

QUERY = "SELECT COUNT(*) FROM nova.instances"


def task(bench: Bench, answer: Any) -> ProofTask:
    """Of one check, to which the server answers this."""
    bench.world.proof.answers = {("live", QUERY): answer}
    return ProofTask(
        site=bench.site,
        check_credentials=bench.site.credentials,
        checks=(SqlCheck(query=QUERY, expected="3"),),
        check_timeout=timedelta(seconds=30),
        check_tables=CheckTables.NONE,
        check_tables_timeout=timedelta(seconds=30),
        secrets=(),
    )


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        ((1, ["2"]), "seen '2'"),
        ((1, [None]), "seen NULL"),
        ((0, [None]), "seen 0 rows with 1 columns"),
        ((2, ["3"]), "seen more than 1 rows"),
        (1146, "seen MariaDB error 1146"),
        (1969, "seen MariaDB error 1969"),
    ],
)
async def test_check_that_does_not_hold(bench: Bench, answer: Any, seen: str) -> None:
    with pytest.raises(RestoreFailed) as failed:
        await bench.run(bench.prove.run_checks, task(bench, answer))
    assert f"check 1 of 1 '{QUERY}' on 'mariadb-server-2': expected '3', {seen}" in str(failed.value)


async def test_check_that_holds(bench: Bench) -> None:
    report = await bench.run(bench.prove.run_checks, task(bench, (1, ["3"])))
    assert [(each.query, each.seen) for each in report.checks] == [(QUERY, "3")]


@pytest.mark.parametrize("live", [(1, ["2"]), (0, [None]), 1146, 1049, 1054, 1932])
async def test_live_data_may_be_the_disaster(bench: Bench, live: Any) -> None:
    assert (await bench.run(bench.prove.try_checks, task(bench, live))).replica == "mariadb-server-2"


@pytest.mark.parametrize(
    ("live", "seen"),
    [(1064, "1064"), (1142, "1142"), (1792, "1792"), (1969, "1969"), ((1, ["3", "3"]), "seen 2 columns")],
)
async def test_check_that_cannot_work(bench: Bench, live: Any, seen: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await bench.run(bench.prove.try_checks, task(bench, live))
    assert str(refused.value).startswith(f"InvalidInput: checks: trying check 1 of 1 '{QUERY}'")
    assert seen in str(refused.value)


async def test_the_account_of_the_proof_logs_in_before_the_outage(bench: Bench) -> None:
    sample = task(bench, (1, ["3"])).model_copy(update={"checks": (), "check_tables": CheckTables.SAMPLE})
    bench.world.faults.add(Fault("seen_tables", before=DatabaseRefused("MariaDB error 1045: Access denied")))
    with pytest.raises(DatabaseRefused):
        await bench.run(bench.prove.try_checks, sample)
