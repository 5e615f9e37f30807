"""Somebody scales the cluster up while it is stopped: no server starts on data that is being replaced."""

from __future__ import annotations

import asyncio

import pytest

from galera_backup import names
from galera_backup.errors import RestoreFailed
from tests.fakes.kill import Step
from tests.fakes.stage import BACKUP_ID, Stage, assert_eventually, failure_of
from tests.fakes.world import RunnerPlan, World


def servers_started(world: World, since: int) -> list[str]:
    return [event for event in world.events[since:] if " created on " in event]


def works(world: World, mode: str) -> bool:
    """One that the test holds."""
    return any(pod.working and pod.held and pod.job.mode == mode for pod in world.look().runners.values())


@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize(
    ("strategy", "mode", "ordinal"),
    [
        ("staged", "swap", 0),
        ("staged", "swap", 2),
        ("in_place", "restore", 0),
        ("in_place", "restore", 1),
        ("rolling", "restore", 0),
        ("rolling", "restore", 1),
    ],
)
async def test_scaled_up_while_data_is_replaced(
    stage: Stage, strategy: str, mode: str, ordinal: int, replicas: int
) -> None:
    """The restore goes on: what has begun is finished, and then all replicas start on it, as many as there were."""
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan(mode, ordinal=ordinal, held=True))
    handle = await stage.restore(world, strategy=strategy)
    await assert_eventually(lambda: works(world, mode))
    serving = set(world.look().members)
    assert serving == ({names.pod(world.cluster, 0)} if (strategy, ordinal) == ("rolling", 1) else set())
    since = len(world.events)
    world.scale_by_hand(replicas)
    for _ in range(20):
        await asyncio.sleep(world.delays.pod)
        assert set(world.look().members) == serving
    assert servers_started(world, since) == []
    world.let_go()
    await handle.result()
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}
    assert world.violations == []
    assert world.holds == {}
    await stage.assert_settled(world)


@pytest.mark.parametrize("strategy", ["staged", "rolling", "in_place"])
async def test_scaled_up_while_it_is_stopped(stage: Stage, strategy: str) -> None:
    """Nothing was changed yet: the restore ends at once, and says what was seen."""
    world = stage.world(backups=(BACKUP_ID,))
    world.delays = type(world.delays)(pod=1.5)
    handle = await stage.restore(world, strategy=strategy, stop_timeout=600)
    await assert_eventually(lambda: "down 1" in world.look().events)
    world.scale_by_hand(3)
    error = await failure_of(handle)
    assert isinstance(error, RestoreFailed)
    assert "expected at most 1 replicas, it was scaled to 3" in error.message
    assert {claim.data for claim in world.claims.values()} == {"live"}
    assert world.holds == {}
    await stage.assert_settled(world)


@pytest.mark.parametrize("strategy", ["staged", "in_place"])
async def test_a_name_that_is_taken(stage: Stage, strategy: str) -> None:
    """As by a person's pod: it was not held, so nothing is renamed."""
    world = stage.world(backups=(BACKUP_ID,))
    name = names.pod(world.cluster, 1)
    world.taken = frozenset({name})
    error = await failure_of(await stage.restore(world, strategy=strategy))
    assert f"expected {name} to be free or held by us" in error.message
    assert {claim.data for claim in world.claims.values()} == {"live"}
    assert world.holds == {}
    world.taken = frozenset()
    await stage.assert_settled(world)


async def test_scaled_up_before_the_first_change(stage: Stage) -> None:
    """In place: the first pod still unpacks the backup, so that nothing is begun; the one who scaled is named."""
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=0, end="fails early", held=True))
    handle = await stage.restore(world, strategy="in_place")
    await assert_eventually(lambda: works(world, "restore"))
    world.scale_by_hand(3)
    error = await failure_of(handle)
    assert "expected at most 0 replicas, it was scaled to 3" in error.message
    assert {claim.data for claim in world.claims.values()} == {"live"}
    assert world.holds == {}
    await stage.assert_settled(world)


