"""Faults of the worker."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from dev.stack import paths
from tests.chaos.fault import Run, fault
from tests.support.eventually import eventually

LONG_AWAY = 130.0
"""Seconds for which a worker is away, where that is the fault."""


@fault("worker killed")
async def worker_killed(run: Run) -> None:
    """SIGKILL, and another one at once."""
    run.lane.kill_workers()
    await run.lane.start_worker()
    run.back()


@fault("worker away", slow=True)
async def worker_away(run: Run) -> None:
    """SIGKILL, and nobody for minutes."""
    run.lane.kill_workers()
    await asyncio.sleep(LONG_AWAY)
    await run.lane.start_worker()
    run.back()


@fault("worker terminated")
async def worker_terminated(run: Run) -> None:
    """SIGTERM with its grace period, as in a rolling update, and another one."""
    [old] = run.lane.workers
    old.send_signal(signal.SIGTERM)
    await eventually(lambda: old.poll() is not None, 60, "the worker ends after SIGTERM")
    run.lane.workers.clear()
    await run.lane.start_worker()
    run.back()


@fault("worker frozen")
async def worker_frozen(run: Run) -> None:
    """A zombie: SIGSTOP, another worker does all the work, and then the first one goes on where it stood."""
    [old] = run.lane.workers
    old.send_signal(signal.SIGSTOP)
    try:
        await run.lane.start_worker()
        run.back()
        await run.settled()
    finally:
        old.send_signal(signal.SIGCONT)
    await asyncio.sleep(8)
    with contextlib.suppress(ProcessLookupError):
        old.kill()
    old.wait(10)
    run.lane.workers.remove(old)


@fault("worker's clock", fits=lambda operation, point: point.stage == "started")
async def clock_jump(run: Run) -> None:
    """The next worker's clock is two hours ahead, or behind."""
    run.lane.kill_workers()
    ahead = int(run.point.activity_id) % 2 == 0
    run.notes.append("two hours ahead" if ahead else "two hours behind")
    await run.lane.start_worker(clock="+2h" if ahead else "-2h")
    run.back()


@fault("workflow code changed")
async def code_changed(run: Run) -> None:
    """A deploy that does not fit the histories that run, for a while; then the right one again."""
    await eventually(lambda: _has_begun(run.lease()), 30, "the lease has begun, on the right code", every=0.05)
    run.lane.kill_workers()
    with tempfile.TemporaryDirectory() as folder:
        wrong = changed_checkout(Path(folder))
        await run.lane.start_worker(checkout=wrong)
        run.lane.go()
        await asyncio.sleep(6)
        run.lane.kill_workers()
    await run.lane.start_worker()
    run.back()


async def _has_begun(handle: WorkflowHandle[Any, Any]) -> bool:
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    return any([event.event_type == completed async for event in handle.fetch_history_events()])


def changed_checkout(folder: Path) -> Path:
    """Makes `folder` a checkout in which each workflow has one step more; returns it."""
    for name in ("galera_backup", "workflows", "activities"):
        shutil.copytree(paths.CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests" / "chaos").mkdir(parents=True)
    for name in ("worker.py", "tests/chaos/__init__.py", "tests/chaos/hooks.py"):
        shutil.copy(paths.CHECKOUT / name, folder / name)
    sleep = "await workflow.sleep(0.001)"
    for name, line in (
        ("lease/lease.py", "        reason = await self._hold()\n"),
        ("operation.py", '        self.progress.enter("lease", "acquiring the cluster\'s lease")\n'),
    ):
        file = folder / "workflows" / name
        text = file.read_text()
        assert line in text, f"workflows/{name} has changed: the harness cannot change it any more"
        indent = line[: len(line) - len(line.lstrip())]
        file.write_text(text.replace(line, f"{indent}{sleep}\n{line}"))
    return folder
