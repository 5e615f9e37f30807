"""Activities on the pods that hold the names of stopped replicas."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from temporalio import activity

from activities._fence import Fence
from activities._heartbeat import in_thread, pause
from galera_backup.errors import LeaseLost, ScaleFailed
from galera_backup.kube.facts import PodFacts
from galera_backup.kube.gateway import KubeGateway
from galera_backup.kube.hold_pod import hold_pod
from galera_backup.models.activities import HoldTask
from galera_backup.rules.stop import held_by_others, scaled_up


class HoldActivities:
    """Every one may run twice."""

    def __init__(self, kube: KubeGateway, fence: Fence, image: str) -> None:
        self._kube = kube
        self._fence = fence
        self._image = image

    @activity.defn
    async def hold_names(self, task: HoldTask) -> None:
        """From here on nobody can start these replicas, until their names are released.

        Errors: `ScaleFailed`, when one was started before its name was held, or its name is taken; `LeaseLost`.
        """
        cluster, container = task.site.cluster, task.site.container
        await self._fence.marked(cluster, container, task.lease, undoing=task.undoing)
        for name in task.pods:
            await in_thread(self._kube.create_pod, cluster.namespace, hold_pod(cluster, name, task.lease, self._image))
        try:
            await self._fence.marked(cluster, container, task.lease, undoing=task.undoing)
        except LeaseLost:  # a creation has no condition: one that came late is taken back
            await self.release_names(task)
            raise
        statefulset = await in_thread(self._kube.statefulset, cluster, task.site.container)
        servers = {pod.name for pod in await in_thread(self._kube.members, cluster)}
        if servers & set(task.pods):
            serving = len(servers - set(task.pods))
            raise ScaleFailed(scaled_up(cluster, statefulset.replicas, statefulset.scaled_by, serving))
        held = {pod.name for pod in await in_thread(self._kube.holds, cluster)}
        if others := sorted(set(task.pods) - held):
            raise ScaleFailed(held_by_others(cluster, others))

    @activity.defn
    async def release_names(self, task: HoldTask) -> None:
        """Let the StatefulSet's controller make these replicas again; success where their names are not held.

        The controller backs off with each try that failed: where replicas are wanted already, a change of the
        StatefulSet wakes it.
        """
        cluster = task.site.cluster
        released = False
        while held := await self._held(task):
            released = True
            for pod in held:
                await in_thread(self._kube.release_hold, cluster.namespace, pod)
            await pause(0.1, f"waiting for {', '.join(pod.name for pod in held)} to be gone")
        if released:
            statefulset = await in_thread(self._kube.statefulset, cluster, task.site.container)
            if statefulset.replicas:
                await in_thread(self._kube.wake, statefulset, datetime.now(UTC))

    async def _held(self, task: HoldTask) -> Sequence[PodFacts]:
        holds = await in_thread(self._kube.holds, task.site.cluster)
        return [pod for pod in holds if pod.name in task.pods]