@pytest.mark.parametrize("strategy", ["in_place", "rolling"])
async def test_the_first_pod_never_starts(stage: Stage, strategy: str) -> None:
    """No pod had the claim, so nobody has to look at it: no other pod would start either."""
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=0, end="never starts"))
    world.plan(RunnerPlan("inspect", end="never starts", times=99))
    handle = await stage.restore(world, strategy=strategy)
    error = await failure_of(handle)
    assert "it did not start" in error.message
    assert "No data was changed. The cluster was started again" in error.message
    assert {claim.data for claim in world.claims.values()} == {"live"}
    await stage.assert_settled(world)


async def test_no_pod_starts_and_the_last_server_was_killed(stage: Stage) -> None:
    """Nobody can say of its claim that it may form the cluster: the failure says how a person does."""
    world = stage.world(backups=(BACKUP_ID,))
    world.kills_the_last = True
    world.plan(RunnerPlan("restore", ordinal=0, end="never starts"))
    world.plan(RunnerPlan("inspect", end="never starts", times=99))
    error = await failure_of(await stage.restore(world, strategy="in_place", ready_timeout=3))
    assert "it did not start" in error.message
    assert "set 'safe_to_bootstrap: 1' in its grastate.dat" in error.message
    assert {claim.data for claim in world.look().claims.values()} == {"live"}


@pytest.mark.parametrize("strategy", ["in_place", "rolling"])
async def test_the_first_pod_works_though_its_other_container_never_starts(stage: Stage, strategy: str) -> None:
    """What was unpacked before the stop needs no tool any more; the phase of such a pod is Pending."""
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=0, end="starts in part", held=True))
    handle = await stage.restore(world, strategy=strategy)
    await assert_eventually(lambda: works(world, "restore"))
    await asyncio.sleep(1.5)  # one that has not started is given up after a second
    assert works(world, "restore")
    world.let_go()
    await handle.result()
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}
    await stage.assert_settled(world)


async def test_whoever_sets_it_back_takes_the_mark_too(stage: Stage) -> None:
    """An operator that reverts replicas and annotations in a loop: the first replica is not stopped again and again."""
    world = stage.world(backups=(BACKUP_ID,))
    handle = await stage.restore(world, strategy="staged", stop_timeout=600)

    async def revert() -> None:
        while True:
            if world.look().statefulset.replicas < 3:
                world.remove_mark(all_annotations=True)
                world.scale_by_hand(3)
            await asyncio.sleep(0.01)

    reverting = asyncio.ensure_future(revert())
    error = await failure_of(handle)
    reverting.cancel()
    assert "it was scaled to 3" in error.message
    assert {claim.data for claim in world.claims.values()} == {"live"}
    await stage.assert_settled(world)


@pytest.mark.parametrize("strategy", ["staged", "in_place"])
async def test_claims_that_do_not_outlive_the_stop(stage: Stage, strategy: str) -> None:
    """As with `whenScaled: Delete`, set after the last look: no server starts on a new, empty claim."""
    world = stage.world(backups=(BACKUP_ID,))
    world.delays = type(world.delays)(pod=0.4)
    handle = await stage.restore(world, strategy=strategy)
    await assert_eventually(lambda: "down 1" in world.look().events)
    since = len(world.events)
    with world.lock:
        for claim in world.claims.values():
            claim.uid, claim.data = f"new-{claim.name}", "empty"
    error = await failure_of(handle)
    assert "were deleted: what they held is lost" in error.message
    assert "again" not in error.message
    await stage.end_of(stage.lease(world))
    assert servers_started(world, since) == []
    assert set(world.look().holds) == {names.pod(world.cluster, ordinal) for ordinal in range(3)}


async def test_servers_that_others_start_on_half_restored_data(stage: Stage) -> None:
    """Somebody removes what holds the names, and scales up: nobody says that the cluster was started again."""
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=1, held=True))
    handle = await stage.restore(world, strategy="in_place")
    await assert_eventually(lambda: sum(claim.data == BACKUP_ID for claim in world.look().claims.values()) == 1)
    await assert_eventually(lambda: works(world, "restore"))
    with world.lock:
        world.holds.clear()
    world.scale_by_hand(3)
    error = await failure_of(handle)
    assert "nothing holds the names of its servers any more" in error.message
    assert "start the restore again" in error.message


