"""GaleraRestore, strategy rolling: the outage ends with the first replica, and no replica ever joins on other data."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from galera_backup import names
from galera_backup.models.janitor import Verdict
from galera_backup.models.passwords import PasswordReport
from tests.fakes.kill import Step, reset, workflow_tasks
from tests.fakes.stage import BACKUP_ID, Handle, Stage, assert_eventually, failure_of
from tests.fakes.world import BACKUP, PRIMARY, RunnerPlan, World
from tests.matrix.ends import assert_whole
from tests.matrix.rolling import OUTAGE, scaled
from tests.matrix.table import started
from tests.support.runners import is_pod

BY_WHOM = 2
"""A runner has two attempts in the restore, and two more when the lease finishes it."""


async def restore(stage: Stage, world: World, **fields: Any) -> Handle:
    return await stage.restore(world, strategy="rolling", **fields)


async def test_what_happens_in_which_order(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    result = await (await restore(stage, world)).result()
    assert await assert_whole(stage, world) == BACKUP_ID
    phases = ["lease", "plan", "check", "tidy", "unpack", "stop", "restore-0"]
    phases += ["start-first", "restore-1", "restore-2", "start", "prove"]
    assert [each.phase for each in result.phases] == phases
    assert [each.claim for each in result.claims] == [world.claim_name(ordinal) for ordinal in range(3)]
    assert [each.report.unpack_seconds for each in result.claims] == [2, 0, 0]  # in no pod of the outage
    assert result.untidy == ()
    assert [claim.safe_to_bootstrap for claim in world.claims.values()] == [True, False, False]
    assert [claim.written for claim in world.claims.values()] == [1, 1, 1]
    assert scaled(world) == ["scale 0", "scale 1", "scale 3"]
    down, first, up = (world.events.index(each) for each in scaled(world))
    ready = world.events.index("mariadb-server-0 Ready", first)
    modes = [event.rpartition(": ")[2] for event in world.events if "started: " in event]
    assert modes == [*["check"] * 3, "discard", "unpack", *["restore"] * 3, "discard"]
    [copied] = [each for each in world.events[down:first] if "started: " in each]
    assert is_pod(copied.removeprefix("runner ").removesuffix(" started: restore"), "0")
    assert sum("started: restore" in each for each in world.events[ready:up]) == 2
    assert 0 < result.outage_seconds < sum(each.seconds for each in result.phases[5:])


async def test_first_replica_serves_while_the_others_are_restored(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=1, held=True))
    handle = await restore(stage, world)
    await assert_eventually(lambda: started(world, "restore") == 2)
    await asyncio.sleep(0.5)
    assert [(name, member.ready) for name, member in world.look().members.items()] == [("mariadb-server-0", True)]
    assert world.listing("mariadb-server-0") == ["mariadb", "mariadb-primary"]
    assert names.LEASE_ANNOTATION in world.statefulset.annotations
    world.let_go()
    await handle.result()
    assert await assert_whole(stage, world) == BACKUP_ID


async def test_primary_that_is_another_replica_moves_to_the_first(stage: Stage) -> None:
    """The first one serves the writes of all clients at once, and keeps them."""
    world = stage.world(primary=2, backups=(BACKUP_ID,))
    await (await restore(stage, world)).result()
    plain = {"app": "mariadb"}
    labels = {f"mariadb-server-{ordinal}": plain | (PRIMARY if ordinal == 0 else {}) for ordinal in range(3)}
    assert BACKUP["mariadb-role"] not in str(labels)
    await stage.assert_settled(world, labels=labels)


async def test_single_replica_is_restored_as_in_place(stage: Stage) -> None:
    world = stage.world(replicas=1, backups=(BACKUP_ID,))
    result = await (await restore(stage, world)).result()
    await stage.assert_settled(world)
    assert scaled(world) == ["scale 0", "scale 1"]
    assert [each.phase for each in result.phases][-3:] == ["restore-0", "start", "prove"]
    assert 0 < result.outage_seconds < 60


async def test_cluster_at_zero_replicas(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,), at_zero=True)
    await (await restore(stage, world, replicas=3)).result()
    assert world.statefulset.replicas == 3
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}
    assert world.violations == []


async def test_needs_room_on_the_backup_volume_alone(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    for claim in world.claims.values():
        claim.free_kb = 300_000  # none for a second copy
    world.volume.free_kb = 1000
    failure = await failure_of(await restore(stage, world))
    assert failure.type == "NotEnoughSpace"
    assert "mariadb-phy-backup-data" in failure.message
    assert world.claim_name(0) not in failure.message
    world.volume.free_kb = 10_000_000
    await (await restore(stage, world)).result()
    assert await assert_whole(stage, world) == BACKUP_ID


@pytest.mark.parametrize("mode", ["unpack", "discard"])
async def test_failure_before_the_cut_leaves_the_cluster_alone(stage: Stage, mode: str) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan(mode, end="fails", error="NotEnoughSpace"))
    failure = await failure_of(await restore(stage, world))
    assert failure.type == ("NotEnoughSpace" if mode == "unpack" else "RestoreFailed")
    assert await assert_whole(stage, world) == "live"
    assert scaled(world) == []


async def test_what_was_unpacked_is_lost(stage: Stage) -> None:
    """The pods that copy unpack it again."""
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=1, held=True))
    handle = await restore(stage, world)
    await assert_eventually(lambda: started(world, "restore") == 2)
    with world.lock:
        world.volume.unpacked.clear()
    world.let_go()
    result = await handle.result()
    assert [each.report.unpack_seconds for each in result.claims] == [2, 1, 0]
    assert await assert_whole(stage, world) == BACKUP_ID


async def test_cancelled_while_the_first_serves_says_what_runs(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=1, held=True))
    handle = await restore(stage, world)
    await assert_eventually(lambda: started(world, "restore") == 2)
    await handle.cancel()
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert "runs on the restored data" in failure.message
    assert await assert_whole(stage, world) == BACKUP_ID


async def test_first_replica_that_does_not_serve_alone(stage: Stage) -> None:
    """Its image may wait for the others: they are restored, and all start together."""
    world = stage.world(backups=(BACKUP_ID,))
    gate = world.faults.add(OUTAGE["first formed"].held()).gate
    assert gate is not None
    world.never_ready = {0}
    handle = await restore(stage, world, ready_timeout=3)
    await assert_eventually(gate.entered.is_set)
    gate.open()
    await assert_eventually(lambda: started(world, "restore") >= 2)
    with world.lock:
        world.never_ready = set()
        world.recreate(0)
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert "The cluster was started again" in failure.message
    assert await assert_whole(stage, world) == BACKUP_ID


# --- a claim that cannot be restored


async def left_in_part(stage: Stage, world: World, ordinal: int = 1, times: int = 2 * BY_WHOM) -> Handle:
    """The restore and its lease have given up on one claim."""
    world.plan(RunnerPlan("restore", ordinal=ordinal, end="fails", error="RestoreFailed", times=times))
    handle = await restore(stage, world)
    failure = await failure_of(handle)
    assert failure.type == "RestoreFailed"
    assert "stays at 1 of 3 replicas" in failure.message
    assert f"{world.claim_name(0)} restored, {world.claim_name(1)} incomplete" in failure.message
    assert "run the janitor" in failure.message
    assert (await failure_of(stage.lease(world))).type == "ClusterLeftPartial"
    assert_serves_alone(world)
    return handle


def assert_serves_alone(world: World) -> None:
    world.look()
    assert world.statefulset.replicas == 1
    assert {name: member.ready for name, member in world.members.items()} == {"mariadb-server-0": True}
    assert names.LEASE_ANNOTATION in world.statefulset.annotations
    assert world.claims[world.claim_name(0)].data == BACKUP_ID
    assert not list(world.present_runners())
    assert world.violations == []


async def test_claim_that_cannot_be_restored(stage: Stage) -> None:
    """The first goes on serving; the janitor finishes the restore when it can."""
    world = stage.world(backups=(BACKUP_ID,))
    await left_in_part(stage, world)
    assert world.volume.unpacked  # for whoever finishes it
    result = await (await stage.janitor(world)).result()
    [mended] = [each for each in result.mended if each.name == "mariadb-server"]
    assert f"{world.claim_name(1)} restored" in mended.text
    assert await assert_whole(stage, world) == BACKUP_ID
    assert world.claims[world.claim_name(0)].written == 1  # what was written since is kept


async def test_janitor_that_cannot_finish_changes_nothing(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    await left_in_part(stage, world, times=3 * BY_WHOM)
    failure = await failure_of(await stage.janitor(world))
    assert failure.type == "ClusterLeftPartial"
    assert_serves_alone(world)
    again = await (await stage.janitor(world)).result()
    [found] = [each for each in again.found if each.kind == "statefulset"]
    assert found.verdict == Verdict.STAYS_STOPPED
    assert "stays at 1 of 3 replicas" in found.text
    assert_serves_alone(world)


async def test_volume_that_cannot_be_read_is_not_overwritten(stage: Stage) -> None:
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=1, end="fails early", error="RestoreFailed", times=BY_WHOM))
    look = Step("run_runner", "create_pod", lambda arguments: "-look-2" in arguments["pod"].metadata.name)
    world.faults.add(look.fails())
    failure = await failure_of(await restore(stage, world))
    assert f"{world.claim_name(1)} untouched, {world.claim_name(2)} unknown" in failure.message
    assert_serves_alone(world)
    assert [claim.data for claim in world.claims.values()] == [BACKUP_ID, "live", "live"]


@pytest.mark.parametrize("strategy", ["rolling", "in_place", "staged"])
async def test_next_restore_of_a_cluster_left_in_part(stage: Stage, strategy: str) -> None:
    """It would take the one replica for the whole cluster, so it is refused until a person stops that."""
    world = stage.world(backups=(BACKUP_ID,))
    await left_in_part(stage, world)
    for fields in ({}, {"replicas": 3}):
        failure = await failure_of(await stage.restore(world, strategy=strategy, **fields))
        assert failure.type == "InvalidInput"
        assert "1 of 3 replicas" in failure.message
        assert_serves_alone(world)
    world.scale_by_hand(0)
    await assert_eventually(lambda: not world.look().members)
    await (await stage.restore(world, strategy=strategy, replicas=3)).result()
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}
    assert world.statefulset.replicas == 3
    assert world.violations == []


async def test_reset_to_the_first_task_while_the_first_serves(stage: Stage) -> None:
    """The lease of the former run finishes it; the new run then finds a whole cluster, and restores that."""
    world = stage.world(backups=(BACKUP_ID,))
    world.plan(RunnerPlan("restore", ordinal=1, held=True))
    handle = await restore(stage, world)
    await assert_eventually(lambda: started(world, "restore") == 2)
    again = await reset(stage, handle, (await workflow_tasks(handle))[0])
    await again.result()
    assert await assert_whole(stage, world) == BACKUP_ID
    assert scaled(world) == ["scale 0", "scale 1", "scale 3"] * 2


async def test_first_replica_that_a_person_wants_to_start_on_its_old_data(stage: Stage) -> None:
    """It does not start, and nothing is restored; all of it is the old cluster still."""
    world = stage.world(backups=(BACKUP_ID,))
    gate = world.faults.add(OUTAGE["restore-0"].held()).gate
    assert gate is not None
    handle = await restore(stage, world)
    await assert_eventually(gate.entered.is_set)
    world.scale_by_hand(1)
    assert world.look().members == {}
    gate.open()
    failure = await failure_of(handle)
    assert "expected at most 0 replicas, it was scaled to 1" in failure.message
    assert await assert_whole(stage, world) == "live"


async def test_other_passwords_than_the_secrets(stage: Stage) -> None:
    """The worker could not log in to the restored cluster, and there is no way back."""
    world = stage.world(backups=(BACKUP_ID,))
    world.volume.passwords = PasswordReport(different=("'backup'@'%'",))
    failure = await failure_of(await restore(stage, world))
    assert "other passwords than are in use today: 'backup'@'%'" in failure.message
    assert scaled(world) == []
    await stage.assert_settled(world)
    [task] = [pod for pod in world.created if is_pod(pod.metadata.name, "unpack")]
    [accounts] = [volume.projected for volume in task.spec.volumes if volume.projected is not None]
    assert [source.secret.name for source in accounts.sources] == ["mariadb-backup"]
