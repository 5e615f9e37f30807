"""The worker process: settings, clients, two Temporal workers, metrics, logs and the way out. Nothing imports it.

Two workers share the process: one takes operations from the task queue, the other from `<task queue>-lease` the leases
with all that undoes. Each has slots of its own, and there is a thread for every slot: a resync never waits behind a
backup.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import kubernetes
from kubernetes.client import ApiClient, Configuration
from temporalio.client import Client
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities import build_activities
from galera_backup import timing
from galera_backup.errors import GaleraBackupError, TemporalUnavailable
from galera_backup.kube.gateway import KubeGateway
from galera_backup.logs import set_up_logging
from galera_backup.mysql.gateway import MysqlGateway
from galera_backup.names import lease_queue
from galera_backup.settings import SettingsError, WorkerSettings
from galera_backup.temporal.attributes import ensure_search_attributes
from galera_backup.temporal.connect import connect
from workflows.registry import GUARDS, OPERATIONS

log = logging.getLogger("worker")

OK, FAILED, WRONG_SETTINGS = 0, 1, 2
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between attempts to reach Temporal: pods start in any order, and a restart of the server may take long."""


def main() -> NoReturn:
    """Run a worker until SIGTERM or SIGINT, then drain it. A second signal ends the process at once.

    The exit code is 0 after a drain, 1 when the worker failed and 2 when its settings are wrong.
    """
    try:
        settings = WorkerSettings.from_environment(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        _exit(WRONG_SETTINGS)
    set_up_logging(settings)
    keep_warnings_of_the_sdk_harmless()
    # Not asyncio.run: closing the loop joins its threads, and one that hangs in a frozen server would hold the process.
    _exit(asyncio.Runner().run(serve(settings)))


def keep_warnings_of_the_sdk_harmless() -> None:
    """Warnings of the SDK are logged and never raised, also when Python runs with `-W error`.

    The SDK issues some inside the loops that poll for tasks. A cancel for an activity that has just ended is one
    ("Cannot find activity to cancel for token"); raised, it ends the worker. A filter that is set here goes before
    those of `-W` and PYTHONWARNINGS.
    """
    warnings.filterwarnings("default", module=r"temporalio\.")


def _exit(code: int) -> NoReturn:
    """End without the interpreter's clean-up, in which the SDK's threads abort now and then (sdk-python#300)."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def serve(settings: WorkerSettings) -> int:
    """Everything between reading the settings and the exit code."""
    stop = stop_on_signals()
    try:
        api_client = kubernetes_client(settings)
        client = await unless(stop, reach_temporal(runtime(settings)))
        if client is None:
            return OK
        activities = build_activities(KubeGateway(api_client), MysqlGateway(), client, settings.agent_image)
        # Async activities call their blocking clients by asyncio.to_thread: a thread for each slot of both workers.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2 * settings.max_activities))
        await Workers(settings, client, activities).run_until(stop)
    except GaleraBackupError as error:
        log.error("the worker cannot start: %s", error.message)
        return FAILED
    except kubernetes.config.ConfigException as error:
        log.error("the worker cannot start: no Kubernetes configuration: %s; set KUBECONFIG", error)
        return FAILED
    except Exception:
        log.exception("the worker failed")
        return FAILED
    log.info("drained, bye")
    return OK


# --- clients


async def reach_temporal(runtime: Runtime) -> Client:
    """A client of a server that answers and knows our search attributes; waits for it as long as it takes."""
    pause = FIRST_PAUSE
    while True:
        try:
            client = await connect(runtime=runtime)
            if registered := await ensure_search_attributes(client):
                log.info("search attributes registered", extra={"search_attributes": ", ".join(registered)})
        except (TemporalUnavailable, RPCError) as error:
            log.warning("waiting for Temporal: %s", error.message, extra={"next_attempt_seconds": pause})
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        else:
            return client


def kubernetes_client(settings: WorkerSettings) -> ApiClient:
    """A client as the pod's service account, else as the kubeconfig file says; with a connection for every thread."""
    configuration = Configuration()
    if settings.kube_context is None and _has_service_account():
        kubernetes.config.load_incluster_config(client_configuration=configuration)
    else:
        kubernetes.config.load_kube_config(context=settings.kube_context, client_configuration=configuration)
    configuration.connection_pool_maxsize = 4 * settings.max_activities
    return ApiClient(configuration)


def _has_service_account() -> bool:
    token = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    return "KUBERNETES_SERVICE_HOST" in os.environ and token.exists()


def runtime(settings: WorkerSettings) -> Runtime:
    """The SDK's core, its warnings in our log and, when asked for, its metrics for Prometheus."""
    logs = LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=LogForwardingConfig(logging.getLogger("temporalio.core")),
    )
    if settings.metrics_address is None:
        return Runtime(telemetry=TelemetryConfig(logging=logs))
    metrics = PrometheusConfig(
        bind_address=settings.metrics_address, durations_as_seconds=True, unit_suffix=True, counters_total_suffix=True
    )
    log.info("metrics served", extra={"url": f"http://{settings.metrics_address}/metrics"})
    return Runtime(telemetry=TelemetryConfig(logging=logs, metrics=metrics))


