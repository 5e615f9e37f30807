"""GaleraRestore from end to end: the order of the document, and what is refused before the database stops."""

from __future__ import annotations

import pytest

from galera_backup.models.catalog import Catalog, CatalogRequest
from galera_backup.models.jobs import PAGE_LIMIT, RestoreJob
from galera_backup.models.progress import Progress
from galera_backup.runner.handshake import AGENT_CONTAINER
from tests.fakes.runner import RunnerPod
from tests.fakes.stage import BACKUP_ID, Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan, World


def restore_jobs(world: World) -> list[RestoreJob]:
    """In the order in which their pods were created."""
    jobs = []
    for pod in world.created:
        agent = next(each for each in pod.spec.containers if each.name == AGENT_CONTAINER)
        job = RunnerPod.job_of({each.name: each.value for each in agent.env})
        if isinstance(job, RestoreJob):
            jobs.append(job)
    return jobs


async def assert_not_begun(stage: Stage, world: World) -> None:
    """The database stayed up and no volume was written."""
    await stage.assert_settled(world)
    assert not [event for event in world.events if event.startswith("scale")]
    assert {claim.data for claim in world.claims.values()} == {"live"}


async def test_restores_every_claim_in_order(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    result = await (await stage.restore(world)).result()
    await stage.assert_settled(world)  # the primary label is back on its pod
    assert result.manifest.backup_id == BACKUP_ID
    assert result.replicas == 3
    assert [each.claim for each in result.claims] == [world.claim_name(ordinal) for ordinal in range(3)]
    phases = ["lease", "plan", "check", "stop", "restore-0", "restore-1", "restore-2", "start", "prove"]
    assert [each.phase for each in result.phases] == phases
    assert 0 < result.outage_seconds < 60
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}
    jobs = restore_jobs(world)
    assert [(job.ordinal, job.safe_to_bootstrap, job.last) for job in jobs] == [
        (0, True, False),
        (1, False, False),
        (2, False, True),
    ]
    assert len({job.restore_id for job in jobs}) == 1
    assert world.volume.unpacked == set()
    pods = [f"runner {each.runner.pod}" for each in result.claims]
    restored = [f"{pod} {what}" for pod in pods for what in ("started: restore", "ended: answers")]
    created = [f"mariadb-server-{ordinal} created on {BACKUP_ID}" for ordinal in range(3)]
    kept = ("down", "scale", "mariadb-server-", *pods)
    seen = [event for event in world.events if event.startswith(kept) and not event.endswith("Ready")]
    gone = [f"mariadb-server-{ordinal} gone" for ordinal in (2, 1, 0)]  # the next is told to go when a server has ended
    assert [event for event in seen if event in gone] == gone
    assert seen.index(gone[-1]) < seen.index(restored[0])
    others = [event for event in seen if event not in gone]
    assert others == ["down 2", "down 1", "scale 0", *restored, "scale 3", *created]


async def test_checks_every_volume_while_the_database_is_up(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    await (await stage.restore(world)).result()
    checks = [event for event in world.events if event.endswith("started: check")]
    assert len(checks) == 3
    assert world.events.index(checks[-1]) < world.events.index("scale 0")


async def test_what_the_ui_shows(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=1, held=True))
    handle = await stage.restore(world)
    await assert_eventually(lambda: sum("started: restore" in event for event in world.look().events) == 2)
    metadata = str(await handle.query("__temporal_workflow_metadata"))
    assert f"restore of `{world.cluster}`: restore-1" in metadata
    assert BACKUP_ID in metadata
    assert (await handle.query("progress", result_type=Progress)).backup_id == BACKUP_ID
    world.let_go()
    await handle.result()


@pytest.mark.parametrize("end", ["killed", "evicted", "fails"])
async def test_runner_that_dies_gets_one_more_chance(stage: Stage, end: str) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=1, end=end, error="RestoreFailed"))  # type: ignore[arg-type]
    result = await (await stage.restore(world)).result()
    assert result.claims[1].runner.pod.endswith("-1-2")
    await stage.assert_settled(world)


# --- refused while the database is up


@pytest.mark.parametrize(
    ("end", "error"),
    [("fails early", "BackupDamaged"), ("fails early", "VersionMismatch"), ("evicted", "RunnerFailed")],
)
async def test_check_that_fails_leaves_the_cluster_up(stage: Stage, end: str, error: str) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("check", end=end, error=error, times=2))  # type: ignore[arg-type]
    failure = await failure_of(await stage.restore(world))
    assert failure.type == error
    await assert_not_begun(stage, world)


