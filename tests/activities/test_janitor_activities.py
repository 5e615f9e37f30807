"""The janitor's activities over the fakes."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities.janitor import JanitorActivities
from galera_backup import names
from galera_backup.errors import ClusterNotFound
from galera_backup.kube.gateway import KubeGateway
from galera_backup.marks import mark_of
from galera_backup.models.activities import Observe
from galera_backup.models.common import ClusterRef, LeaseRef
from galera_backup.models.janitor import Remark, Survey
from galera_backup.models.mark import Mark
from galera_backup.models.site import Site
from galera_backup.mysql.gateway import MysqlGateway
from tests.fakes.faults import Fault
from tests.fakes.gateways import FakeKube, FakeMysql, Worlds
from tests.fakes.world import World, fresh_cluster


class Temporal:
    """A client that knows which workflows are open, by id or by run."""

    namespace = "here"

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.closed: set[str] = set()
        self.refuses: RPCStatusCode = RPCStatusCode.NOT_FOUND

    def get_workflow_handle(self, workflow_id: str, run_id: str | None = None) -> Any:
        async def describe() -> Any:
            key = run_id or workflow_id
            if key not in self.open | self.closed:
                raise RPCError("no such workflow", self.refuses, b"")
            statuses = WorkflowExecutionStatus
            status = statuses.RUNNING if key in self.open else statuses.TERMINATED
            return SimpleNamespace(status=status, parent_id=None, id=workflow_id)

        return SimpleNamespace(describe=describe)


class Bench:
    """The activities over one world."""

    def __init__(self) -> None:
        self.world = World(fresh_cluster())
        self.temporal = Temporal()
        worlds = Worlds()
        worlds.add(self.world)
        kube, mysql = cast(KubeGateway, FakeKube(worlds)), cast(MysqlGateway, FakeMysql(worlds))
        self.janitor = JanitorActivities(kube, mysql, cast(Client, self.temporal))
        self.env = ActivityEnvironment()

    async def survey(self, cluster: ClusterRef | None = None) -> Survey:
        task = Observe(site=Site(cluster=cluster or self.world.cluster))
        return cast(Survey, await self.env.run(self.janitor.survey_cluster, task))

    def mark(self, annotations: dict[str, str], run: str = "run", namespace: str | None = None) -> Mark:
        lease = LeaseRef(workflow_id="lease", run_id=run)
        mark = Mark(lease=lease, owner="owner", until=datetime.now(UTC), namespace=namespace)
        annotations[names.LEASE_ANNOTATION] = mark.model_dump_json()
        return mark


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_survey_of_a_cluster_in_order(bench: Bench) -> None:
    seen = await bench.survey()
    assert (seen.replicas, seen.mark, seen.runners, seen.holder) == (3, None, (), None)
    assert [(each.member.ordinal, each.mark) for each in seen.members] == [(0, None), (1, None), (2, None)]


async def test_marks_and_who_is_open(bench: Bench) -> None:
    bench.temporal.open = {"open-run", "owner"}
    bench.temporal.closed = {"closed-run"}
    for ordinal, run in enumerate(("open-run", "closed-run", "unknown-run")):
        bench.mark(bench.world.member(ordinal).annotations, run)
    marks = [each.mark for each in (await bench.survey()).members]
    assert [each and each.lease_open for each in marks] == [True, False, False]
    assert all(each is not None and each.owner_open for each in marks)


async def test_ids_that_temporal_refuses_are_not_open(bench: Bench) -> None:
    bench.temporal.closed = {names.lease_id(bench.world.cluster)}
    bench.temporal.refuses = RPCStatusCode.INVALID_ARGUMENT
    bench.mark(bench.world.statefulset.annotations)
    seen = await bench.survey()
    assert seen.mark is not None
    assert not seen.mark.lease_open
    assert not seen.mark.owner_open


async def test_marks_of_other_temporal_namespaces(bench: Bench) -> None:
    for ordinal, namespace in enumerate((None, "here", "there")):
        bench.mark(bench.world.member(ordinal).annotations, namespace=namespace)
    marks = [each.mark for each in (await bench.survey()).members]
    assert [each and each.elsewhere for each in marks] == [False, False, True]


async def test_temporal_that_does_not_answer_is_no_closed_lease(bench: Bench) -> None:
    bench.temporal.refuses = RPCStatusCode.UNAVAILABLE
    bench.mark(bench.world.member(2).annotations)
    with pytest.raises(RPCError):
        await bench.survey()


async def test_mark_that_cannot_be_read(bench: Bench) -> None:
    bench.world.member(1).annotations[names.LEASE_ANNOTATION] = "mine!"
    bench.world.statefulset.annotations[names.LEASE_ANNOTATION] = "{}"
    seen = await bench.survey()
    assert [each.unreadable for each in seen.members] == [False, True, False]
    assert (seen.unreadable, seen.mark) == (True, None)


async def test_mark_that_comes_while_the_servers_are_asked_is_seen(bench: Bench) -> None:
    """Else a backup that begins just then would look like an operator's own desync."""
    world, calls = bench.world, 0

    def begins(arguments: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            bench.mark(world.member(2).annotations)
            world.member(2).set_desync(True)
        return False

    world.faults.add(Fault("wsrep_status", when=begins))
    member = (await bench.survey()).members[2]
    assert member.member.wsrep is not None
    assert member.member.wsrep.desync
    assert member.mark is not None


async def test_survey_without_the_claims_of_replicas_to_come(bench: Bench) -> None:
    """A replica that is left desynced, and so Not Ready, keeps the controller from creating the next one."""
    bench.world.statefulset.replicas = 4
    seen = await bench.survey()
    assert [each.member.exists for each in seen.members] == [True, True, True, False]


async def test_holder_of_the_lease(bench: Bench) -> None:
    bench.temporal.open = {names.lease_id(bench.world.cluster)}
    assert (await bench.survey()).holder == names.lease_id(bench.world.cluster)
    bench.temporal.open, bench.temporal.closed = set(), bench.temporal.open
    assert (await bench.survey()).holder is None


async def test_survey_of_a_cluster_that_does_not_exist(bench: Bench) -> None:
    cluster = ClusterRef(namespace=bench.world.cluster.namespace, statefulset="other")
    with pytest.raises(ClusterNotFound):
        await bench.survey(cluster)


async def test_remark(bench: Bench) -> None:
    world = bench.world
    old = bench.mark(world.statefulset.annotations)
    version = world.statefulset.version
    tried = old.model_copy(update={"tried": "a mixture"})
    task = Remark(site=Site(cluster=world.cluster), mark=tried)
    for _ in range(2):
        await bench.env.run(bench.janitor.remark_statefulset, task)
        assert mark_of(world.statefulset.annotations) == tried
    assert world.statefulset.replicas == 3
    assert world.statefulset.version == version + 1
    assert world.events == []


async def test_remark_leaves_the_mark_of_another_lease(bench: Bench) -> None:
    other = bench.mark(bench.world.statefulset.annotations, "other")
    lease = LeaseRef(workflow_id="lease", run_id="run")
    task = Remark(site=Site(cluster=bench.world.cluster), mark=other.model_copy(update={"lease": lease}))
    await bench.env.run(bench.janitor.remark_statefulset, task)
    assert mark_of(bench.world.statefulset.annotations) == other
