"""What is tried before an operation: every kind of its pods, and what Kubernetes says to each."""

from __future__ import annotations

from typing import Any, cast, get_args

import pytest
from temporalio.testing import ActivityEnvironment

from activities.trial import TrialActivities
from galera_backup.errors import QuotaExceeded
from galera_backup.kube.gateway import KubeGateway
from galera_backup.models.admission import Trial
from galera_backup.models.site import RunnerSettings, Site
from galera_backup.models.trial import TrialRequest, Trials, Way
from tests.fakes.faults import Fault
from tests.fakes.gateways import FakeKube, Worlds
from tests.fakes.world import World, fresh_cluster


@pytest.fixture
def worlds() -> Worlds:
    return Worlds()


@pytest.fixture
def world(worlds: Worlds) -> World:
    return worlds.add(World(fresh_cluster()))


async def tried(worlds: Worlds, world: World, way: Way, **site: Any) -> Trials:
    activities = TrialActivities(cast(KubeGateway, FakeKube(worlds)), "agent:1")
    request = TrialRequest(site=Site(cluster=world.cluster, **site), way=way, claim=world.claim_name(0))
    found: Trials = await ActivityEnvironment().run(activities.try_pods, request)
    return found


def by_name(trials: Trials) -> dict[str, Trial]:
    return {each.name: each for each in trials.runners}


@pytest.mark.parametrize("way", get_args(Way))
async def test_pods_that_would_be_created(worlds: Worlds, world: World, way: Way) -> None:
    seen = await tried(worlds, world, way)
    assert not any(each.problem for each in (*seen.runners, seen.server))
    assert (seen.hold is None) == (way == "backup")


async def test_a_rollback_needs_no_backup_volume(worlds: Worlds, world: World) -> None:
    tries: list[Any] = []

    def note(arguments: Any) -> bool:
        tries.append(arguments["pod"])
        return False

    world.faults.add(Fault("try_pod", when=note, times=-1))
    assert set(by_name(await tried(worlds, world, "rollback"))) == {"check", "inspect", "swap"}
    claims = {
        volume.persistent_volume_claim.claim_name
        for pod in tries
        for volume in pod.spec.volumes or []
        if volume.persistent_volume_claim is not None
    }
    assert claims == {world.claim_name(0)}


async def test_a_cluster_that_names_no_user(worlds: Worlds, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was an error, which hid all that was found."""
    facts = world.statefulset_facts

    def without_user(container: str | None) -> Any:
        found = facts(container)
        return type(found)(**{**vars(found), "user": None})

    monkeypatch.setattr(world, "statefulset_facts", without_user)
    seen = await tried(worlds, world, "staged")
    assert {each.is_known for each in seen.runners} == {False}
    assert "names no runAsUser" in seen.runners[0].problem
    assert not (await tried(worlds, world, "staged", run_as_user=27)).runners[0].problem


async def test_labels_by_which_a_service_finds_its_pods(worlds: Worlds, world: World) -> None:
    settings = RunnerSettings(labels={"app": "mariadb"})
    seen = await tried(worlds, world, "backup", runner=settings)
    assert {each.selected_by for each in seen.runners} == {("mariadb",)}


async def test_a_quota_that_is_full_now(worlds: Worlds, world: World) -> None:
    """What the pod itself requests is kept for the arithmetic."""
    world.faults.add(Fault("try_pod", before=QuotaExceeded("trying pod: exceeded quota", "compute"), times=-1))
    seen = await tried(worlds, world, "staged")
    assert {(each.over_quota, bool(each.problem)) for each in (*seen.runners, seen.server)} == {("compute", True)}
    assert by_name(seen)["swap"].requests
    assert by_name(seen)["swap"].has_deadline
