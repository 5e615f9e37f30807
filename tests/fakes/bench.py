"""Activities over one world, without workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities.galera import GaleraActivities
from activities.holds import HoldActivities
from activities.kubernetes import KubernetesActivities
from activities.prove import ProveActivities
from activities.runner import RunnerActivities
from galera_backup import names
from galera_backup.models.activities import HoldTask, ReplicaTask, RunnerTask, ScaleTask
from galera_backup.models.common import LeaseRef
from galera_backup.models.jobs import ListJob, RunnerJob
from galera_backup.models.mark import Mark, StartRecipe
from galera_backup.models.site import Site
from tests.fakes.faults import Fault, Gate
from tests.fakes.stage import assert_eventually
from tests.fakes.world import World

LEASE = LeaseRef(workflow_id="galera-lease/x", run_id="lease-run")
OTHER = LeaseRef(workflow_id="galera-lease/x", run_id="other-run")


class Leases:
    """A Temporal client that knows which leases are open, and nothing else."""

    def __init__(self) -> None:
        self.status: dict[str, WorkflowExecutionStatus] = {LEASE.run_id: WorkflowExecutionStatus.RUNNING}

    def get_workflow_handle(self, workflow_id: str, run_id: str) -> Any:
        async def describe() -> Any:
            if run_id not in self.status:
                raise RPCError("no such workflow", RPCStatusCode.NOT_FOUND, b"")
            return SimpleNamespace(status=self.status[run_id])

        return SimpleNamespace(describe=describe)


@dataclass
class Frozen:
    """An activity on a worker that was frozen between its check and its effect."""

    gate: Gate
    running: asyncio.Future[Any]

    async def goes_on(self) -> BaseException | None:
        """The worker wakes up; how the activity ends: its error, or None."""
        self.gate.open()
        await asyncio.wait([self.running], timeout=20)
        return self.running.exception()


@dataclass
class Bench:
    """Activities over one world, and an environment to run them in."""

    world: World
    leases: Leases
    galera: GaleraActivities
    kubernetes: KubernetesActivities
    runner: RunnerActivities
    holds: HoldActivities
    prove: ProveActivities
    env: ActivityEnvironment
    beats: list[tuple[Any, ...]]

    @property
    def site(self) -> Site:
        return Site(cluster=self.world.cluster, backup_claim="backups")

    async def run(self, activity: Callable[[Any], Any], argument: Any) -> Any:
        return await self.env.run(activity, argument)

    async def twice(self, activity: Callable[[Any], Any], argument: Any) -> Any:
        """The second run finds the first one's work done, and changes nothing."""
        await self.run(activity, argument)
        before = self.state()
        result = await self.run(activity, argument)
        assert self.state() == before
        return result

    def state(self) -> Any:
        world = self.world.look()
        return (
            {name: (dict(m.labels), without_note(m.annotations), m.desync) for name, m in world.members.items()},
            (world.statefulset.replicas, without_note(world.statefulset.annotations)),
            sorted(pod.name for pod in world.present_runners()),
        )

    def replica(self, **changes: Any) -> ReplicaTask:
        mark = Mark(lease=LEASE, owner="o", until=datetime.now(UTC))
        values = {"site": self.site, "lease": LEASE, "pod": "mariadb-server-2", "mark": mark}
        return ReplicaTask.model_validate({**values, **changes})

    def scale(self, replicas: int, lease: LeaseRef = LEASE) -> ScaleTask:
        """`replicas`: to scale up to; a stop takes all."""
        mark = Mark(lease=lease, owner="o", until=datetime.now(UTC), undo=self.recipe)
        return ScaleTask(site=self.site, mark=mark, replicas=replicas)

    @property
    def recipe(self) -> StartRecipe:
        """Of a restore of three replicas."""
        return StartRecipe(
            site=self.site,
            replicas_before=3,
            replicas=3,
            restore_id="r",
            claims=tuple(self.world.claim_name(ordinal) for ordinal in range(3)),
            primary_pod=None,
            runner_pod_prefix="p",
            runner_timeout=timedelta(minutes=5),
            ready_timeout=timedelta(minutes=5),
            stopping_from=3,
        )

    def hold(self, *pods: str, undoing: bool = False, lease: LeaseRef = LEASE) -> HoldTask:
        """Of these names; all, if none is given."""
        every = tuple(names.pod(self.world.cluster, ordinal) for ordinal in range(3))
        return HoldTask(site=self.site, mark=self.scale(0, lease).mark, pods=pods or every, undoing=undoing)

    async def stopped(self) -> None:
        """As after the stop of a restore."""
        await self.run(self.kubernetes.scale_down, self.scale(0))
        await self.run(self.kubernetes.wait_stopped, self.scale(0))
        await self.run(self.holds.hold_names, self.hold())

    def job(self, fence: str = "none", **changes: Any) -> RunnerTask[RunnerJob]:
        values = {
            "site": self.site,
            "lease": None if fence == "none" else LEASE,
            "fence": fence,
            "pod": "runner-1",
            "job": ListJob(cluster=self.world.cluster),
            "data_claim": None,
            "timeout": timedelta(minutes=5),
        }
        return RunnerTask[RunnerJob].model_validate({**values, **changes})

    async def freeze(
        self,
        method: str,
        activity: Callable[[Any], Any],
        argument: Any,
        when: Callable[[Mapping[str, Any]], bool] = lambda arguments: True,
    ) -> Frozen:
        """Run an activity on a worker of its own until it is about to make this call; there the worker freezes."""
        gate = Gate()
        self.world.faults.add(Fault(method, gate=gate, when=when))
        running = asyncio.ensure_future(ActivityEnvironment().run(activity, argument))
        await assert_eventually(lambda: gate.entered.is_set() or running.done())
        assert not running.done(), running.exception()
        return Frozen(gate, running)

    async def desynced(self) -> ReplicaTask:
        """As after the first steps of a backup."""
        task = self.replica()
        await self.run(self.galera.mark_replica, task)
        await self.run(self.galera.desync, task)
        return task


def without_note(annotations: dict[str, str]) -> dict[str, str]:
    """The note of the last lease is for the fence alone."""
    return {name: text for name, text in annotations.items() if name != names.LAST_LEASE_ANNOTATION}
