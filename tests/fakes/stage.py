"""The production wiring over fakes: both workers on a real Temporal server, and what a test asks of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from unittest import mock

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowHistoryEventFilterType,
)
from temporalio.service import RPCError, RPCStatusCode

from activities import build_activities
from galera_backup import names, timing
from galera_backup.errors import GaleraBackupError, by_name
from galera_backup.kube.gateway import KubeGateway
from galera_backup.models.backup import BackupRequest, BackupResult
from galera_backup.models.janitor import JanitorRequest, JanitorResult
from galera_backup.models.restore import RestoreRequest, RestoreResult, RollbackRequest, RollbackResult
from galera_backup.mysql.gateway import MysqlGateway
from galera_backup.settings import WorkerSettings
from tests.fakes.gateways import FakeKube, FakeMysql, Worlds
from tests.fakes.safety import faults_left
from tests.fakes.world import World, fresh_cluster
from tests.support.eventually import NotSeen, assert_eventually
from tests.support.where import where_all_is
from worker import Workers

__all__ = ["BACKUP_ID", "Handle", "Stage", "assert_eventually", "failure_of", "open_stage", "serving"]

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
    workers: Workers | None = None
    """Its workers; None: a test runs its own."""

    async def within(self, limit: timedelta, test: Coroutine[Any, Any, None]) -> None:
        """Run a test; one that takes longer, or whose worker ends, fails with where the server sees each workflow."""
        work = asyncio.ensure_future(test)
        ends: list[asyncio.Future[Any]] = [work, self.workers.failure] if self.workers is not None else [work]
        await asyncio.wait(ends, timeout=limit.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            try:
                return work.result()
            except NotSeen as error:
                raise NotSeen(f"{error}\n{await self._where_all_is()}") from error
        work.cancel()
        if self.workers is not None and self.workers.failure.done():
            raise AssertionError("a worker of this stage failed") from self.workers.failure.result()
        raise NotSeen(f"not done within {limit}\n{await self._where_all_is()}")

    async def _where_all_is(self) -> str:
        return await where_all_is(self.client, (self.queue, names.lease_queue(self.queue)))

    def world(
        self,
        replicas: int = 3,
        primary: int | None = 0,
        backups: tuple[str, ...] = (),
        network: str = "10.0.0",
        at_zero: bool = False,
    ) -> World:
        """A cluster of its own for one test; `at_zero`: its StatefulSet is at 0 and its claims are there."""
        world = self.worlds.add(World(fresh_cluster(), replicas, primary, network))
        if at_zero:
            world.statefulset.replicas = 0
            world.members.clear()
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
        options = {name: fields.pop(name) for name in ("execution_timeout", "id") if name in fields}
        request = RollbackRequest.model_validate(
            {"cluster": world.cluster, "restore_id": restore_id, "confirm": str(world.cluster), **fields}
        )
        return await self.start("GaleraRollback", request, RollbackResult, **options)

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

    async def end_of(self, handle: Handle, within: float = 150) -> WorkflowExecutionStatus | None:
        """Wait until this workflow is closed; the status that it ended with. None: there is no such workflow.

        One long poll; many tests that ask for the status again and again take the server's time from the workflows.
        """
        try:
            async with asyncio.timeout(within):
                while (status := await self.status(handle)) == WorkflowExecutionStatus.RUNNING:
                    async for _ in handle.fetch_history_events(
                        wait_new_event=True, event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT
                    ):
                        pass
                return status
        except TimeoutError:
            raise NotSeen(f"workflow {handle.id} is still open after {within} s") from None

    async def lease_is_closed(self, world: World) -> bool:
        """No lease is open."""
        return await self.status(self.lease(world)) != WorkflowExecutionStatus.RUNNING

    async def assert_settled(self, world: World, labels: dict[str, dict[str, str]] | None = None) -> None:
        """The lease closes, and then the cluster is whole, and stays so."""
        try:
            await self.end_of(self.lease(world))
        except NotSeen as error:
            raise AssertionError(f"open lease; {world.events}") from error
        await assert_eventually(lambda: not faults_left(world.look()), lambda: f"{faults_left(world)} {world.events}")
        until = time.monotonic() + 0.8  # longer than any delay of the fakes
        while time.monotonic() < until:
            assert not faults_left(world.look()), world.events
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
        if not workers:
            yield stage
            return
        async with serving(stage):
            yield stage


@contextlib.asynccontextmanager
async def serving(stage: Stage, graceful: timedelta = timedelta(0)) -> AsyncIterator[None]:
    """The workers of production over the worlds of this stage; stopped at the end, in the middle of what they do."""
    settings = WorkerSettings(
        agent_image=AGENT_IMAGE, task_queue=stage.queue, max_activities=100, graceful_shutdown=graceful
    )
    kube, mysql = cast(KubeGateway, FakeKube(stage.worlds)), cast(MysqlGateway, FakeMysql(stage.worlds))
    activities = build_activities(kube, mysql, stage.client, settings.agent_image)
    stage.workers, stop = Workers(settings, stage.client, activities), asyncio.Event()
    running = asyncio.create_task(stage.workers.run_until(stop))
    try:
        yield
    finally:
        stop.set()
        await running


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