@pytest.mark.parametrize("strategy", ["in_place", "staged"])
async def test_what_an_earlier_restore_left_is_not_started(stage: Stage, strategy: str) -> None:
    """A cluster that was left stopped, scaled up by hand; the next restore fails in its stop."""
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=1, end="fails", error="RestoreFailed", times=99))
    assert (await failure_of(await stage.restore(world, strategy="in_place"))).type == "RestoreFailed"
    await stage.end_of(stage.lease(world))
    assert set(world.look().holds) == {names.pod(world.cluster, ordinal) for ordinal in range(3)}
    since = len(world.events)
    world.plans = [RunnerPlan(mode, end="fails early", error="RestoreFailed", times=9) for mode in ("swap", "restore")]
    world.scale_by_hand(3)
    error = await failure_of(await stage.restore(world, strategy=strategy))
    assert "stays at 0 replicas" in error.message
    await stage.end_of(stage.lease(world))
    assert servers_started(world, since) == []
    assert world.look().holds


async def test_holds_that_somebody_removes_before_the_swap(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    gate = world.faults.add(Step("renew_mark", "statefulset").held()).gate
    assert gate is not None
    handle = await stage.restore(world, strategy="staged")
    await assert_eventually(gate.entered.is_set)
    with world.lock:
        world.holds.clear()
    gate.open()
    error = await failure_of(handle)
    assert "somebody has removed the pods that held them" in error.message
    assert {claim.data for claim in world.claims.values()} == {"live"}
    await stage.assert_settled(world)


async def test_claims_that_go_when_no_pod_uses_them(stage: Stage) -> None:
    """Somebody deletes one in the stop: it is still there, and no server could start on it."""
    world = stage.world(backups=(BACKUP_ID,))
    world.delays = type(world.delays)(pod=0.4)
    handle = await stage.restore(world, strategy="staged")
    await assert_eventually(lambda: "down 1" in world.look().events)
    with world.lock:
        world.claims[world.claim_name(1)].deleting = True
    error = await failure_of(handle)
    assert f"{world.claim_name(1)} were deleted" in error.message
    await stage.end_of(stage.lease(world))
    assert {claim.data for claim in world.look().claims.values()} == {"live"}


async def test_claims_that_go_while_undo_waits_for_the_last_pod(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    look = world.faults.add(Step("wait_stopped", "members", lambda _: world.statefulset.replicas == 0).held())
    assert look.gate is not None
    handle = await stage.restore(world, strategy="in_place")
    await assert_eventually(look.gate.entered.is_set, lambda: world.events)
    again = world.faults.add(Step("wait_stopped", "members").held())
    assert again.gate is not None
    await handle.cancel()
    look.gate.open()
    await assert_eventually(again.gate.entered.is_set, lambda: world.events)
    since = len(world.events)
    with world.lock:
        claim = world.claims[world.claim_name(0)]
        claim.uid, claim.data = "new", "empty"
    again.gate.open()
    error = await failure_of(handle)
    assert "were deleted: what they held is lost" in error.message
    await stage.end_of(stage.lease(world))
    assert servers_started(world, since) == []


async def test_a_mark_that_somebody_removes_before_the_swap(stage: Stage) -> None:
    """The way back writes it again, else no pod could say what the claims hold."""
    world = stage.world(backups=(BACKUP_ID,))
    swap = Step("run_runner", "create_pod", lambda arguments: "-in-" in arguments["pod"].metadata.name)
    fault = world.faults.add(swap.held())
    assert fault.gate is not None
    handle = await stage.restore(world, strategy="staged")
    await assert_eventually(fault.gate.entered.is_set, lambda: world.events)
    world.remove_mark(all_annotations=True)
    fault.gate.open()
    error = await failure_of(handle)
    assert "The previous data was swapped back" in error.message
    assert {claim.data for claim in world.claims.values()} == {"live"}
    await stage.assert_settled(world)
