"""The production wiring over fakes: both workers on a real Temporal server, and what a test asks of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from unittest import mock

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from activities import build_activities
from galera_backup import names, timing
from galera_backup.errors import GaleraBackupError, by_name
from galera_backup.kube.gateway import KubeGateway
from galera_backup.models.backup import BackupRequest, BackupResult
from galera_backup.models.janitor import JanitorRequest, JanitorResult
from galera_backup.models.restore import RestoreRequest, RestoreResult, RollbackRequest, RollbackResult
from galera_backup.mysql.gateway import MysqlGateway
from tests.fakes.gateways import FakeKube, FakeMysql, Worlds
from tests.fakes.world import World, fresh_cluster
from workflows import GUARDS, OPERATIONS

AGENT_IMAGE = "agent:test"
FASTER = 10
"""Pauses between two looks of an activity are this much shorter; the delays of the fakes fit to that."""
BACKUP_ID = "20261122T010000Z-full"

Handle = WorkflowHandle[Any, Any]


@contextlib.contextmanager
def shortened_pauses() -> Any:
    """Time in activities runs `FASTER`."""
    with mock.patch.multiple(timing, pace=1 / FASTER, NOT_STARTABLE_LIMIT=timedelta(seconds=1)):
        yield


@dataclass
class Stage:
    """A client, a task queue that two workers serve, and any number of worlds."""

    client: Client
    worlds: Worlds
    queue: str
    running: tuple[asyncio.Task[None], ...] = ()
    """The workers: nobody who waits for one would hear that it has failed."""

    async def within(self, limit: timedelta, test: Coroutine[Any, Any, None]) -> None:
        """Run a test; one that takes longer, or whose worker ends, fails with where the server sees each workflow."""
        work = asyncio.ensure_future(test)
        await asyncio.wait([work, *self.running], timeout=limit.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        work.cancel()
        for worker in self.running:
            if worker.done():
                worker.result()
        raise AssertionError(f"not done within {limit}\n{await where_all_is(self.client, self.queue)}")

    def world(
        self, replicas: int = 3, primary: int | None = 0, backups: tuple[str, ...] = (), network: str = "10.0.0"
    ) -> World:
        """A cluster of its own for one test."""
        world = self.worlds.add(World(fresh_cluster(), replicas, primary, network))
        for backup_id in backups:
            world.volume.store(backup_id, world.cluster)
        return world

    async def backup(self, world: World, **fields: Any) -> WorkflowHandle[Any, BackupResult]:
        """Start a backup."""
        options = {name: fields.pop(name) for name in ("execution_timeout", "id") if name in fields}
        request = BackupRequest.model_validate({"cluster": world.cluster, **fields})
        return await self.start("GaleraBackup", request, BackupResult, **options)

    async def restore(self, world: World, **fields: Any) -> WorkflowHandle[Any, RestoreResult]:
        """Start a restore of BACKUP_ID; in place, if not told otherwise."""
        options = {name: fields.pop(name) for name in ("execution_timeout", "id") if name in fields}
        request = RestoreRequest.model_validate(
            {
                "cluster": world.cluster,
                "backup_id": BACKUP_ID,
                "confirm": str(world.cluster),
                "strategy": "in_place",
                **fields,
            }
        )
        return await self.start("GaleraRestore", request, RestoreResult, **options)

    async def rollback(self, world: World, restore_id: str, **fields: Any) -> WorkflowHandle[Any, RollbackResult]:
        """Start a rollback of a finished restore."""
        request = RollbackRequest.model_validate(
            {"cluster": world.cluster, "restore_id": restore_id, "confirm": str(world.cluster), **fields}
        )
        return await self.start("GaleraRollback", request, RollbackResult)

    async def janitor(self, world: World, **fields: Any) -> WorkflowHandle[Any, JanitorResult]:
        """Start a janitor."""
        request = JanitorRequest.model_validate({"cluster": world.cluster, **fields})
        return await self.start("GaleraJanitor", request, JanitorResult)

    async def start(self, workflow_type: str, request: Any, result: type | None = None, **options: Any) -> Handle:
        """Start an operation as a client does, by the name of its type."""
        options.setdefault("id", f"{workflow_type}-{uuid.uuid4()}")
        return await self.client.start_workflow(
            workflow_type, request, task_queue=self.queue, result_type=result, **options
        )

    def lease(self, world: World) -> Handle:
        """The cluster's lease, whatever run of it is the last."""
        return self.client.get_workflow_handle(names.lease_id(world.cluster))

    async def status(self, handle: Handle) -> WorkflowExecutionStatus | None:
        """None: there is no such workflow."""
        try:
            return (await handle.describe()).status
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return None

    async def lease_is_closed(self, world: World) -> bool:
        """No lease is open."""
        return await self.status(self.lease(world)) != WorkflowExecutionStatus.RUNNING

    async def assert_settled(self, world: World, labels: dict[str, dict[str, str]] | None = None) -> None:
        """The lease closes, and then the cluster is whole, and stays so."""
        await assert_eventually(lambda: self.lease_is_closed(world), lambda: f"open lease; {world.events}")
        await assert_eventually(lambda: not world.look().faults_left(), lambda: f"{world.faults_left()} {world.events}")
        until = time.monotonic() + 0.8  # longer than any delay of the fakes
        while time.monotonic() < until:
            assert not world.look().faults_left(), world.events
            await asyncio.sleep(0.05)
        assert len(world.members) == world.statefulset.replicas
        assert world.labels() == (world.labels_before if labels is None else labels)
        assert world.violations == []


