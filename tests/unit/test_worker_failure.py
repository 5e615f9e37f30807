"""A worker that fails ends its process, at once and with its error; warnings of the SDK do not make it fail."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.bridge.proto.activity_task import ActivityTask
from temporalio.testing import WorkflowEnvironment

from galera_backup import timing
from galera_backup.settings import WorkerSettings
from tests.support.dying import hand_out

with workflow.unsafe.imports_passed_through():
    import worker

SOON = 8
"""Seconds; less than the default of the graceful shutdown."""


@workflow.defn(name="TestCalls")
class Calls:
    @workflow.run
    async def run(self, name: str) -> str:
        result: str = await workflow.execute_activity(
            name, result_type=str, start_to_close_timeout=timedelta(minutes=1)
        )
        return result


@workflow.defn(name="TestCallsAsLease")
class CallsAsLease(Calls):
    @workflow.run
    async def run(self, name: str) -> str:
        return await super().run(name)


class Activities:
    """One that ends, one that lets go when its worker shuts down, and one that hears of nothing."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()
        self.end = asyncio.Event()

    @activity.defn(name="quick")
    async def quick(self) -> str:
        return "done"

    @activity.defn(name="watch")
    async def watch(self) -> str:
        self.begun.set()
        await activity.wait_for_worker_shutdown()
        self.let_go.set()
        return "let go"

    @activity.defn(name="deaf")
    async def deaf(self) -> str:
        self.begun.set()
        while not self.end.is_set():
            try:
                await self.end.wait()
            except asyncio.CancelledError:
                continue
        return "done"

    def all(self) -> list[Callable[..., Any]]:
        return [self.quick, self.watch, self.deaf]


def settings(**changes: Any) -> WorkerSettings:
    return WorkerSettings(agent_image="agent:1", task_queue=f"failing-{uuid.uuid4()}", **changes)


def late_cancel() -> ActivityTask:
    """What the core hands out for an activity that has completed while the server answered its heartbeat."""
    task = ActivityTask(task_token=b"of an activity that has ended")
    task.cancel.SetInParent()
    return task


async def start(env: WorkflowEnvironment, queue: str, kind: str, name: str) -> Any:
    return await env.client.start_workflow(kind, name, id=f"calls-{uuid.uuid4()}", task_queue=queue, result_type=str)


@pytest.fixture
def warnings_are_errors() -> Any:
    """As with `python -W error`; returns what was shown."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.resetwarnings()
        warnings.simplefilter("error")
        yield shown


async def test_a_late_cancel_of_an_activity_is_a_warning(
    temporal_env: WorkflowEnvironment, warnings_are_errors: list[warnings.WarningMessage]
) -> None:
    worker.keep_warnings_of_the_sdk_harmless()
    conf, stop = settings(), asyncio.Event()
    workers = worker.Workers(conf, temporal_env.client, Activities().all(), [Calls], [CallsAsLease])
    hand_out(workers.each[0], late_cancel()).set()
    serving = asyncio.create_task(workers.run_until(stop))
    handle = await start(temporal_env, conf.task_queue, "TestCalls", "quick")
    assert await asyncio.wait_for(handle.result(), SOON) == "done"
    [seen] = [str(each.message) for each in warnings_are_errors]
    assert seen.startswith("Cannot find activity to cancel for token")
    stop.set()
    await asyncio.wait_for(serving, SOON)


async def test_every_module_of_the_sdk_may_warn(warnings_are_errors: list[warnings.WarningMessage]) -> None:
    """The poll loops are in several modules; our own warnings are as strict as Python was told."""
    worker.keep_warnings_of_the_sdk_harmless()
    for module in ("temporalio.worker._activity", "temporalio.worker._workflow_instance", "temporalio.client._impl"):
        warnings.warn_explicit("by a test", UserWarning, "there.py", 1, module=module)
    assert len(warnings_are_errors) == 3
    with pytest.raises(UserWarning, match="by a test"):
        warnings.warn_explicit("by a test", UserWarning, "there.py", 1, module="activities.runner")


async def test_a_failed_worker_is_left_without_waiting_for_what_it_runs(
    temporal_env: WorkflowEnvironment, warnings_are_errors: list[warnings.WarningMessage]
) -> None:
    """Its activities hear of nothing any more, so the SDK's own shutdown waits for ever."""
    conf, activities = settings(graceful_shutdown=timedelta(0)), Activities()
    workers = worker.Workers(conf, temporal_env.client, activities.all(), [Calls], [CallsAsLease])
    ready = hand_out(workers.each[0], late_cancel())
    serving = asyncio.create_task(workers.run_until(asyncio.Event()))
    await start(temporal_env, conf.task_queue, "TestCalls", "deaf")
    await asyncio.wait_for(activities.begun.wait(), SOON)
    ready.set()
    with pytest.raises(RuntimeError, match="Activity worker failed") as caught:
        await asyncio.wait_for(serving, SOON)
    assert isinstance(caught.value.__cause__, UserWarning)
    assert not workers.each[1].is_running
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(workers.each[0].shutdown(), 2)
    activities.end.set()
    assert not warnings_are_errors


