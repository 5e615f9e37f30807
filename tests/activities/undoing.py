"""What undoing is made of, in the order of `workflows/lease/desynced.py` and `workflows/lease/stopped.py`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from temporalio.client import WorkflowExecutionStatus

from galera_backup import timing
from galera_backup.models.activities import RemoveRunners, ReplicaTask, ScaleTask
from galera_backup.models.mark import Mark
from tests.fakes.bench import LEASE, OTHER, Bench
from tests.support.eventually import assert_eventually


async def undo_desync(bench: Bench, task: ReplicaTask) -> None:
    await bench.run(bench.kubernetes.revoke_replica, task)
    await bench.run(bench.runner.remove_runners, RemoveRunners(cluster=bench.world.cluster, lease=task.lease))
    await asyncio.sleep(timing.DESYNC_WINDOW.total_seconds())
    await bench.run(bench.galera.resync, task)
    await bench.run(bench.kubernetes.move_primary_back, task)
    await bench.run(bench.kubernetes.unmark_replica, task)


async def undo_stop(bench: Bench) -> None:
    await bench.run(bench.kubernetes.revoke_statefulset, bench.scale(3))
    await bench.run(bench.runner.remove_runners, RemoveRunners(cluster=bench.world.cluster, lease=LEASE))
    await bench.run(bench.holds.release_names, bench.hold(undoing=True))
    await bench.run(bench.kubernetes.scale_up, bench.scale(3))


def end_lease(bench: Bench) -> None:
    bench.leases.status[LEASE.run_id] = WorkflowExecutionStatus.COMPLETED


async def next_lease(bench: Bench, **changes: Any) -> ReplicaTask:
    """Another lease has marked and desynced the replica."""
    end_lease(bench)
    bench.leases.status[OTHER.run_id] = WorkflowExecutionStatus.RUNNING
    mark = Mark(lease=OTHER, owner="p", until=datetime.now(UTC))
    task = bench.replica(lease=OTHER, mark=mark, **changes)
    task = task.model_copy(update={"mark": await bench.run(bench.galera.mark_replica, task)})
    if task.mark.moved is not None:
        await bench.run(bench.kubernetes.move_primary, task)
    await bench.run(bench.galera.desync, task)
    return task


async def start(bench: Bench, task: ScaleTask) -> None:
    """Scale up, and wait until all servers are there: they come one after another, and change what `twice` compares."""
    await bench.run(bench.kubernetes.scale_up, task)
    await assert_eventually(lambda: len(bench.world.look().members) == task.replicas)
