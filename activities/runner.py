"""Activities on runner pods: run one to its end, remove them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any

from temporalio import activity

from activities._fence import Fence
from activities._heartbeat import in_thread, pause, wanted_to_stop
from activities._lock_watch import LockWatch
from activities._observer import Observer
from activities._outage import OutageWatch
from activities._quorum import Quorum
from activities.pods import PodWatcher
from galera_backup import names
from galera_backup.errors import (
    BackupBlocked,
    ClusterDegraded,
    ClusterNotFound,
    ClusterUnhealthy,
    GaleraBackupError,
    KubernetesRefused,
    KubernetesUnavailable,
    LeaseLost,
    QuotaExceeded,
    RunnerNotStarted,
    ScaleFailed,
)
from galera_backup.kube.facts import PodFacts
from galera_backup.kube.gateway import KubeGateway
from galera_backup.kube.runner_pod import runner_pod
from galera_backup.models.activities import Observe, RemoveRunners, RunnerOutcome, RunnerTask
from galera_backup.models.common import ClusterRef
from galera_backup.models.jobs import RunnerJob
from galera_backup.models.runner import RunnerError
from galera_backup.mysql.gateway import Endpoint, MysqlGateway
from galera_backup.runner.handshake import AGENT_CONTAINER
from galera_backup.text import bounded


class RunnerActivities:
    """Runner pods have derived names: an attempt that finds its pod there already adopts it, running or ended."""

    def __init__(self, kube: KubeGateway, mysql: MysqlGateway, fence: Fence, agent_image: str) -> None:
        self._kube = kube
        self._mysql = mysql
        self._fence = fence
        self._quorum = Quorum(Observer(kube, mysql))
        self._locks = LockWatch(mysql)
        self._outage = OutageWatch(kube)
        self._watcher = PodWatcher(kube)
        self._agent_image = agent_image

    @activity.defn
    async def run_runner(self, task: RunnerTask[RunnerJob]) -> RunnerOutcome:
        """Create or adopt the pod and watch it to its end; the pod stays until `remove_runners`.

        A cancel that means stop removes the pod; a worker that shuts down leaves it for the next attempt.
        """
        try:
            found = await in_thread(self._kube.find_pod, task.site.cluster.namespace, task.pod)
            await self._check_fence(task, is_new=found is None and activity.info().attempt == 1)
            if found is None:
                await in_thread(self._create, task, activity.info().attempt)
            pod = await in_thread(self._kube.find_pod, task.site.cluster.namespace, task.pod)
            _check_adopted(task, pod)
            await self._release(task)
            outcome = await self._watch_both(task)
            while task.begins and _did_not_start(outcome) and not await self._never_starts(task):
                outcome = await self._watch_both(task)
            if task.begins and _did_not_start(outcome) and not _is_the_first(pod):
                outcome = _may_have_worked(outcome)
            if task.lease is not None and task.fence != "undo":
                await self._fence.lease_is_open(task.lease)  # else nobody is left who would remove the pod
        except (
            asyncio.CancelledError,
            BackupBlocked,
            ClusterDegraded,
            ClusterUnhealthy,
            LeaseLost,
            ScaleFailed,
        ) as error:
            if not isinstance(error, asyncio.CancelledError) or wanted_to_stop():
                await asyncio.to_thread(self._delete, task)
            raise
        return outcome

    async def _never_starts(self, task: RunnerTask[RunnerJob]) -> bool:
        """Of the first pod that changes data: whether it is sure that it changed nothing. False: it has started now."""
        pod = await in_thread(self._kube.find_pod, task.site.cluster.namespace, task.pod)
        if pod is None:
            return True
        if AGENT_CONTAINER in pod.begun or pod.phase != "Pending":
            return False
        try:
            await in_thread(self._kube.delete_unstarted, task.site.cluster.namespace, pod)
        except ClusterNotFound:
            return True
        except KubernetesUnavailable:
            return False
        return True

    async def _release(self, task: RunnerTask[RunnerJob]) -> None:
        """Let the scheduler see the pod, if all that must hold holds now that the pod is there.

        Whoever undoes closes the fence first and then removes the pods that are there: a pod that was created too
        late does not pass this check, and one that passed it is gone when its gate is to be removed.
        """
        pod = await in_thread(self._kube.find_pod, task.site.cluster.namespace, task.pod)
        if pod is None or pod.deleting or not pod.gated:
            return
        if task.replica is not None:
            doing = f"starting runner pod {task.pod!r}"
            await self._quorum.check(_look(task), task.replica, task.others_in_sync, doing)
        await self._check_fence(task, is_new=True)
        with contextlib.suppress(ClusterNotFound):  # removed meanwhile
            await in_thread(self._kube.release_pod, task.site.cluster.namespace, pod)

    @activity.defn
    async def remove_runners(self, request: RemoveRunners) -> None:
        """Delete one runner pod, or all of a lease, and wait until they are gone: nobody works on the data any more."""
        while pods := await in_thread(self._runners, request):
            await self._delete_all(request.cluster, pods)

    @activity.defn
    async def remove_orphans(self, request: RemoveRunners) -> None:
        """Delete the cluster's runner pods of all leases but this, and wait until they are gone.

        A lease that was killed together with its owner leaves them.
        """
        assert request.lease is not None
        while True:
            pods = await in_thread(self._kube.runner_pods, request.cluster, None)
            orphans = [pod for pod in pods if pod.labels[names.LEASE_LABEL] != request.lease.run_id]
            if not orphans:
                return
            await self._fence.lease_is_open(request.lease)  # after the look: no pod of a later lease is among them
            await self._delete_all(request.cluster, orphans)

    async def _delete_all(self, cluster: ClusterRef, pods: Sequence[PodFacts]) -> None:
        for pod in pods:
            if not pod.deleting:
                await in_thread(self._kube.delete_pod, cluster.namespace, pod.name)
        await pause(0.5, f"waiting for {', '.join(pod.name for pod in pods)} to be gone")

    def _runners(self, request: RemoveRunners) -> list[PodFacts]:
        if request.pod is not None:
            found = self._kube.find_pod(request.cluster.namespace, request.pod)
            return [found] if found is not None and (not request.run or _is_of(found, request.run)) else []
        assert request.lease is not None
        return self._kube.runner_pods(request.cluster, request.lease.run_id)

    async def _check_fence(self, task: RunnerTask[RunnerJob], *, is_new: bool) -> None:
        """`is_new`: the pod has done nothing yet. One that works goes on, whoever has scaled the cluster up."""
        if task.lease is None:
            return
        if task.fence == "undo":
            await self._fence.stopped(
                task.site.cluster, task.site.container, task.lease, undoing=True, first=task.stopped_from
            )
        if task.fence == "lease":
            await self._fence.lease_is_open(task.lease)
        if task.fence == "stopped":
            if task.begins and is_new:
                await self._fence.at_zero(task.site.cluster, task.site.container)
            await self._fence.stopped(task.site.cluster, task.site.container, task.lease, first=task.stopped_from)
        if task.fence == "desynced":
            assert task.replica is not None
            await self._fence.replica(task.site.cluster, task.replica, task.lease)
            await in_thread(self._check_desynced, task, task.replica)

    def _check_desynced(self, task: RunnerTask[RunnerJob], replica: str) -> None:
        wsrep = self._mysql.wsrep_status(self._server(task, replica))
        if not wsrep.desync:
            raise LeaseLost(
                f"starting runner pod {task.pod!r}: expected wsrep_desync=ON on {replica!r}, it is OFF. "
                "Somebody resynced the replica, or its server restarted; start the backup again"
            )

    def _server(self, task: RunnerTask[RunnerJob], replica: str) -> Endpoint:
        site = task.site
        pod = self._kube.pod(site.cluster.namespace, replica)
        credentials = self._kube.credentials(site.cluster.namespace, site.credentials)
        return Endpoint(site.cluster.namespace, replica, pod.ip, credentials, site.port or pod.port)

    def _create(self, task: RunnerTask[RunnerJob], attempt: int) -> None:
        statefulset = self._kube.statefulset(task.site.cluster, task.site.container, task.site.data_directory)
        replica = self._kube.find_pod(task.site.cluster.namespace, task.replica) if task.replica else None
        pod = runner_pod(task, statefulset, replica, self._agent_image)
        pod.metadata.annotations = {**(pod.metadata.annotations or {}), names.ATTEMPT_ANNOTATION: str(attempt)}
        try:
            self._kube.create_pod(task.site.cluster.namespace, pod)
        except QuotaExceeded as error:
            if task.job.needs.in_outage:
                raise  # what the stop has freed is counted a moment later
            raise KubernetesRefused(error.message) from error

    def _delete(self, task: RunnerTask[RunnerJob]) -> None:
        """The pod, unless it is another run's."""
        pod = self._kube.find_pod(task.site.cluster.namespace, task.pod)
        if pod is not None and _is_of(pod, task.run):
            self._kube.delete_pod(task.site.cluster.namespace, task.pod)

    async def _watch_both(self, task: RunnerTask[RunnerJob]) -> RunnerOutcome:
        """The runner to its end, and meanwhile what may be a reason to give its replica back.

        In one activity: a second one could hold the slot that the removal of a finished runner waits for.
        Errors: `ClusterDegraded`, `BackupBlocked`.
        """
        runner = asyncio.ensure_future(self._watcher.watch(task))
        others = [asyncio.ensure_future(watch) for watch in await self._reasons_to_stop(task)]
        try:
            await asyncio.wait({runner, *others}, return_when=asyncio.FIRST_COMPLETED)
            if runner.done():
                return runner.result()
            raise next(each.result() for each in others if each.done())
        finally:
            for each in (runner, *others):
                each.cancel()
            await asyncio.gather(runner, *others, return_exceptions=True)

    async def _reasons_to_stop(self, task: RunnerTask[RunnerJob]) -> list[Coroutine[Any, Any, GaleraBackupError]]:
        """Each returns the error with which the runner is stopped."""
        found: list[Coroutine[Any, Any, GaleraBackupError]] = []
        if task.fence in ("stopped", "undo"):
            found.append(self._outage.watch(task))
        if task.replica is None:
            return found
        if task.give_back_when_degraded and task.others_in_sync:
            found.append(self._quorum.watch(_look(task), task.replica, task.others_in_sync))
        if task.lock_wait is not None:
            server = await in_thread(self._server, task, task.replica)
            found.append(self._locks.watch(server, task.lock_wait, task.write_wait))
        return found


