"""GaleraBackup from end to end, when all goes well."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus

from galera_backup import names
from galera_backup.models.backup import BackupRequest
from galera_backup.models.jobs import BackupJob
from galera_backup.models.progress import Progress
from galera_backup.temporal.attributes import BACKUP_ID, CLUSTER, PHASE, REPLICA
from tests.fakes.runner import RunnerPod
from tests.fakes.stage import Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan

PHASES = ["lease", "check", "select", "look", "desync", "run", "resync", "prune"]


def backup_job(pod: RunnerPod) -> BackupJob:
    assert isinstance(pod.job, BackupJob)
    return pod.job


async def test_takes_the_highest_ordinal_as_a_number(stage: Stage) -> None:
    world = stage.world(replicas=11)
    result = await (await stage.backup(world)).result()
    assert result.manifest.replica == "mariadb-server-10"
    assert result.manifest.claim == "mysql-data-mariadb-server-10"
    assert result.manifest.claim_uid == world.claims[result.manifest.claim].uid
    assert list(world.volume.manifests) == [result.manifest.backup_id]
    assert result.path == f"/var/backup/{world.cluster}/{result.manifest.backup_id}"
    assert [each.phase for each in result.phases] == PHASES
    assert all(each.seconds >= 0 for each in result.phases)
    assert 0 < result.desynced_seconds < 60
    assert result.drained
    assert (result.manifest.unsafe, result.problems) == (False, ())
    await stage.assert_settled(world)


async def test_order_of_a_backup(stage: Stage) -> None:
    world = stage.world()
    result = await (await stage.backup(world)).result()
    await stage.assert_settled(world)
    pod = result.runner.pod
    assert result.runner.path == f"{result.path}/runner.log"
    assert pod.startswith("mariadb-phy-backup-runner-")
    expected = [
        "mark mariadb-server-2",
        "desync ON mariadb-server-2",
        "mariadb-server-2 Not Ready",
        f"runner {pod} started: backup",
        f"runner {pod} ended: answers",
        "desync OFF mariadb-server-2",
        "mariadb-server-2 Ready",
        "unmark mariadb-server-2",
    ]
    others = (f"runner {pod.removesuffix('backup')}look", f"runner {pod.removesuffix('backup')}prune")
    assert [event for event in world.events if not event.startswith(others)] == expected
    assert world.events.index(f"{others[0]} ended: answers") < world.events.index(expected[0])
    assert world.events.index("unmark mariadb-server-2") < world.events.index(f"runner {result_prune(world.events)}")


def result_prune(events: list[str]) -> str:
    return next(event for event in events if event.endswith("started: prune")).removeprefix("runner ")


async def test_named_replica_that_is_primary_hands_its_label_over(stage: Stage) -> None:
    world = stage.world(primary=0)
    result = await (await stage.backup(world, replica=0)).result()
    assert result.manifest.replica == "mariadb-server-0"
    await stage.assert_settled(world)  # labels as before
    changes = [event for event in world.events if event.startswith(("label", "desync"))]
    assert changes == [
        "label mariadb-server-1 primary",
        "label mariadb-server-0 backup",
        "desync ON mariadb-server-0",
        "desync OFF mariadb-server-0",
        "label mariadb-server-0 primary",
        "label mariadb-server-1 None",
    ]


async def test_label_that_the_clusters_controller_moves_is_waited_for(stage: Stage) -> None:
    world = stage.world(primary=0)
    world.controller_moves_label = True
    await (await stage.backup(world, replica=0, primary_label={"moved_by": "controller"})).result()
    await assert_eventually(lambda: world.look().labels() == world.labels_before, world.labels)
    await stage.assert_settled(world)
    assert not [event for event in world.events if event.startswith("label")]


async def test_prunes_what_is_too_old(stage: Stage) -> None:
    old = tuple(f"2026110{day}T010000Z-full" for day in range(1, 5))
    world = stage.world(backups=old)
    result = await (await stage.backup(world, backups_to_keep=2)).result()
    assert result.pruned == old[:3]
    assert result.kept == 2
    assert sorted(world.volume.manifests) == [old[3], result.manifest.backup_id]


async def test_drain_comes_before_off_and_is_bounded(stage: Stage) -> None:
    async def backup(drain: timedelta, applied_per_look: int) -> tuple[bool, int]:
        world = stage.world()
        world.plan(RunnerPlan("backup", held=True))
        handle = await stage.backup(world, drain_timeout=drain)
        await assert_eventually(lambda: any("started: backup" in event for event in world.look().events))
        member = world.member(2)
        member.queue, member.applied_per_look = 1000, applied_per_look
        world.let_go()
        result = await handle.result()
        await stage.assert_settled(world)
        return result.drained, member.queue

    drained, late = await asyncio.gather(backup(timedelta(minutes=5), 200), backup(timedelta(seconds=1), 0))
    assert drained == (True, 0)
    assert late == (False, 1000)


@pytest.mark.parametrize("end", ["killed", "evicted"])
async def test_runner_that_dies_gets_one_more_chance(stage: Stage, end: str) -> None:
    world = stage.world()
    world.plan(RunnerPlan("backup", end=end))  # type: ignore[arg-type]
    result = await (await stage.backup(world)).result()
    assert result.runner.pod.endswith("-2")
    assert list(world.volume.manifests) == [result.manifest.backup_id]
    await stage.assert_settled(world)


async def test_runner_that_somebody_deletes_is_not_started_again(stage: Stage) -> None:
    world = stage.world()
    world.plan(RunnerPlan("backup", end="vanishes"))
    failure = await failure_of(await stage.backup(world))
    assert failure.type == "RunnerFailed"
    assert "it was deleted while it worked" in failure.message
    assert sum("started: backup" in event for event in world.events) == 1
    await stage.assert_settled(world)


@pytest.mark.parametrize(
    "error", ["BackupFailed", "BackupIncomplete", "BackupExists", "NotEnoughSpace", "RunnerFailed"]
)
async def test_error_of_the_agent_is_the_error_of_the_backup(stage: Stage, error: str) -> None:
    world = stage.world()
    world.plan(RunnerPlan("backup", end="fails", error=error, times=2))  # type: ignore[arg-type]
    failure = await failure_of(await stage.backup(world))
    assert failure.type == error
    assert "as told" in failure.message
    attempts = [event for event in world.events if event.endswith("started: backup")]
    assert len(attempts) == (2 if error in ("BackupFailed", "RunnerFailed") else 1)
    await stage.assert_settled(world)


async def test_runner_that_never_starts(stage: Stage) -> None:
    world = stage.world()
    world.plan(RunnerPlan("backup", end="never starts"))
    failure = await failure_of(await stage.backup(world))
    assert failure.type == "RunnerNotStarted"
    assert "ImagePullBackOff" in failure.message
    await stage.assert_settled(world)


async def test_failed_prune_says_that_the_backup_counts(stage: Stage) -> None:
    world = stage.world()
    world.plan(RunnerPlan("prune", end="fails", times=2))
    failure = await failure_of(await stage.backup(world))
    assert failure.type == "PruneFailed"
    assert "is complete and counts" in failure.message
    assert len(world.volume.manifests) == 1
    await stage.assert_settled(world)


async def test_what_the_ui_shows(stage: Stage) -> None:
    world = stage.world()
    world.plan(RunnerPlan("backup", held=True))
    handle = await stage.backup(world)
    await assert_eventually(lambda: any("started: backup" in event for event in world.look().events))
    metadata = str(await handle.query("__temporal_workflow_metadata"))
    assert f"backup of `{world.cluster}`: run" in metadata
    assert "mariadb-server-2" in metadata
    progress = await handle.query("progress", result_type=Progress)
    assert (progress.phase, progress.replica, progress.cluster) == ("run", "mariadb-server-2", world.cluster)
    lease = await stage.lease(world).query("status")
    assert lease["owner"] == handle.id
    assert lease["phase"] == "mariadb-server-2 is desynced"
    world.let_go()
    result = await handle.result()
    found = (await handle.describe()).typed_search_attributes
    assert found[CLUSTER] == str(world.cluster)
    assert found[REPLICA] == "mariadb-server-2"
    assert found[BACKUP_ID] == result.manifest.backup_id
    assert found[PHASE] == "done"
    assert (await handle.query("progress", result_type=Progress)).phase == "done"
    assert "done" in str(await handle.query("__temporal_workflow_metadata"))


# --- a cluster that is not fit


async def test_unhealthy_cluster_is_refused_with_a_table(stage: Stage) -> None:
    world = stage.world()
    world.member(1).state = 1
    world.member(0).up = False
    failure = await failure_of(await stage.backup(world))
    assert failure.type == "ClusterUnhealthy"
    assert "| mariadb-server-1 | Running, Ready | Joining | Primary | 3 | OFF |" in failure.message
    assert "| mariadb-server-0 | Running, Ready | unreachable |" in failure.message
    assert "mariadb-server-1: expected wsrep_local_state_comment Synced, saw Joining" in failure.message
    assert "Nothing was changed; mend the cluster and start the backup again" in failure.message
    assert await stage.lease_is_closed(world)
    assert world.events == []


async def test_allow_unsafe_is_recorded(stage: Stage) -> None:
    world = stage.world()
    world.member(1).state = 1
    handle = await stage.backup(world, allow_unsafe=True)
    result = await handle.result()
    assert result.manifest.unsafe
    assert result.problems == result.manifest.problems
    assert "mariadb-server-1: expected wsrep_local_state_comment Synced, saw Joining" in result.problems[0]
    world.member(1).state = 4
    await stage.assert_settled(world)


async def test_named_replica_that_is_not_in_sync(stage: Stage) -> None:
    world = stage.world(replicas=4)
    world.member(3).up = False
    failure = await failure_of(await stage.backup(world, replica=3, allow_unsafe=True))
    assert failure.type == "ClusterUnhealthy"
    assert "'mariadb-server-3'" in failure.message
    assert world.events == []


# --- requests


async def test_one_line_request(stage: Stage) -> None:
    world = stage.world()
    request = {"cluster": {"namespace": world.cluster.namespace, "statefulset": "mariadb-server"}}
    await (await stage.start("GaleraBackup", request)).result()
    await stage.assert_settled(world)


async def test_bad_request_fails_at_once_with_every_wrong_field(stage: Stage) -> None:
    bad = {"cluster": {"namespace": "Open Stack"}, "replica": -1, "keep": 3, "backups_to_keep": 0}
    failure = await failure_of(await stage.start("GaleraBackup", bad))
    assert failure.type == "InvalidInput"
    for field in ("cluster.namespace", "cluster.statefulset", "replica", "keep", "backups_to_keep"):
        assert f"{field}: " in failure.message
    assert "there is no such field" in failure.message


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"cluster": {"namespace": "nowhere", "statefulset": "x"}}, "ClusterNotFound", "Check the names"),
        ({"container": "postgres"}, "ClusterNotFound", "'postgres'"),
        ({"credentials": {"secret": "lost"}}, "PreflightRefused", "lost"),
    ],
)
async def test_names_that_do_not_exist(stage: Stage, fields: dict[str, object], error: str, text: str) -> None:
    world = stage.world()
    request = BackupRequest.model_validate({"cluster": world.cluster, **fields})
    failure = await failure_of(await stage.start("GaleraBackup", request))
    assert failure.type == error
    assert text in failure.message
    handle = stage.client.get_workflow_handle(names.lease_id(request.cluster))
    assert (await handle.describe()).status == WorkflowExecutionStatus.COMPLETED
    assert world.events == []
