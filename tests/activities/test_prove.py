"""What a reply to an SQL check means, on the restored cluster and before the outage."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest
from temporalio.testing import ActivityEnvironment

from activities.prove import ProveActivities
from galera_backup.errors import InvalidInput, RestoreFailed
from galera_backup.kube.gateway import KubeGateway
from galera_backup.models.proof import CheckTables, ProofTask, SqlCheck
from galera_backup.models.site import Site
from galera_backup.mysql.gateway import MysqlGateway
from tests.fakes.gateways import FakeKube, FakeMysql, Worlds
from tests.fakes.world import World, fresh_cluster

QUERY = "SELECT COUNT(*) FROM nova.instances"


class Bench:
    """The activities over one world; `task` has one check."""

    def __init__(self, answer: Any) -> None:
        worlds = Worlds()
        self.world = worlds.add(World(fresh_cluster()))
        self.world.proof.answers = {("live", QUERY): answer}
        kube, mysql = cast(KubeGateway, FakeKube(worlds)), cast(MysqlGateway, FakeMysql(worlds))
        self.prove = ProveActivities(kube, mysql)
        site = Site(cluster=self.world.cluster)
        self.task = ProofTask(
            site=site,
            check_credentials=site.credentials,
            checks=(SqlCheck(query=QUERY, expected="3"),),
            check_timeout=timedelta(seconds=30),
            check_tables=CheckTables.NONE,
            check_tables_timeout=timedelta(seconds=30),
            secrets=(),
        )

    async def run(self, activity: Any) -> Any:
        return await ActivityEnvironment().run(activity, self.task)


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
async def test_check_that_does_not_hold(answer: Any, seen: str) -> None:
    bench = Bench(answer)
    with pytest.raises(RestoreFailed) as failed:
        await bench.run(bench.prove.run_checks)
    assert f"check 1 of 1 '{QUERY}' on 'mariadb-server-2': expected '3', {seen}" in str(failed.value)


async def test_check_that_holds() -> None:
    bench = Bench((1, ["3"]))
    report = await bench.run(bench.prove.run_checks)
    assert [(each.query, each.seen) for each in report.checks] == [(QUERY, "3")]


@pytest.mark.parametrize("live", [(1, ["2"]), (0, [None]), 1146, 1049, 1054, 1932])
async def test_live_data_may_be_the_disaster(live: Any) -> None:
    bench = Bench(live)
    assert (await bench.run(bench.prove.try_checks)).replica == "mariadb-server-2"


@pytest.mark.parametrize(
    ("live", "seen"),
    [(1064, "1064"), (1142, "1142"), (1792, "1792"), (1969, "1969"), ((1, ["3", "3"]), "seen 2 columns")],
)
async def test_check_that_cannot_work(live: Any, seen: str) -> None:
    bench = Bench(live)
    with pytest.raises(InvalidInput) as refused:
        await bench.run(bench.prove.try_checks)
    assert str(refused.value).startswith(f"InvalidInput: checks: trying check 1 of 1 '{QUERY}'")
    assert seen in str(refused.value)