@contextlib.asynccontextmanager
async def open_stage(client: Client, workers: bool = True) -> AsyncIterator[Stage]:
    """Both workers of the production wiring, on a task queue of their own."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(128))
    stage = Stage(client, Worlds(), f"stage-{uuid.uuid4()}")
    with shortened_pauses():
        started = stage_workers(stage) if workers else []
        stage.running = tuple(asyncio.create_task(worker.run()) for worker in started)
        try:
            yield stage
        finally:
            await asyncio.gather(*(worker.shutdown() for worker in started))
            await asyncio.gather(*stage.running)


def stage_workers(stage: Stage, graceful: timedelta = timedelta(0)) -> list[Worker]:
    """The worker of the operations and the worker of the leases, as `worker.py` builds them."""
    activities = build_activities(
        cast(KubeGateway, FakeKube(stage.worlds)),
        cast(MysqlGateway, FakeMysql(stage.worlds)),
        stage.client,
        AGENT_IMAGE,
    )
    queues: dict[str, tuple[type, ...]] = {stage.queue: OPERATIONS, names.lease_queue(stage.queue): GUARDS}
    return [
        Worker(
            stage.client,
            task_queue=queue,
            workflows=list(types),
            activities=activities,
            graceful_shutdown_timeout=graceful,
            max_heartbeat_throttle_interval=timing.HEARTBEAT_THROTTLE,
            default_heartbeat_throttle_interval=timing.HEARTBEAT_THROTTLE,
        )
        for queue, types in queues.items()
    ]


async def where_all_is(client: Client, queue: str) -> str:
    """Open workflows with what they wait for, and who polls; over a connection of its own, as the other may hang."""
    async with asyncio.timeout(30):
        other = await Client.connect(client.service_client.config.target_host, namespace=client.namespace)
        lines = []
        async for each in other.list_workflows("ExecutionStatus = 'Running'", limit=100):
            raw = (await other.get_workflow_handle(each.id, run_id=each.run_id).describe()).raw_description
            waits = [raw.pending_workflow_task] if raw.HasField("pending_workflow_task") else []
            lines.append(f"{each.workflow_type} {each.id} since {each.start_time}: {[*waits, *raw.pending_activities]}")
        for name in (queue, names.lease_queue(queue)):
            for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
                polled = await other.workflow_service.describe_task_queue(
                    DescribeTaskQueueRequest(
                        namespace=client.namespace,
                        task_queue=TaskQueue(name=name),
                        task_queue_type=kind,
                        report_stats=True,
                    )
                )
                lines.append(f"{name} {TaskQueueType.Name(kind)}: {polled}")
    return "\n".join(lines)


async def assert_eventually(
    condition: Callable[[], bool | Awaitable[bool]], saw: Callable[[], object] = lambda: "", seconds: float = 150
) -> None:
    """Wait for `condition`; fails with what `saw` says when it does not come."""
    until = time.monotonic() + seconds
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < until, f"not within {seconds} s: {saw()}"
        await asyncio.sleep(0.05)


async def failure_of(handle: Handle) -> GaleraBackupError:
    """The error of the tree with which the operation failed."""
    try:
        result = await handle.result()
    except WorkflowFailureError as error:
        cause = error.cause
        type_name = getattr(cause, "type", None)
        assert type_name is not None, f"expected an error of the tree, saw {cause!r}"
        found = by_name(type_name)
        assert found.__name__ == type_name, f"expected an error of the tree, saw {type_name}: {cause}"
        return found(getattr(cause, "message", ""))
    raise AssertionError(f"expected a failure, saw {result!r}")
