"""GaleraRestore of another cluster's backup: a cluster of its own comes of it, or nothing does."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes.client import V1Pod

from galera_backup.errors import DatabaseUnavailable
from galera_backup.models.catalog import Catalog, CatalogRequest
from galera_backup.models.jobs import CheckJob, RunnerJob
from galera_backup.models.passwords import PasswordReport
from galera_backup.models.plan import Answer, Decision, RestorePlan
from galera_backup.models.restore import RestoreResult
from galera_backup.runner.handshake import AGENT_CONTAINER
from tests.fakes.faults import ALWAYS, Fault
from tests.fakes.kill import Step
from tests.fakes.runner import RunnerPod
from tests.fakes.safety import faults_left
from tests.fakes.stage import BACKUP_ID, Handle, Stage, assert_eventually, failure_of
from tests.fakes.volumes import CLUSTER_UUID
from tests.fakes.world import RunnerPlan, World
from tests.workflows.test_questions import in_phase

STRATEGIES = ("staged", "rolling", "in_place")


def two(stage: Stage, *, empty: bool = False) -> tuple[World, World]:
    """A source with a backup, and a target that sees the same backup volume. `empty`: one that has never run."""
    source = stage.world(backups=(BACKUP_ID,))
    target = stage.world(network="10.0.7", at_zero=empty)
    target.volume = source.volume
    return source, target


async def clone(stage: Stage, source: World, target: World, **fields: Any) -> Handle:
    return await stage.restore(target, **({"source": source.cluster, "strategy": "staged"} | fields))


async def assert_not_begun(stage: Stage, target: World) -> None:
    await stage.assert_settled(target)
    assert not [event for event in target.events if event.startswith("scale")]
    assert {claim.data for claim in target.claims.values()} == {"live"}


async def assert_untouched(stage: Stage, source: World) -> None:
    assert source.look().events == []
    assert not faults_left(source)
    assert await stage.status(stage.lease(source)) is None


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_clone_is_a_cluster_of_its_own(stage: Stage, strategy: str) -> None:
    source, target = two(stage)
    result: RestoreResult = await (await clone(stage, source, target, strategy=strategy)).result()
    await stage.assert_settled(target)
    await assert_untouched(stage, source)
    assert {claim.data for claim in target.claims.values()} == {BACKUP_ID}
    assert result.clone is not None
    assert result.clone.source == source.cluster
    assert {claim.cluster_uuid for claim in target.claims.values()} == {result.clone.uuid}
    assert target.cluster_uuid == result.clone.uuid != CLUSTER_UUID == source.cluster_uuid
    phases = [phase.phase for phase in result.phases]
    assert phases[:3] == ["lease", "plan", "apart"]
    assert phases[-1] == "prove"
    assert result.manifest.cluster == source.cluster


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_the_sources_retention_leaves_what_is_read(stage: Stage, strategy: str) -> None:
    """It works under the lease of another cluster."""
    source, target = two(stage)
    result: RestoreResult = await (await clone(stage, source, target, strategy=strategy)).result()
    pins = [job.pin for job in map(job_of, target.created) if isinstance(job, CheckJob) and job.backup_id]
    assert [pin.restore_id for pin in pins if pin is not None] == [result.restore_id]
    own = stage.world(backups=(BACKUP_ID,))
    await (await stage.restore(own, strategy=strategy)).result()
    assert not any(job.pin for job in map(job_of, own.created) if isinstance(job, CheckJob))


def job_of(pod: V1Pod) -> RunnerJob | None:
    """None: it holds a name."""
    agents = [each for each in pod.spec.containers if each.name == AGENT_CONTAINER]
    return RunnerPod.job_of({each.name: each.value for each in agents[0].env}) if agents else None


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_into_a_statefulset_that_has_never_run(stage: Stage, strategy: str) -> None:
    source, target = two(stage, empty=True)
    result: RestoreResult = await (await clone(stage, source, target, strategy=strategy, replicas=3)).result()
    assert result.replicas == len(target.look().members) == 3
    assert {claim.data for claim in target.claims.values()} == {BACKUP_ID}
    await assert_untouched(stage, source)


async def test_source_that_is_not_in_this_kubernetes(stage: Stage) -> None:
    source, target = two(stage)
    elsewhere = {"namespace": "elsewhere", "statefulset": "mariadb-server"}
    manifest = source.volume.manifests[BACKUP_ID]
    cluster = manifest.cluster.model_validate(elsewhere)
    target.volume.manifests[BACKUP_ID] = manifest.model_copy(update={"cluster": cluster})
    result: RestoreResult = await (await stage.restore(target, source=elsewhere, strategy="staged")).result()
    assert result.clone is not None
    assert target.cluster_uuid == result.clone.uuid


async def test_backup_of_the_wrong_cluster(stage: Stage) -> None:
    """The target's own directory has none of the source's backups."""
    _, target = two(stage)
    failure = await failure_of(await stage.restore(target, strategy="staged"))
    assert failure.type == "BackupNotFound"
    await assert_not_begun(stage, target)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_target_in_the_sources_group(stage: Stage, strategy: str) -> None:
    source, target = two(stage)
    target.joins = source
    failure = await failure_of(await clone(stage, source, target, strategy=strategy))
    assert failure.type == "PreflightRefused"
    assert "it has 6 members: 10.0.0.1, 10.0.0.2, 10.0.0.3 too" in failure.message
    assert "Nothing was changed" in failure.message
    assert not [event for event in target.look().events if event.startswith("scale")]
    assert target.created == []


async def test_target_that_is_told_the_sources_service(stage: Stage) -> None:
    source, target = two(stage)
    target.address = f"gcomm://mariadb.{source.cluster.namespace}.svc.cluster.local"
    failure = await failure_of(await clone(stage, source, target))
    assert failure.type == "ClusterUnhealthy"
    assert "wsrep_cluster_address of mariadb-server-0 names the source" in failure.message
    await assert_not_begun(stage, target)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_target_that_is_told_the_sources_service_meanwhile(stage: Stage, strategy: str) -> None:
    source, target = two(stage)
    handle = await clone(stage, source, target, strategy=strategy, require_approval=True)
    await in_phase(handle, "approve")
    target.address = f"gcomm://mariadb.{source.cluster.namespace}.svc.cluster.local"
    await handle.execute_update("approve", Answer(who="the tests", why="it looks right"))
    assert (await failure_of(handle)).type == "ClusterUnhealthy"
    await assert_not_begun(stage, target)


async def test_stopped_target_that_is_told_the_sources_pods(stage: Stage) -> None:
    source, target = two(stage, empty=True)
    host = f"mariadb-server-0.mariadb-discovery.{source.cluster.namespace}.svc.cluster.local"
    target.settings = (f"--wsrep-cluster-address=gcomm://{host}",)
    failure = await failure_of(await clone(stage, source, target, replicas=3))
    assert failure.type == "ClusterUnhealthy"
    assert host in failure.message
    assert target.events == []


async def test_source_that_is_the_target(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    request = {
        "cluster": world.cluster.model_dump(),
        "source": world.cluster.model_dump(),
        "backup_id": BACKUP_ID,
        "confirm": str(world.cluster),
    }
    failure = await failure_of(await stage.start("GaleraRestore", request))
    assert failure.type == "InvalidInput"
    assert "source: " in failure.message
    assert world.events == []


async def test_plan_says_whose_backup_it_is(stage: Stage) -> None:
    source, target = two(stage)
    handle = await clone(stage, source, target, require_approval=True)
    await in_phase(handle, "approve")
    plan: RestorePlan = await handle.query("plan", result_type=RestorePlan)
    assert (plan.cluster, plan.source) == (target.cluster, source.cluster)
    await handle.execute_update("reject", Answer(who="ada", why="not now"))
    assert (await failure_of(handle)).type == "RestoreRejected"
    await assert_not_begun(stage, target)


# --- the target's Secrets and the source's passwords

OTHER = PasswordReport(same=1, different=("'nova'@'%'",))


async def test_other_passwords_than_in_the_targets_secrets(stage: Stage) -> None:
    source, target = two(stage)
    target.volume.passwords = OTHER
    failure = await failure_of(await clone(stage, source, target))
    assert failure.type == "RestoreFailed"
    assert "other passwords than are in use today: 'nova'@'%'" in failure.message
    await assert_not_begun(stage, target)
    await assert_untouched(stage, source)


async def test_clone_gets_its_own_passwords_and_is_proved(stage: Stage) -> None:
    source, target = two(stage)
    target.volume.passwords = OTHER
    query = "SELECT COUNT(*) FROM nova.instances"
    target.proof.answers = {("live", query): 1146, (BACKUP_ID, query): (1, ["3"])}
    checks = [{"query": query, "expected": 3}]
    fields = {"reset_passwords_from_secrets": True, "checks": checks}
    result: RestoreResult = await (await clone(stage, source, target, **fields)).result()
    assert result.clone is not None
    assert target.cluster_uuid == result.clone.uuid
    assert result.proof is not None
    assert result.proof.passwords.reset == OTHER.different
    assert [check.seen for check in result.proof.checks] == ["3"]
    await assert_untouched(stage, source)


# --- after the cut


async def test_clone_that_joins_the_source_goes_back(stage: Stage) -> None:
    source, target = two(stage)
    target.plan(RunnerPlan("swap", held=True, times=3))
    handle = await clone(stage, source, target)
    await assert_eventually(lambda: sum("started: swap" in event for event in target.look().events) == 3)
    target.joins = source
    target.plan(RunnerPlan("swap", held=True, times=3))  # back again
    _let_go_first(target)
    await assert_eventually(lambda: sum("started: swap" in event for event in target.look().events) == 6)
    target.joins = None
    target.let_go()
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert f"is in the one with {CLUSTER_UUID}" in failure.message
    assert "The previous data was swapped back" in failure.message
    await stage.assert_settled(target)
    assert {claim.data for claim in target.claims.values()} == {"live"}
    await assert_untouched(stage, source)


def _let_go_first(world: World) -> None:
    """Those that are held now, not those that are still to come."""
    with world.lock:
        for pod in world.runners.values():
            pod.let_go()


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_member_from_elsewhere_is_seen_at_the_end(stage: Stage, strategy: str) -> None:
    source, target = two(stage)
    target.strangers = ("10.9.9.9",)
    handle = await clone(stage, source, target, strategy=strategy)
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert "10.9.9.9, which are not the clone's pods" in failure.message
    await stage.assert_settled(target)
    expected = "live" if strategy == "staged" else BACKUP_ID
    assert {claim.data for claim in target.claims.values()} == {expected}


async def test_member_that_does_not_answer_at_the_end_is_asked_again(stage: Stage) -> None:
    source, target = two(stage)
    lost = target.faults.add(
        Fault("group", when=lambda _: "scale 3" in target.events, before=DatabaseUnavailable("lost"))
    )
    await (await clone(stage, source, target, strategy="staged")).result()
    assert lost.times == 0
    await stage.assert_settled(target)


async def test_proof_is_tried_again(stage: Stage) -> None:
    """From where it failed: nothing is swapped or started a second time."""
    source, target = two(stage)
    target.strangers = ("10.9.9.9",)
    handle = await clone(stage, source, target, on_failure="ask")
    await in_phase(handle, "decide")
    with target.lock:
        target.strangers = ()
    await handle.execute_update("decide", Decision(who="ada", why="it has left", choice="retry"))
    result: RestoreResult = await handle.result()
    assert result.clone is not None
    assert result.proof is not None
    assert sum("started: swap" in event for event in target.look().events) == 3
    assert target.events.count("scale 0") == 1
    await stage.assert_settled(target)


async def test_lease_finishes_the_clone(stage: Stage) -> None:
    """A restore in place that ends between two claims is finished by its lease: with the clone's identity on all."""
    source, target = two(stage)
    target.plan(RunnerPlan("restore", ordinal=1, held=True))
    handle = await clone(stage, source, target, strategy="in_place")
    await assert_eventually(lambda: sum("started: restore" in event for event in target.look().events) == 2)
    await handle.terminate("by a test")
    await stage.assert_settled(target)
    assert {claim.data for claim in target.claims.values()} == {BACKUP_ID}
    [uuid] = {claim.cluster_uuid for claim in target.claims.values()}
    assert uuid not in ("", CLUSTER_UUID)


async def test_look_that_fails_leaves_all_as_it_was(stage: Stage) -> None:
    source, target = two(stage)
    target.faults.add(Step("look_at_sides", "services_of").fails(times=ALWAYS))
    failure = await failure_of(await clone(stage, source, target))
    assert failure.type == "KubernetesRefused"
    await assert_not_begun(stage, target)


async def test_list_of_the_sources_backups(stage: Stage) -> None:
    source, target = two(stage)
    request = CatalogRequest(cluster=target.cluster, source=source.cluster)
    found: Catalog = await (await stage.start("GaleraCatalog", request, Catalog)).result()
    assert [each.backup_id for each in found.backups] == [BACKUP_ID]
