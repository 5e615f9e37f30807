"""Marks that somebody removes, or that another version wrote; what undoing and scaling do about them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from galera_backup import names
from galera_backup.errors import KubernetesUnavailable, LeaseLost, MarkUnreadable, ScaleFailed
from galera_backup.marks import mark_of
from galera_backup.models.activities import Revoked, ScaleTask
from galera_backup.models.common import LeaseRef
from galera_backup.models.mark import RECIPE_VERSION, Mark, StartRecipe
from galera_backup.models.restore import Strategy
from tests.activities.undoing import start
from tests.fakes.bench import LEASE, OTHER, Bench

REMOVALS = pytest.mark.parametrize("all_annotations", [False, True], ids=["mark", "annotations"])


def recipe(bench: Bench, **fields: Any) -> StartRecipe:
    values: dict[str, Any] = {
        "site": bench.site,
        "replicas_before": 3,
        "replicas": 3,
        "restore_id": "20261122t020000z",
        "claims": tuple(bench.world.claims),
        "runner_pod_prefix": "restore",
        "primary_pod": "mariadb-server-0",
        "runner_timeout": timedelta(minutes=1),
        "ready_timeout": timedelta(minutes=1),
    }
    return StartRecipe.model_validate(values | fields)


def undo(bench: Bench, replicas: int = 3, known_by: LeaseRef | None = LEASE, **fields: Any) -> ScaleTask:
    """A step of undoing, by the lease itself."""
    task = bench.scale(replicas)
    mark = task.mark.model_copy(update={"undo": recipe(bench, **fields)})
    return task.model_copy(update={"mark": mark, "known_by": known_by, "undoing": True})


async def stopped(bench: Bench, **fields: Any) -> None:
    task = undo(bench, 0, **fields)
    await bench.run(bench.kubernetes.scale_down, task)
    await bench.run(bench.kubernetes.wait_stopped, task)


def lease_on(bench: Bench) -> LeaseRef | None:
    mark = mark_of(bench.world.statefulset.annotations)
    return mark.lease if mark else None


@REMOVALS
async def test_stopped_without_its_mark_is_marked_again_and_started(bench: Bench, all_annotations: bool) -> None:
    await stopped(bench)
    bench.world.remove_mark(all_annotations=all_annotations)
    revoked: Revoked = await bench.run(bench.kubernetes.revoke_statefulset, undo(bench))
    assert revoked == Revoked(marked=True, replicas=0)
    mark = mark_of(bench.world.statefulset.annotations)
    assert mark is not None
    assert (mark.lease, mark.undo) == (LEASE, recipe(bench))
    bench.world.remove_mark(all_annotations=all_annotations)
    await start(bench, undo(bench))
    await bench.twice(bench.kubernetes.scale_up, undo(bench))
    assert (bench.world.statefulset.replicas, lease_on(bench)) == (3, LEASE)


@REMOVALS
async def test_late_stop_has_no_effect_although_its_note_was_removed(bench: Bench, all_annotations: bool) -> None:
    """ADR 7: whoever undoes has changed the StatefulSet, and has written the note again."""
    frozen = await bench.freeze("scale", bench.kubernetes.scale_down, undo(bench, 0))
    await bench.run(bench.kubernetes.scale_down, undo(bench, 0))
    await bench.run(bench.kubernetes.revoke_statefulset, undo(bench))
    bench.world.remove_mark(all_annotations=all_annotations)
    await start(bench, undo(bench))
    assert isinstance(await frozen.goes_on(), KubernetesUnavailable)
    with pytest.raises(LeaseLost, match="has begun to undo"):
        await bench.run(bench.kubernetes.scale_down, undo(bench, 0))
    bench.world.remove_mark(all_annotations=all_annotations)
    await bench.twice(bench.kubernetes.unmark_statefulset, undo(bench))
    with pytest.raises(LeaseLost, match="has begun to undo"):
        await bench.run(bench.kubernetes.scale_down, undo(bench, 0))
    assert (bench.world.statefulset.replicas, lease_on(bench)) == (3, None)


async def test_runner_of_an_undo_starts_once_the_mark_is_back(bench: Bench) -> None:
    await stopped(bench)
    await bench.run(bench.holds.hold_names, bench.hold())
    bench.world.remove_mark(all_annotations=True)
    with pytest.raises(LeaseLost, match="somebody removed the mark"):
        await bench.run(bench.runner.run_runner, bench.job("undo"))
    await bench.run(bench.kubernetes.revoke_statefulset, undo(bench))
    assert (await bench.run(bench.runner.run_runner, bench.job("undo"))).error is None
    with pytest.raises(LeaseLost, match="has begun to undo"):
        await bench.run(bench.runner.run_runner, bench.job("stopped", pod="late"))


async def test_nobody_knows_who_stopped_it(bench: Bench) -> None:
    """The janitor: without a mark a person has decided."""
    await stopped(bench)
    bench.world.remove_mark(all_annotations=True)
    revoked = await bench.run(bench.kubernetes.revoke_statefulset, undo(bench, known_by=None))
    assert revoked == Revoked(marked=False, replicas=0)
    await bench.run(bench.kubernetes.scale_up, undo(bench, known_by=None))
    assert (bench.world.statefulset.replicas, lease_on(bench)) == (0, None)


async def test_who_knows_has_ended(bench: Bench) -> None:
    """An attempt that comes late must not start what a person has stopped since."""
    await stopped(bench)
    bench.world.remove_mark()
    bench.leases.status[LEASE.run_id] = WorkflowExecutionStatus.COMPLETED
    for activity in (bench.kubernetes.revoke_statefulset, bench.kubernetes.scale_up):
        with pytest.raises(LeaseLost, match="it is COMPLETED"):
            await bench.run(activity, undo(bench))
    assert (bench.world.statefulset.replicas, lease_on(bench)) == (0, None)


async def test_mark_of_another_lease_is_not_replaced(bench: Bench) -> None:
    await stopped(bench)
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.RUNNING
    await bench.run(bench.kubernetes.scale_down, bench.scale(0, OTHER))
    assert not (await bench.run(bench.kubernetes.revoke_statefulset, undo(bench))).marked
    with pytest.raises(LeaseLost):
        await bench.run(bench.kubernetes.scale_up, undo(bench))
    assert (bench.world.statefulset.replicas, lease_on(bench)) == (0, OTHER)


async def test_running_cluster_without_a_mark_is_left_alone(bench: Bench) -> None:
    assert await bench.run(bench.kubernetes.revoke_statefulset, undo(bench)) == Revoked(marked=False, replicas=3)
    assert lease_on(bench) is None


@pytest.mark.parametrize(("strategy", "marked"), [(Strategy.ROLLING, True), (Strategy.IN_PLACE, False)])
async def test_started_in_part_without_its_mark(bench: Bench, strategy: Strategy, marked: bool) -> None:
    """A rolling restore whose first replica serves is not over; one in place was started by a person."""
    await stopped(bench, strategy=strategy)
    await start(bench, undo(bench, 1, strategy=strategy))
    bench.world.remove_mark(all_annotations=True)
    revoked = await bench.run(bench.kubernetes.revoke_statefulset, undo(bench, strategy=strategy))
    assert revoked == Revoked(marked=marked, replicas=1)
    assert lease_on(bench) == (LEASE if marked else None)


# --- the recipe changes while the cluster is stopped


def renamed(bench: Bench) -> ScaleTask:
    return undo(bench, 0, data_may_have_changed=True)


@pytest.mark.parametrize("removed", [False, True])
async def test_recipe_says_that_data_may_have_changed(bench: Bench, removed: bool) -> None:
    await stopped(bench)
    if removed:
        bench.world.remove_mark(all_annotations=True)
    task = renamed(bench)
    await bench.twice(bench.kubernetes.renew_mark, task)
    mark = mark_of(bench.world.statefulset.annotations)
    assert mark == task.mark
    assert mark.start is not None
    assert mark.start.data_may_have_changed
    assert bench.world.statefulset.replicas == 0


async def test_late_note_of_a_swap_has_no_effect(bench: Bench) -> None:
    await stopped(bench)
    frozen = await bench.freeze("mark_statefulset", bench.kubernetes.renew_mark, renamed(bench))
    await bench.run(bench.kubernetes.revoke_statefulset, undo(bench))
    assert isinstance(await frozen.goes_on(), KubernetesUnavailable)
    with pytest.raises(LeaseLost, match="has begun to undo"):
        await bench.run(bench.kubernetes.renew_mark, renamed(bench))


async def test_no_swap_in_a_cluster_that_was_started_or_taken_over(bench: Bench) -> None:
    with pytest.raises(ScaleFailed, match="scaled to 3"):
        await bench.run(bench.kubernetes.renew_mark, renamed(bench))
    await stopped(bench)
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.RUNNING
    await bench.run(bench.kubernetes.scale_down, bench.scale(0, OTHER))
    with pytest.raises(LeaseLost, match="it has that of"):
        await bench.run(bench.kubernetes.renew_mark, renamed(bench))
    assert lease_on(bench) == OTHER


async def test_mark_of_a_newer_version_is_not_replaced(bench: Bench) -> None:
    newer = {"version": RECIPE_VERSION + 1, "undo": "start", "what": "nobody knows"}
    mark = Mark.model_validate({"lease": OTHER, "owner": "tomorrow", "until": datetime.now(UTC), "undo": newer})
    bench.world.statefulset.annotations[names.LEASE_ANNOTATION] = mark.model_dump_json()
    with pytest.raises(MarkUnreadable, match="newer version"):
        await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    assert mark_of(bench.world.statefulset.annotations) == mark
    assert bench.world.statefulset.replicas == 3


# --- a mark that cannot be read

DAMAGED, FUTURE = "{", '{"lease": {"by": "name"}, "whatever": 1}'
UNREADABLE = pytest.mark.parametrize("text", [DAMAGED, FUTURE], ids=["damaged", "future"])


def write(bench: Bench, text: str, ordinal: int | None = None) -> None:
    carrier = bench.world.statefulset if ordinal is None else bench.world.member(ordinal)
    carrier.annotations[names.LEASE_ANNOTATION] = text
    carrier.version += 1


def written(bench: Bench, ordinal: int | None = None) -> str:
    carrier = bench.world.statefulset if ordinal is None else bench.world.member(ordinal)
    return carrier.annotations[names.LEASE_ANNOTATION]


@UNREADABLE
async def test_cluster_whose_mark_cannot_be_read_is_not_stopped(bench: Bench, text: str) -> None:
    write(bench, text)
    with pytest.raises(MarkUnreadable, match="Run the janitor of the newer version; or read the annotation"):
        await bench.run(bench.kubernetes.scale_down, undo(bench, 0))
    assert (bench.world.statefulset.replicas, written(bench)) == (3, text)


@UNREADABLE
async def test_mark_that_cannot_be_read_any_more_is_not_overwritten(bench: Bench, text: str) -> None:
    """Every step on the stopped cluster is refused until a person has removed it; then the undo goes on."""
    await stopped(bench)
    write(bench, text)
    for activity, task in (
        (bench.kubernetes.renew_mark, renamed(bench)),
        (bench.kubernetes.scale_up, undo(bench)),
        (bench.kubernetes.scale_up, undo(bench, known_by=None)),
        (bench.kubernetes.revoke_statefulset, undo(bench)),
        (bench.kubernetes.scale_up, undo(bench)),
    ):
        with pytest.raises(MarkUnreadable, match="cannot be read"):
            await bench.run(activity, task)
    with pytest.raises(LeaseLost, match="it has one that cannot be read"):
        await bench.run(bench.runner.run_runner, bench.job("undo"))
    await bench.run(bench.kubernetes.unmark_statefulset, undo(bench))
    assert (bench.world.statefulset.replicas, written(bench)) == (0, text)
    bench.world.remove_mark()
    assert (await bench.run(bench.kubernetes.revoke_statefulset, undo(bench))).marked
    await bench.run(bench.kubernetes.scale_up, undo(bench))
    assert bench.world.statefulset.replicas == 3


@UNREADABLE
async def test_replica_whose_mark_cannot_be_read_is_not_marked(bench: Bench, text: str) -> None:
    write(bench, text, 2)
    with pytest.raises(MarkUnreadable, match="marking pod 'mariadb-server-2': its annotation"):
        await bench.run(bench.galera.mark_replica, bench.replica())
    assert written(bench, 2) == text


async def test_mark_of_a_newer_version_on_a_replica_is_not_replaced(bench: Bench) -> None:
    newer = {"version": RECIPE_VERSION + 1, "undo": "resync", "what": "nobody knows"}
    mark = Mark.model_validate({"lease": OTHER, "owner": "tomorrow", "until": datetime.now(UTC), "undo": newer})
    write(bench, mark.model_dump_json(), 2)
    with pytest.raises(MarkUnreadable, match="newer version"):
        await bench.run(bench.galera.mark_replica, bench.replica())
    assert mark_of(bench.world.member(2).annotations) == mark


async def test_replica_whose_mark_was_damaged_is_resynced(bench: Bench) -> None:
    """The lease knows that it has desynced it. What is written there stays."""
    task = (await bench.desynced()).model_copy(update={"only_if_marked": False})
    write(bench, DAMAGED, 2)
    await bench.run(bench.kubernetes.revoke_replica, task)
    await bench.run(bench.galera.resync, task)
    await bench.run(bench.kubernetes.unmark_replica, task)
    assert not bench.world.look().member(2).desync
    assert written(bench, 2) == DAMAGED
