"""What is watched while a pod works on the data of a stopped cluster: nobody else starts its servers."""

from __future__ import annotations

import logging

from activities._fence import names_not_held
from activities._heartbeat import in_thread, pause
from galera_backup.errors import LeaseLost, ScaleFailed
from galera_backup.kube.gateway import KubeGateway
from galera_backup.marks import mark_of
from galera_backup.models.activities import RunnerTask
from galera_backup.models.jobs import RunnerJob
from galera_backup.rules.stop import not_held, scaled_up
from galera_backup.runner.handshake import AGENT_CONTAINER, BEGINS

_PAUSE = 1.0
"""Seconds between two looks: somebody who scales it is named within 3 s."""
_LINES = 200
"""Of the agent's log: it says once that it begins, and little before that."""

log = logging.getLogger(__name__)


class OutageWatch:
    """Looks at the names that must be held, and at the replica count."""

    def __init__(self, kube: KubeGateway) -> None:
        self._kube = kube

    async def watch(self, task: RunnerTask[RunnerJob]) -> LeaseLost | ScaleFailed:
        """Returns why the pod must not go on.

        Somebody who scales the StatefulSet up is named, and does no harm: no server can start. Where the pod has
        changed nothing yet, nothing is begun then. Without the names a server may start on the data.
        """
        cluster, told = task.site.cluster, ""
        while True:
            statefulset = await in_thread(self._kube.statefulset, cluster, task.site.container)
            mark = mark_of(statefulset.annotations)
            recipe = mark.start if mark is not None and mark.lease == task.lease else None
            if recipe is not None and (missing := await names_not_held(self._kube, recipe, task.stopped_from)):
                return LeaseLost(not_held(cluster, missing))
            serving = max(task.stopped_from - statefulset.first_ordinal, 0)
            if statefulset.replicas > serving:
                seen = scaled_up(cluster, statefulset.replicas, statefulset.scaled_by, serving)
                if task.begins and not await self._has_begun(task):
                    return ScaleFailed(seen)
                if seen != told:
                    log.warning("scaled up in the outage", extra={"cluster": str(cluster), "seen": seen})
                told = seen
            await pause(_PAUSE, *([told] if told else []))

    async def _has_begun(self, task: RunnerTask[RunnerJob]) -> bool:
        """Whether the agent has said that it changes the data directory from here on."""
        namespace = task.site.cluster.namespace
        return BEGINS in await in_thread(self._kube.log, namespace, task.pod, AGENT_CONTAINER, _LINES)
