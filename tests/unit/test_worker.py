"""The worker: its wiring, its drain, its logs, and the whole process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import kubernetes.config
import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import RetryPolicy
from temporalio.runtime import Runtime
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from galera_backup import timing
from galera_backup.settings import WorkerSettings

with workflow.unsafe.imports_passed_through():  # the stand-ins are loaded in the sandbox with this module
    import worker
    from galera_backup import logs
    from workflows import call
    from workflows.registry import GUARDS, OPERATIONS

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: lab
contexts: [{name: lab, context: {cluster: lab, user: lab}}]
clusters: [{name: lab, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: lab, user: {token: t}}]
"""


def settings(**changes: Any) -> WorkerSettings:
    return WorkerSettings(agent_image="agent:1", task_queue=f"worker-{uuid.uuid4()}", **changes)


@workflow.defn(name="TestLong")
class Long:
    @workflow.run
    async def run(self) -> str:
        result: str = await workflow.execute_activity(
            "test-watch",
            result_type=str,
            start_to_close_timeout=timedelta(minutes=1),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
        )
        return result


@workflow.defn(name="TestGuard")
class Guard:
    @workflow.run
    async def run(self) -> str:
        return workflow.info().task_queue


class Watch:
    """Stands in for the activity that watches a runner pod: lets go when its worker shuts down."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    @activity.defn(name="test-watch")
    async def watch(self) -> str:
        self.begun.set()
        if activity.info().attempt > 1:
            return "adopted"
        await activity.wait_for_worker_shutdown()
        raise RuntimeError("let go")


async def test_a_drain_lets_go_of_a_running_activity_and_the_next_worker_adopts_it(
    temporal_env: WorkflowEnvironment,
) -> None:
    conf, watch = settings(), Watch()

    async def serving(stop: asyncio.Event) -> None:
        await worker.Workers(conf, temporal_env.client, [watch.watch], [Long], [Guard]).run_until(stop)

    stop = asyncio.Event()
    first = asyncio.create_task(serving(stop))
    handle = await temporal_env.client.start_workflow(
        "TestLong", id=f"long-{uuid.uuid4()}", task_queue=conf.task_queue, result_type=str
    )
    await asyncio.wait_for(watch.begun.wait(), 15)
    stop.set()
    await asyncio.wait_for(first, 10)
    assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING

    stop = asyncio.Event()
    second = asyncio.create_task(serving(stop))
    assert await asyncio.wait_for(handle.result(), 15) == "adopted"
    guard = await temporal_env.client.execute_workflow(
        "TestGuard", id=f"guard-{uuid.uuid4()}", task_queue=f"{conf.task_queue}-lease", result_type=str
    )
    assert guard == f"{conf.task_queue}-lease"
    stop.set()
    await asyncio.wait_for(second, 10)


async def test_each_worker_has_slots_of_its_own(temporal_env: WorkflowEnvironment) -> None:
    """Sixteen backups must not hold the slots that a resync needs."""

    @activity.defn(name="test-nothing")
    async def nothing() -> None: ...

    conf = settings(max_activities=2)
    workers = worker.Workers(conf, temporal_env.client, [nothing], [Long], [Guard])
    configs = [each.config(active_config=True) for each in workers.each]
    assert [each["max_concurrent_activities"] for each in configs] == [2, 2]
    assert configs[0]["graceful_shutdown_timeout"] == timedelta(seconds=20)


async def test_a_frozen_worker_is_given_up_after_its_last_chance_to_desync(temporal_env: WorkflowEnvironment) -> None:
    """It may have been due to beat, and to send that, when it froze."""

    @activity.defn(name="test-nothing")
    async def nothing() -> None: ...

    for each in worker.Workers(settings(), temporal_env.client, [nothing], [Long], [Guard]).each:
        config = each.config(active_config=True)
        throttle = max(config["max_heartbeat_throttle_interval"], config["default_heartbeat_throttle_interval"])
        for options in (call.act_options(), call.wait_options(timedelta(hours=1)), call.undo_options()):
            left = options["heartbeat_timeout"] - throttle - timing.BEAT
            assert left > timing.DESYNC_WINDOW


def test_a_resync_begins_within_ten_seconds() -> None:
    """After a worker that died, after calls that hang, and after any number of attempts that failed."""
    undo, limit = call.undo_options(), timedelta(seconds=10)
    pauses = undo["retry_policy"].initial_interval, undo["retry_policy"].maximum_interval
    assert undo["heartbeat_timeout"] + pauses[0] < limit
    for slowest in (timing.KUBERNETES_READ, timing.SQL_LIMIT):
        assert slowest + (pauses[1] or limit) < limit


def test_the_real_registries() -> None:
    """What production runs. `@workflow.init` would be called before missing input can be refused."""
    assert {each.__name__ for each in OPERATIONS} >= {"GaleraBackup", "GaleraRestore", "GaleraCatalog"}
    assert [each.__name__ for each in GUARDS] == ["GaleraLease"]
    for each in OPERATIONS:
        assert not hasattr(each.__init__, "__temporal_workflow_init"), each


# --- the process


def environment(tmp_path: Path, address: str, **more: str) -> dict[str, str]:
    config = tmp_path / "kubeconfig"
    config.write_text(KUBECONFIG)
    ours = {
        "GALERA_BACKUP_AGENT_IMAGE": "agent:1",
        "GALERA_BACKUP_TASK_QUEUE": f"process-{uuid.uuid4()}",
        "GALERA_BACKUP_LOG_FORMAT": "json",
        "KUBECONFIG": str(config),
        "TEMPORAL_ADDRESS": address,
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("GALERA_", "TEMPORAL_", "KUBE"))}
    return clean | ours | more


async def start_process(variables: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starters", "worker"), env=variables, stderr=asyncio.subprocess.PIPE
    )


async def read_until(process: asyncio.subprocess.Process, message: str) -> list[dict[str, Any]]:
    assert process.stderr
    lines: list[dict[str, Any]] = []
    async with asyncio.timeout(30):
        async for line in process.stderr:
            lines.append(json.loads(line))
            if message in lines[-1]["message"]:
                return lines
    raise AssertionError(f"{message!r} never came: {lines}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_process_starts_and_drains(
    temporal_env: WorkflowEnvironment, tmp_path: Path, number: signal.Signals
) -> None:
    process = await start_process(environment(tmp_path, temporal_env.client.service_client.config.target_host))
    lines = await read_until(process, "polling")
    assert lines[-1]["level"] == "INFO"
    assert lines[-1]["task_queues"].endswith("-lease")
    process.send_signal(number)
    await read_until(process, "drained, bye")
    assert await asyncio.wait_for(process.wait(), 15) == 0


async def test_the_process_waits_for_temporal_and_a_second_signal_is_not_needed(tmp_path: Path) -> None:
    process = await start_process(environment(tmp_path, "localhost:1"))
    [*_, line] = await read_until(process, "waiting for Temporal")
    assert "Connection refused" in line["message"]
    assert line["next_attempt_seconds"] == 1
    [*_, line] = await read_until(process, "waiting for Temporal")
    assert line["next_attempt_seconds"] == 2
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 15) == 0


async def test_metrics_are_served(temporal_env: WorkflowEnvironment, tmp_path: Path, unused_tcp_port: int) -> None:
    process = await start_process(
        environment(
            tmp_path,
            temporal_env.client.service_client.config.target_host,
            GALERA_BACKUP_METRICS_ADDRESS=f"127.0.0.1:{unused_tcp_port}",
        )
    )
    await read_until(process, "polling")
    reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
    writer.write(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert b"temporal_" in await asyncio.wait_for(reader.read(), 10)
    writer.close()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 15) == 0


async def test_wrong_settings_end_the_process_with_one_message(tmp_path: Path) -> None:
    variables = environment(tmp_path, "localhost:1", GALERA_BACKUP_AGENT_IMAGE="", GALERA_BACKUP_MAX_ACTIVITIES="0")
    process = await start_process(variables)
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"GALERA_BACKUP_AGENT_IMAGE: required" in err
    assert b"GALERA_BACKUP_MAX_ACTIVITIES: " in err


# --- waiting for Temporal


async def test_a_stop_ends_the_wait_for_temporal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "localhost:1")
    stop = asyncio.Event()
    waiting = asyncio.create_task(worker.unless(stop, worker.reach_temporal(Runtime.default())))
    await asyncio.sleep(0.2)
    stop.set()
    assert await asyncio.wait_for(waiting, 5) is None


async def test_the_second_signal_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    left: asyncio.Queue[int] = asyncio.Queue()
    monkeypatch.setattr(worker, "_exit", left.put_nowait)
    before = signal.getsignal(signal.SIGINT)
    stop = worker.stop_on_signals()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 5)
        assert left.empty()
        os.kill(os.getpid(), signal.SIGINT)
        assert await asyncio.wait_for(left.get(), 5) == 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(signal.SIGINT, before)


# --- Kubernetes


def test_the_kubeconfig_file_counts_outside_of_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(KUBECONFIG)
    monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    api_client = worker.kubernetes_client(settings(kube_context="lab"))
    assert api_client.configuration.host == "https://127.0.0.1:1"
    assert api_client.configuration.connection_pool_maxsize == 64
    with pytest.raises(kubernetes.config.ConfigException, match="elsewhere"):
        worker.kubernetes_client(settings(kube_context="elsewhere"))


# --- logs


def record(**extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("temporalio.workflow", logging.INFO, __file__, 1, "desync %s", ("done",), None)
    for name, value in extra.items():
        setattr(made, name, value)
    return made


def test_json_keeps_fields_and_stays_one_line() -> None:
    try:
        raise RPCError("x\ny", status=0, raw_grpc_status=b"")  # type: ignore[arg-type]
    except RPCError:
        exc_info = sys.exc_info()
    text = logs.JsonFormatter().format(
        record(temporal_workflow={"workflow_id": "galera-backup/a/b", "attempt": 1}, pod="db-2", exc_info=exc_info)
    )
    assert "\n" not in text
    line = json.loads(text)
    assert line["message"] == "desync done"
    assert line["workflow_id"] == "galera-backup/a/b"
    assert line["pod"] == "db-2"
    assert line["exception"].startswith("Traceback")


def test_human_lines_leave_out_what_nobody_reads() -> None:
    about = {"workflow_id": "w", "run_id": "r", "attempt": 1, "activity_type": "desync"}
    text = logs.HumanFormatter().format(record(temporal_activity=about, pod="db-2"))
    assert text.endswith("Z INFO    desync done workflow_id=w activity_type=desync pod=db-2")