async def test_backup_that_is_not_there(stage: Stage) -> None:
    world = stage.world()
    failure = await failure_of(await stage.restore(world))
    assert failure.type == "BackupNotFound"
    assert BACKUP_ID in failure.message
    await assert_not_begun(stage, world)


async def test_volumes_without_room_are_all_named(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.claims[world.claim_name(0)].free_kb = 10
    world.claims[world.claim_name(2)].free_kb = 10
    world.volume.free_kb = 1000
    failure = await failure_of(await stage.restore(world))
    assert failure.type == "NotEnoughSpace"
    for claim in (world.claim_name(0), world.claim_name(2), "mariadb-phy-backup-data"):
        assert repr(claim) in failure.message
    assert repr(world.claim_name(1)) not in failure.message
    assert "the database is up; make room" in failure.message
    await assert_not_begun(stage, world)


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"container": "postgres"}, "ClusterNotFound", "'postgres'"),
        ({"credentials": {"secret": "lost"}}, "PreflightRefused", "lost"),
        ({"replicas": 5}, "InvalidInput", "expected 3"),
    ],
)
async def test_plan_that_fails(stage: Stage, fields: dict[str, object], error: str, text: str) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    failure = await failure_of(await stage.restore(world, **fields))
    assert failure.type == error
    assert text in failure.message
    assert world.events == []


async def test_confirmation_that_does_not_repeat_the_cluster(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    request = {
        "cluster": {"namespace": world.cluster.namespace, "statefulset": "mariadb-server"},
        "backup_id": "latest",
        "confirm": "openstack/other",
        "force": True,
    }
    failure = await failure_of(await stage.start("GaleraRestore", request))
    assert failure.type == "InvalidInput"
    assert f"confirm: Value error, expected '{world.cluster}', the cluster that will be stopped" in failure.message
    assert "backup_id: " in failure.message
    assert "force: there is no such field" in failure.message
    assert world.events == []


async def test_cluster_at_zero_replicas_needs_its_size(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,), at_zero=True)
    failure = await failure_of(await stage.restore(world))
    assert failure.type == "InvalidInput"
    assert "Set 'replicas'" in failure.message
    await (await stage.restore(world, replicas=3)).result()
    assert world.statefulset.replicas == 3
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}


async def test_catalog_lists_the_oldest_first(stage: Stage) -> None:
    world = stage.world(backups=("20261123T010000Z-full", BACKUP_ID))
    request = CatalogRequest(cluster=world.cluster)
    found: Catalog = await (await stage.start("GaleraCatalog", request, Catalog)).result()
    assert [each.backup_id for each in found.backups] == [BACKUP_ID, "20261123T010000Z-full"]
    assert not list(world.look().present_runners())


async def test_catalog_in_pages(stage: Stage) -> None:
    ids = [
        f"{year}{month:02}{day:02}T010000Z-full"
        for year in range(2019, 2027)
        for month in range(1, 13)
        for day in range(1, 28)
    ][:2500]
    world = stage.world(backups=tuple(ids))
    request = CatalogRequest(cluster=world.cluster)
    first: Catalog = await (await stage.start("GaleraCatalog", request, Catalog)).result()
    assert [each.backup_id for each in first.backups] == ids[-100:]
    assert first.next == ids[-100]
    seen: list[str] = []
    before: str | None = None
    while before is not None or not seen:
        page = CatalogRequest(cluster=world.cluster, before=before, limit=PAGE_LIMIT)
        found: Catalog = await (await stage.start("GaleraCatalog", page, Catalog)).result()
        assert len(found.backups) <= PAGE_LIMIT
        seen, before = [each.backup_id for each in found.backups] + seen, found.next
    assert seen == ids


async def test_catalog_that_fails_leaves_no_pod(stage: Stage) -> None:
    world = stage.world()
    world.plan(RunnerPlan("list", end="evicted", times=2))
    failure = await failure_of(await stage.start("GaleraCatalog", CatalogRequest(cluster=world.cluster)))
    assert failure.type == "RunnerFailed"
    assert "Evicted" in failure.message
    await assert_eventually(lambda: not list(world.look().present_runners()))