async def test_the_other_worker_is_drained(
    temporal_env: WorkflowEnvironment, warnings_are_errors: list[warnings.WarningMessage]
) -> None:
    conf, activities = settings(), Activities()
    workers = worker.Workers(conf, temporal_env.client, activities.all(), [Calls], [CallsAsLease])
    ready = hand_out(workers.each[0], late_cancel())
    serving = asyncio.create_task(workers.run_until(asyncio.Event()))
    handle = await start(temporal_env, f"{conf.task_queue}-lease", "TestCallsAsLease", "watch")
    await asyncio.wait_for(activities.begun.wait(), SOON)
    ready.set()
    await asyncio.wait_for(activities.let_go.wait(), SOON)
    with pytest.raises(RuntimeError, match="Activity worker failed"):
        await asyncio.wait_for(serving, SOON)
    assert not warnings_are_errors
    await handle.terminate()


async def test_a_drain_is_bounded(temporal_env: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LONGEST_CALL", timedelta(seconds=0.5))
    conf, activities, stop = settings(graceful_shutdown=timedelta(seconds=0.5)), Activities(), asyncio.Event()
    workers = worker.Workers(conf, temporal_env.client, activities.all(), [Calls], [CallsAsLease])
    serving = asyncio.create_task(workers.run_until(stop))
    await start(temporal_env, conf.task_queue, "TestCalls", "deaf")
    await asyncio.wait_for(activities.begun.wait(), SOON)
    stop.set()
    with pytest.raises(TimeoutError, match=r"activities still run 0:00:01"):
        await asyncio.wait_for(serving, SOON)
    activities.end.set()


async def test_an_unknown_namespace_ends_both(temporal_env: WorkflowEnvironment) -> None:
    """The server refuses the workers before they poll."""
    client = await type(temporal_env.client).connect(
        temporal_env.client.service_client.config.target_host, namespace="nowhere"
    )
    workers = worker.Workers(settings(), client, Activities().all(), [Calls], [CallsAsLease])
    with pytest.raises(RuntimeError, match="nowhere"):
        await asyncio.wait_for(workers.run_until(asyncio.Event()), SOON)


FAILING = """
import sys, temporalio.bridge.worker as bridge
poll = bridge.Worker.poll_workflow_activation
async def fails(self):
    raise RuntimeError("the core is broken")
bridge.Worker.poll_workflow_activation = fails
import worker
worker.main()
"""


async def test_the_process_ends_with_the_error(temporal_env: WorkflowEnvironment, tmp_path: Any) -> None:
    variables = {
        "GALERA_BACKUP_AGENT_IMAGE": "agent:1",
        "GALERA_BACKUP_TASK_QUEUE": f"process-{uuid.uuid4()}",
        "GALERA_BACKUP_LOG_FORMAT": "json",
        "KUBECONFIG": str(kubeconfig(tmp_path)),
        "TEMPORAL_ADDRESS": temporal_env.client.service_client.config.target_host,
        "PYTHONWARNINGS": "error",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", FAILING), env={**os.environ, **variables}, stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(process.communicate(), 40)
    lines = [json.loads(line) for line in err.decode().splitlines()]
    assert process.returncode == 1, lines
    assert lines[-1]["message"] == "the worker failed"
    assert "the core is broken" in lines[-1]["exception"]


def kubeconfig(folder: Any) -> Any:
    path = folder / "kubeconfig"
    cluster, user = {"name": "lab", "cluster": {"server": "https://127.0.0.1:1"}}, {"name": "lab", "user": {}}
    context = {"name": "lab", "context": {"cluster": "lab", "user": "lab"}}
    config = {"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "lab"}
    path.write_text(json.dumps(config))
    return path
