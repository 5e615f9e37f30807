"""What is refused before anything is changed, on a real Temporal server."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from kubernetes.client import V1Pod
from temporalio.client import WorkflowHandle

from galera_backup.errors import PreflightRefused
from galera_backup.models.admission import Quota
from galera_backup.models.check import CheckRequest, CheckResult
from galera_backup.models.jobs import RunnerJob
from galera_backup.models.layout import Layout
from galera_backup.models.runner import DataJob
from galera_backup.models.shape import ClusterShape, Mount, Owner, PodShape
from galera_backup.runner.handshake import AGENT_CONTAINER
from tests.fakes.runner import RunnerPod
from tests.fakes.stage import BACKUP_ID, Stage, failure_of

Reshape = Callable[[ClusterShape], ClusterShape]
CONTROLLER = Owner(api_version="k8s.mariadb.com/v1alpha1", kind="MariaDB", name="galera", uid="m", controller=True)


def statefulset(**fields: Any) -> Reshape:
    def reshape(shape: ClusterShape) -> ClusterShape:
        return shape.model_copy(update={"statefulset": shape.statefulset.model_copy(update=fields)})

    return reshape


@pytest.mark.parametrize("strategy", ["staged", "rolling", "in_place"])
async def test_claims_that_the_stop_would_delete(stage: Stage, strategy: str) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.reshape = statefulset(claims_when_scaled="Delete")
    error = await failure_of(await stage.restore(world, strategy=strategy))
    assert isinstance(error, PreflightRefused)
    assert "whenScaled to be Retain, it is Delete" in error.message
    assert error.message.endswith("Nothing was changed")
    assert world.events == []
    await stage.assert_settled(world)


async def test_a_backup_of_the_same_cluster(stage: Stage) -> None:
    world = stage.world()
    world.reshape = statefulset(claims_when_scaled="Delete")
    await (await stage.backup(world)).result()
    await stage.assert_settled(world)


async def test_a_controller_that_is_suspended(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.reshape = statefulset(owners=(CONTROLLER,))
    error = await failure_of(await stage.restore(world))
    assert "its controller is MariaDB 'galera'" in error.message
    await (await stage.restore(world, accept=["controlled"])).result()
    await stage.assert_settled(world)


async def test_what_changes_between_the_plan_and_the_stop(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    looks = []

    def reshape(shape: ClusterShape) -> ClusterShape:
        looks.append(shape)
        return statefulset(claims_when_scaled="Delete")(shape) if len(looks) > 1 else shape

    world.reshape = reshape
    error = await failure_of(await stage.restore(world, strategy="staged"))
    assert isinstance(error, PreflightRefused)
    assert not any(event.startswith("scale") for event in world.events)
    await stage.assert_settled(world)


async def test_a_data_directory_below_the_mount(stage: Stage) -> None:
    """Every job on a data volume is told of it, and the manifest has it."""
    world = stage.world()
    world.datadir = "/var/lib/mysql/data/"

    def reshape(shape: ClusterShape) -> ClusterShape:
        def below(mount: Mount) -> Mount:
            return mount.model_copy(update={"sub_path": "storage"})

        def pods(those: tuple[PodShape, ...]) -> tuple[PodShape, ...]:
            return tuple(each.model_copy(update={"mounts": tuple(map(below, each.mounts))}) for each in those)

        return shape.model_copy(update={"members": pods(shape.members), "planned": pods(shape.planned)})

    world.reshape = reshape
    result = await (await stage.backup(world)).result()
    assert result.manifest.layout == Layout(sub_path="storage", below="data", asked=True)
    backup_id = result.manifest.backup_id
    await (await stage.restore(world, backup_id=backup_id, strategy="staged")).result()
    jobs = [job for pod in world.created if isinstance(job := _job(pod), DataJob)]
    assert {type(job).__name__ for job in jobs} >= {"BackupJob", "CheckJob", "StageJob", "InspectJob", "SwapJob"}
    assert {(job.layout.sub_path, job.layout.below) for job in jobs} == {("storage", "data")}
    await stage.assert_settled(world)


@pytest.mark.parametrize("strategy", ["staged", "in_place"])
async def test_a_data_directory_of_which_no_server_says_where_it_is(stage: Stage, strategy: str) -> None:
    """It is found on the volumes, one of which is empty; and looked at there before anything is changed."""
    world = stage.world(backups=(BACKUP_ID,), at_zero=True)
    for name in sorted(world.claims)[:2]:
        world.claims[name].seen = {"data_at": ("data",)}
    await (await stage.restore(world, strategy=strategy, replicas=3)).result()
    jobs = [job for pod in world.created if isinstance(job := _job(pod), DataJob)]
    looks, works = jobs[:3], jobs[3:]
    assert [(job.mode, job.layout.below) for job in looks] == [("check", "")] * 3
    assert [(job.mode, job.layout.below) for job in works[:3]] == [("check", "data")] * 3
    assert {job.layout.below for job in works} == {"data"}


async def test_data_at_several_places_that_no_server_names(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,), at_zero=True)
    for name, place in zip(sorted(world.claims), ("data", "old", "data"), strict=True):
        world.claims[name].seen = {"data_at": (place,)}
    error = await failure_of(await stage.restore(world, replicas=3))
    assert isinstance(error, PreflightRefused)
    assert "'accept': 'data-elsewhere'" in error.message
    assert not any("started: stage" in event for event in world.events)


async def test_check(stage: Stage) -> None:
    world = stage.world()
    healthy = await _check(stage, CheckRequest(cluster=world.cluster))
    assert (healthy.findings, healthy.health, healthy.refuses("backup"), healthy.refuses("restore")) == (
        (),
        (),
        False,
        False,
    )
    world.reshape = statefulset(owners=(CONTROLLER,))
    world.member(1).set_desync(True)
    found = await _check(stage, CheckRequest(cluster=world.cluster))
    assert [each.kind for each in found.findings] == ["controlled"]
    assert (found.refuses("backup"), found.refuses("restore")) == (True, True)
    assert any("expected wsrep_desync OFF, saw ON" in each for each in found.health)
    accepted = await _check(stage, CheckRequest(cluster=world.cluster, accept=("controlled",)))
    assert not accepted.refuses("restore")
    world.refuses_pods = "stage"
    found = await _check(stage, CheckRequest(cluster=world.cluster))
    assert [each.kind for each in found.findings] == ["controlled", "pod-refused"]


def _job(pod: V1Pod) -> RunnerJob:
    agent = next(each for each in pod.spec.containers if each.name == AGENT_CONTAINER)
    return RunnerPod.job_of({each.name: each.value for each in agent.env})


async def _check(stage: Stage, request: CheckRequest) -> CheckResult:
    handle: WorkflowHandle[Any, CheckResult] = await stage.start("GaleraCheck", request, CheckResult)
    return await handle.result()


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_small_cluster_is_backed_up_in_service(stage: Stage, replicas: int) -> None:
    world = stage.world(replicas=replicas)
    result = await (await stage.backup(world)).result()
    assert (result.manifest.in_service, result.manifest.unsafe, result.desynced_seconds) == (True, False, 0)
    assert not any("desync" in event for event in world.events)
    await stage.assert_settled(world)


@pytest.mark.parametrize(("refused", "strategy"), [("stage", "staged"), ("unpack", "rolling"), ("hold", "in_place")])
async def test_a_pod_that_would_not_be_created(stage: Stage, refused: str, strategy: str) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.refuses_pods = refused
    error = await failure_of(await stage.restore(world, strategy=strategy))
    assert isinstance(error, PreflightRefused)
    assert f"runner pod for '{refused}': expected Kubernetes to create it, it answers" in error.message
    assert world.events == []
    await stage.assert_settled(world)


async def test_servers_that_would_not_be_created_again(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.refuses_pods = "server-"
    error = await failure_of(await stage.restore(world))
    assert "expected Kubernetes to create it when the cluster is started again" in error.message
    await (await stage.backup(world)).result()
    await stage.assert_settled(world)


async def test_a_quota_that_has_no_room(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.quotas = (Quota(name="pods", hard={"pods": Decimal(5)}, used={"pods": Decimal(3)}),)
    error = await failure_of(await stage.restore(world, strategy="staged"))
    assert "expected room for 3 more of pods while the backup is staged, it has 5 and 3 are used" in error.message
    await (await stage.backup(world)).result()
    await stage.assert_settled(world)


async def test_a_backup_claim_for_one_pod_at_a_time(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))

    def reshape(shape: ClusterShape) -> ClusterShape:
        modes = {"access_modes": ("ReadWriteOncePod",)}
        claims = [each if each.ordinal is not None else each.model_copy(update=modes) for each in shape.claims]
        return shape.model_copy(update={"claims": tuple(claims)})

    world.reshape = reshape
    await (await stage.restore(world, strategy="staged")).result()
    works = [event for event in world.events if event.endswith("started: stage") or "-stage-" in event]
    starts = [index for index, event in enumerate(works) if "started" in event]
    ends = [index for index, event in enumerate(works) if "ended" in event]
    assert len(starts) == 3
    assert sorted([*starts, *ends]) == [each for pair in zip(starts, ends, strict=True) for each in pair]
    await stage.assert_settled(world)