# --- workers


class Workers:
    """The worker of the operations and the worker of the leases; when one fails, both end.

    `worker.run()` and `worker.shutdown()` of the SDK wait for the activities. Those of a worker that failed are told
    nothing, so both may wait without end. `failure` is set at the moment of the failure, and each wait here is bounded.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        client: Client,
        activities: list[Callable[..., Any]],
        operations: Iterable[type] = OPERATIONS,
        guards: Iterable[type] = GUARDS,
    ) -> None:
        self._settings = settings
        self.failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        """Its result is the first error that made a worker fail."""
        self._failed: set[Worker] = set()
        queues = {settings.task_queue: operations, lease_queue(settings.task_queue): guards}
        self.each = tuple(self._build(client, activities, queue, list(types)) for queue, types in queues.items())

    def _build(self, client: Client, activities: list[Callable[..., Any]], queue: str, workflows: list[type]) -> Worker:
        async def on_fatal_error(error: BaseException) -> None:
            self._note(worker, error)

        worker = Worker(
            client,
            task_queue=queue,
            workflows=workflows,
            activities=activities,
            max_concurrent_activities=self._settings.max_activities,
            graceful_shutdown_timeout=self._settings.graceful_shutdown,
            max_heartbeat_throttle_interval=timing.HEARTBEAT_THROTTLE,
            default_heartbeat_throttle_interval=timing.HEARTBEAT_THROTTLE,
            on_fatal_error=on_fatal_error,
        )
        return worker

    def _note(self, worker: Worker, error: BaseException) -> None:
        self._failed.add(worker)
        if not self.failure.done():
            self.failure.set_result(error)

    async def run_until(self, stop: asyncio.Event) -> None:
        """Run the workers until `stop`, or until one fails; then drain those that did not fail.

        Draining tells the running activities that the worker shuts down. One that watches a runner pod lets go of it,
        and the next worker adopts the pod: a deploy does not end a backup.

        Raises what made a worker fail, or `TimeoutError` when a worker is not drained in time.
        """
        running = {worker: asyncio.create_task(self._run(worker)) for worker in self.each}
        stopped = asyncio.create_task(stop.wait())
        log.info("polling", extra={"task_queues": ", ".join(worker.task_queue for worker in self.each)})
        ends: list[asyncio.Future[Any]] = [stopped, self.failure]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        log.info("draining: running activities are told, backups go on in their pods")
        told = [asyncio.create_task(worker.shutdown()) for worker in self.each]
        limit = self._settings.graceful_shutdown + timing.LONGEST_CALL
        late = await self._ended([task for worker, task in running.items() if worker not in self._failed], limit)
        for task in (stopped, *told, *running.values()):
            task.cancel()
        if self.failure.done():
            raise self.failure.result()
        if late:
            raise TimeoutError(f"activities still run {limit} after they were told that the worker shuts down")

    async def _run(self, worker: Worker) -> None:
        try:
            await worker.run()
        except Exception as error:
            self._note(worker, error)

    async def _ended(self, running: list[asyncio.Task[None]], limit: timedelta) -> set[asyncio.Task[None]]:
        """Wait for the tasks, at most so long; those that still run."""
        if not running:
            return set()
        _, late = await asyncio.wait(running, timeout=limit.total_seconds())
        return late


# --- signals


def stop_on_signals() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT. The second one ends the process at once."""
    stop = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            log.warning("%s again: leaving without draining", number.name)
            _exit(FAILED)
        log.info("%s: shutting down", number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    return stop


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, Client]) -> Client | None:
    """The result of `work`, or None when `stop` came first."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if working.done():
        return working.result()
    working.cancel()
    return None


if __name__ == "__main__":
    main()
