"""Names that are held: each activity twice, and frozen when its lease ends."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from temporalio.client import WorkflowExecutionStatus

from galera_backup.errors import LeaseLost, ScaleFailed
from galera_backup.models.activities import FormTask
from galera_backup.names import RELEASED_ANNOTATION
from tests.activities.undoing import end_lease, undo_stop
from tests.fakes.bench import LEASE, OTHER, Bench

NAMES = {"mariadb-server-0", "mariadb-server-1", "mariadb-server-2"}


async def test_held_and_released(bench: Bench) -> None:
    await bench.stopped()
    await bench.twice(bench.holds.hold_names, bench.hold())
    assert set(bench.world.holds) == NAMES
    await bench.twice(bench.holds.release_names, bench.hold("mariadb-server-0"))
    assert set(bench.world.holds) == NAMES - {"mariadb-server-0"}
    await bench.twice(bench.holds.release_names, bench.hold())
    assert bench.world.holds == {}


async def test_release_wakes_a_controller_that_has_backed_off(bench: Bench) -> None:
    """Also where the attempt that released the names has died before it woke the controller."""
    await bench.stopped()
    await bench.run(bench.holds.release_names, bench.hold())
    assert RELEASED_ANNOTATION not in bench.world.statefulset.annotations, "it wants none, so it has tried none"
    bench.world.scale_by_hand(3)
    bench.world.look()
    await bench.run(bench.holds.release_names, bench.hold())
    assert RELEASED_ANNOTATION in bench.world.statefulset.annotations


async def test_what_an_earlier_operation_has_left_held(bench: Bench) -> None:
    """It is held for the stop that finds it, goes with the others, and a late release of the earlier one spares it."""
    await bench.stopped()
    later = bench.hold(lease=OTHER)
    end_lease(bench)
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.RUNNING
    await bench.run(bench.kubernetes.scale_down, bench.scale(0, OTHER))
    await bench.twice(bench.holds.hold_names, later.model_copy(update={"pods": ("mariadb-server-0",)}))
    await bench.run(bench.holds.release_names, bench.hold())
    assert set(bench.world.holds) == NAMES
    await bench.twice(bench.holds.release_names, later.model_copy(update={"pods": None}))
    assert bench.world.holds == {}


async def test_a_hold_that_comes_when_the_next_operation_holds(bench: Bench) -> None:
    await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    await bench.run(bench.kubernetes.wait_stopped, bench.scale(0))
    frozen = await bench.freeze("create_pod", bench.holds.hold_names, bench.hold())
    end_lease(bench)
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.RUNNING
    await bench.run(bench.kubernetes.scale_down, bench.scale(0, OTHER))
    await bench.run(bench.holds.hold_names, bench.hold(lease=OTHER))
    assert isinstance(await frozen.goes_on(), LeaseLost)
    assert set(bench.world.holds) == NAMES


async def test_a_server_that_was_started_before(bench: Bench) -> None:
    await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    await bench.run(bench.kubernetes.wait_stopped, bench.scale(0))
    bench.world.statefulset.replicas = 3
    bench.world.controller.create(0)
    with pytest.raises(ScaleFailed, match="expected at most 0 replicas, it was scaled to 3"):
        await bench.run(bench.holds.hold_names, bench.hold())


async def test_no_name_is_held_after_the_lease(bench: Bench) -> None:
    await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    await bench.run(bench.kubernetes.wait_stopped, bench.scale(0))
    end_lease(bench)
    with pytest.raises(LeaseLost):
        await bench.run(bench.holds.hold_names, bench.hold())
    assert bench.world.holds == {}


@pytest.mark.parametrize("lease", ["open", "ended"])
async def test_a_hold_that_comes_late(bench: Bench, lease: str) -> None:
    """A worker freezes before it creates one; the lease undoes; it goes on, and takes back what it made."""
    await bench.run(bench.kubernetes.scale_down, bench.scale(0))
    await bench.run(bench.kubernetes.wait_stopped, bench.scale(0))
    frozen = await bench.freeze("create_pod", bench.holds.hold_names, bench.hold())
    await undo_stop(bench)
    if lease == "ended":
        end_lease(bench)
    assert isinstance(await frozen.goes_on(), LeaseLost)
    assert bench.world.holds == {}


async def test_a_hold_that_nobody_takes_back(bench: Bench) -> None:
    """The worker that made it late has died: whoever waits for the cluster lets it go."""
    await bench.stopped()
    with bench.world.lock:
        late = bench.world.holds["mariadb-server-1"]
    await undo_stop(bench)
    with bench.world.lock:
        bench.world.holds[late.name] = late
    task = FormTask(site=bench.site, lease=LEASE, replicas=3, primary_pod=None, stop=LEASE.run_id)
    await bench.run(bench.galera.wait_formed, task)
    assert bench.world.holds == {}
    assert len(bench.world.members) == 3


async def test_an_owner_releases_what_its_lease_has_held(bench: Bench) -> None:
    """It does not know since when the lease has held them; nor does it let go what a later lease holds."""
    since = datetime(2026, 11, 22, tzinfo=UTC)
    task = bench.hold()
    by_lease = task.model_copy(update={"mark": task.mark.model_copy(update={"since": since})})
    await bench.stopped()
    await bench.run(bench.holds.release_names, task)
    await bench.run(bench.holds.hold_names, by_lease)
    await bench.run(bench.holds.release_names, bench.hold(undoing=True, lease=OTHER))
    assert len(bench.world.holds) == 3
    await bench.run(bench.holds.release_names, bench.hold(undoing=True))
    assert bench.world.holds == {}
