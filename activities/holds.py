"""Activities on the pods that hold the names of stopped replicas."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from temporalio import activity

from activities._fence import Fence
from activities._heartbeat import in_thread, in_threads, pause
from galera_backup.errors import ClusterNotFound, LeaseLost, NotYet, ScaleFailed
from galera_backup.kube.facts import PodFacts
from galera_backup.kube.gateway import KubeGateway
from galera_backup.kube.hold_pod import hold_pod
from galera_backup.marks import is_held_for
from galera_backup.models.activities import HoldTask
from galera_backup.rules.stop import held_by_others, scaled_up


class HoldActivities:
    """Every one may run twice. A hold says for which stop it is; only who holds or undoes that stop releases it."""

    def __init__(self, kube: KubeGateway, fence: Fence, image: str) -> None:
        self._kube = kube
        self._fence = fence
        self._image = image

    @activity.defn
    async def hold_names(self, task: HoldTask) -> None:
        """From here on nobody can start these replicas, until their names are released.

        What an earlier operation has left held is held for this stop too. Errors: `ScaleFailed`, when one was started
        before its name was held, or its name is taken; `LeaseLost`.
        """
        cluster = task.site.cluster
        await self._marked(task)
        statefulset = await in_thread(self._kube.statefulset, cluster, task.site.container)
        account = statefulset.service_account
        pods = [hold_pod(task.site, name, task.owner, self._image, account) for name in task.pods or ()]
        await in_threads(self._kube.create_pod, cluster.namespace, pods)
        found = await in_thread(self._kube.holds, cluster)
        try:
            await self._marked(task)
        except LeaseLost:  # a creation has no condition: one that came late is taken back
            await self.release_names(task)
            raise
        await self._take(task, found)
        servers = {pod.name for pod in await in_thread(self._kube.members, cluster)}
        if servers & set(task.pods or ()):
            statefulset = await in_thread(self._kube.statefulset, cluster, task.site.container)
            serving = len(servers - set(task.pods or ()))
            raise ScaleFailed(scaled_up(cluster, statefulset.replicas, statefulset.scaled_by, serving))
        held = {pod.name for pod in await self._held(task)}
        if others := sorted(set(task.pods or ()) - held):
            raise ScaleFailed(held_by_others(cluster, others))

    async def _marked(self, task: HoldTask) -> None:
        site = task.site
        await self._fence.marked(site.cluster, site.container, task.mark.lease, undoing=task.undoing)

    async def _take(self, task: HoldTask, found: Sequence[PodFacts]) -> None:
        """`found` was read before the fence was asked: one that a later stop has taken since has changed."""
        for pod in found:
            if not is_held_for(pod.annotations, task.owner):
                try:
                    await in_thread(self._kube.take_hold, task.site.cluster.namespace, pod, task.owner)
                except ClusterNotFound as error:
                    raise NotYet(f"holding {pod.name!r}: {error.message}") from error

    @activity.defn
    async def release_names(self, task: HoldTask) -> None:
        """Let the StatefulSet's controller make these replicas again; success where their names are not held.

        The controller backs off with each try that failed: where replicas are wanted already, a change of the
        StatefulSet wakes it.
        """
        cluster = task.site.cluster
        held = await self._held(task)
        while held:
            await in_threads(self._kube.release_hold, cluster.namespace, held)
            if held := await self._held(task):  # no node has it, so it goes at once
                await pause(0.1, f"waiting for {', '.join(pod.name for pod in held)} to be gone")
        statefulset = await in_thread(self._kube.statefulset, cluster, task.site.container)
        if statefulset.replicas:
            await in_thread(self._kube.wake, statefulset, datetime.now(UTC))

    async def _held(self, task: HoldTask) -> Sequence[PodFacts]:
        """Those of this stop that are named."""
        return [
            pod
            for pod in await in_thread(self._kube.holds, task.site.cluster)
            if is_held_for(pod.annotations, task.owner) and (task.pods is None or pod.name in task.pods)
        ]