def _did_not_start(outcome: RunnerOutcome) -> bool:
    return outcome.error is not None and outcome.error.type == "RunnerNotStarted"


def _is_the_first(pod: PodFacts | None) -> bool:
    """An earlier attempt of the activity may have made one of this name, which has worked, and is gone."""
    return pod is not None and pod.annotations.get(names.ATTEMPT_ANNOTATION) == "1"


def _may_have_worked(outcome: RunnerOutcome) -> RunnerOutcome:
    """The volumes must tell what was changed."""
    assert outcome.error is not None
    message = f"{outcome.error.message}. A pod of this name before it is gone, and may have worked"
    return outcome.model_copy(update={"error": RunnerError(type="RunnerFailed", message=bounded(message, 1500))})


def _is_of(pod: PodFacts, run: str) -> bool:
    return pod.labels.get(names.RUN_LABEL, "") == run


def _check_adopted(task: RunnerTask[RunnerJob], pod: PodFacts | None) -> None:
    """Error: `RunnerNotStarted`, when the pod of this name is another cluster's or another run's."""
    if pod is None:
        return
    ours = {names.CLUSTER_LABEL: task.site.cluster.statefulset, names.RUN_LABEL: task.run}
    seen = {key: pod.labels.get(key, "") for key in ours}
    if seen != ours:
        raise RunnerNotStarted(
            f"starting runner pod {task.pod!r} of {task.site.cluster}: there is a pod of this name already, with the "
            f"labels {seen}, expected {ours}. Remove it when it is not needed, then start the operation again"
        )


def _look(task: RunnerTask[RunnerJob]) -> Observe:
    return Observe(site=task.site)
