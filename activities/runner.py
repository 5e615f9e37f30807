"""Activities on runner pods: watch one to its end, remove them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from datetime import timedelta

from pydantic import ValidationError
from temporalio import activity

from activities._fence import Fence
from activities._heartbeat import in_thread, pause, wanted_to_stop
from activities._observer import Observer
from activities._quorum import Quorum
from galera_backup import names
from galera_backup.errors import ClusterDegraded, ClusterNotFound, ClusterUnhealthy, LeaseLost
from galera_backup.kube.facts import PodFacts
from galera_backup.kube.gateway import KubeGateway
from galera_backup.kube.runner_pod import runner_pod
from galera_backup.models.activities import Observe, RemoveRunners, RunnerOutcome, RunnerTask
from galera_backup.models.manifest import Manifest
from galera_backup.models.runner import (
    BackupJob,
    ListJob,
    RestoreJob,
    RunnerError,
    RunnerLog,
    RunnerResult,
    UnpackJob,
    is_in_the_outage,
)
from galera_backup.mysql.gateway import Endpoint, MysqlGateway
from galera_backup.runner import protocol
from galera_backup.runner.protocol import AGENT_CONTAINER, MARIADB_CONTAINER
from galera_backup.text import bounded

START_LIMIT = timedelta(minutes=5)
"""For scheduling, mounting and pulling images, as one worker watches it; only then a pod's own deadline counts."""
NOT_STARTABLE = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
}
NOT_STARTABLE_LIMIT = timedelta(minutes=1)
"""For what is as good as final: a registry may stumble, but the replica waits meanwhile."""
FOLLOW_SECONDS = 30
"""How long one container may go on after the other has failed."""
TAIL_LINES, TAIL_CHARACTERS = 20, 2000
LOOK_SECONDS, OUTAGE_LOOK_SECONDS = 1.0, 0.2
"""Between two looks at a pod; while the database is down for it nothing is gained by waiting."""
PROGRESS_SECONDS = 3.0


class RunnerActivities:
    """Runner pods have derived names: an attempt that finds its pod there already adopts it, running or ended."""

    def __init__(self, kube: KubeGateway, mysql: MysqlGateway, fence: Fence, agent_image: str) -> None:
        self._kube = kube
        self._mysql = mysql
        self._fence = fence
        self._quorum = Quorum(Observer(kube, mysql))
        self._agent_image = agent_image

    @activity.defn
    async def run_runner(self, task: RunnerTask) -> RunnerOutcome:
        """Create or adopt the pod and watch it to its end; the pod stays until `remove_runners`.

        A cancel that means stop removes the pod; a worker that shuts down leaves it for the next attempt.
        """
        try:
            await self._check_fence(task)
            if await in_thread(self._kube.find_pod, task.site.cluster.namespace, task.pod) is None:
                await in_thread(self._create, task)
            await self._release(task)
            outcome = await self._watch_both(task)
            if task.lease is not None and task.fence != "undo":
                await self._fence.lease_is_open(task.lease)  # else nobody is left who would remove the pod
        except (asyncio.CancelledError, ClusterDegraded, ClusterUnhealthy, LeaseLost) as error:
            if not isinstance(error, asyncio.CancelledError) or wanted_to_stop():
                await asyncio.to_thread(self._kube.delete_pod, task.site.cluster.namespace, task.pod)
            raise
        return outcome

    async def _release(self, task: RunnerTask) -> None:
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
        await self._check_fence(task)
        with contextlib.suppress(ClusterNotFound):  # removed meanwhile
            await in_thread(self._kube.release_pod, task.site.cluster.namespace, pod)

    @activity.defn
    async def remove_runners(self, request: RemoveRunners) -> None:
        """Delete one runner pod, or all of a lease, and wait until they are gone: nobody works on the data any more."""
        while True:
            pods = await in_thread(self._runners, request)
            if not pods:
                return
            for pod in pods:
                if not pod.deleting:
                    await in_thread(self._kube.delete_pod, request.cluster.namespace, pod.name)
            await pause(0.5, f"waiting for {', '.join(pod.name for pod in pods)} to be gone")

    @activity.defn
    async def remove_strangers(self, request: RemoveRunners) -> None:
        """Delete the cluster's runner pods of all leases but this, and wait until they are gone.

        A lease that was killed together with its owner leaves them.
        """
        assert request.lease is not None
        while True:
            pods = await in_thread(self._kube.runner_pods, request.cluster, None)
            strangers = [pod for pod in pods if pod.labels[names.LEASE_LABEL] != request.lease.run_id]
            if not strangers:
                return
            await self._fence.lease_is_open(request.lease)  # after the look: no pod of a later lease is among them
            for pod in strangers:
                if not pod.deleting:
                    await in_thread(self._kube.delete_pod, request.cluster.namespace, pod.name)
            await pause(0.5, f"waiting for {', '.join(pod.name for pod in strangers)} to be gone")

    def _runners(self, request: RemoveRunners) -> list[PodFacts]:
        if request.pod is not None:
            found = self._kube.find_pod(request.cluster.namespace, request.pod)
            return [found] if found else []
        assert request.lease is not None
        return self._kube.runner_pods(request.cluster, request.lease.run_id)

    async def _check_fence(self, task: RunnerTask) -> None:
        if task.lease is None:
            return
        if task.fence == "undo":
            await self._fence.stopped(
                task.site.cluster, task.site.container, task.lease, undoing=True, first=task.stopped_from
            )
        if task.fence == "lease":
            await self._fence.lease_is_open(task.lease)
        if task.fence == "stopped":
            await self._fence.stopped(task.site.cluster, task.site.container, task.lease, first=task.stopped_from)
        if task.fence == "desynced":
            assert task.replica is not None
            await self._fence.replica(task.site.cluster, task.replica, task.lease)
            await in_thread(self._check_desynced, task, task.replica)

    def _check_desynced(self, task: RunnerTask, replica: str) -> None:
        pod = self._kube.pod(task.site.cluster.namespace, replica)
        credentials = self._kube.credentials(task.site.cluster.namespace, task.site.credentials)
        wsrep = self._mysql.wsrep_status(Endpoint(task.site.cluster.namespace, replica, pod.ip, credentials))
        if not wsrep.desync:
            raise LeaseLost(
                f"starting runner pod {task.pod!r}: expected wsrep_desync=ON on {replica!r}, it is OFF. "
                "Somebody resynced the replica, or its server restarted; start the backup anew"
            )

    def _create(self, task: RunnerTask) -> None:
        statefulset = self._kube.statefulset(task.site.cluster, task.site.container)
        replica = self._kube.find_pod(task.site.cluster.namespace, task.replica) if task.replica else None
        self._kube.create_pod(task.site.cluster.namespace, runner_pod(task, statefulset, replica, self._agent_image))

    async def _watch_both(self, task: RunnerTask) -> RunnerOutcome:
        """The runner to its end, and meanwhile the members that must do without its replica.

        In one activity: a second one could hold the slot that the removal of a finished runner waits for.
        Error: `ClusterDegraded`.
        """
        if not task.give_back_when_degraded or task.replica is None or not task.others_in_sync:
            return await self._watch(task)
        runner = asyncio.ensure_future(self._watch(task))
        others = asyncio.ensure_future(self._quorum.watch(_look(task), task.replica, task.others_in_sync))
        try:
            await asyncio.wait({runner, others}, return_when=asyncio.FIRST_COMPLETED)
            if runner.done():
                return runner.result()
            raise others.result()
        finally:
            runner.cancel()
            others.cancel()
            await asyncio.gather(runner, others, return_exceptions=True)

    async def _watch(self, task: RunnerTask) -> RunnerOutcome:
        begun = time.monotonic()  # the worker's clock may be wrong
        pace = OUTAGE_LOOK_SECONDS if is_in_the_outage(task.job) else LOOK_SECONDS
        told, progress = begun, ""
        follow_until: float | None = None
        while True:
            pod = await in_thread(self._kube.find_pod, task.site.cluster.namespace, task.pod)
            if pod is None:
                gone = _without_answer(task, None, "it was deleted while it worked")
                return gone.model_copy(update={"deleted": True})
            if AGENT_CONTAINER in pod.ended or pod.phase in ("Succeeded", "Failed"):
                outcome = await in_thread(self._collect, task, pod)
                deleted = pod.deleting and outcome.result.error is not None
                return outcome.model_copy(update={"deleted": deleted})
            if (stuck := _stuck(pod, timedelta(seconds=time.monotonic() - begun))) is not None:
                return _without_answer(task, pod, stuck, error="RunnerNotStarted")
            mariadb = pod.ended.get(MARIADB_CONTAINER)
            if mariadb is not None and mariadb.exit_code != 0:
                follow_until = follow_until or time.monotonic() + FOLLOW_SECONDS
                if time.monotonic() > follow_until:
                    why = f"its container {MARIADB_CONTAINER!r} ended with {mariadb.exit_code} ({mariadb.reason})"
                    return _without_answer(task, pod, f"{why} and the agent did not notice")
            if time.monotonic() > told + PROGRESS_SECONDS:
                told, progress = time.monotonic(), await self._progress(task)
            await pause(pace, progress or f"pod {task.pod} is {pod.phase}")

    async def _progress(self, task: RunnerTask) -> str:
        text = await in_thread(self._kube.log, task.site.cluster.namespace, task.pod, AGENT_CONTAINER, 1)
        return bounded(text.strip(), 500)

    def _collect(self, task: RunnerTask, pod: PodFacts) -> RunnerOutcome:
        agent = pod.ended.get(AGENT_CONTAINER)
        text = self._kube.log(task.site.cluster.namespace, task.pod, AGENT_CONTAINER)
        result = _answer(agent.message) if agent is not None else None
        if result is None:
            ends = [f"{name} {end.exit_code} {end.reason}".strip() for name, end in sorted(pod.ended.items())]
            why = f"{pod.reason} {pod.message}".strip() or f"it ended without an answer ({', '.join(ends)})"
            return _without_answer(task, pod, why, text)
        log = _log(task, pod, agent.exit_code if agent else None, text)
        listed = tuple(_manifests(text)) if isinstance(task.job, ListJob) else ()
        return RunnerOutcome(log=log, result=result, listed=listed)


def _look(task: RunnerTask) -> Observe:
    return Observe(site=task.site)


def _stuck(pod: PodFacts, waited: timedelta) -> str | None:
    """Why the pod will not start, or None."""
    hopeless = any(wait.reason in NOT_STARTABLE for wait in pod.waiting.values())
    limit = NOT_STARTABLE_LIMIT if hopeless else START_LIMIT
    if pod.phase != "Pending" or waited < limit:
        return None
    waits = [f"{name}: {wait.reason} {wait.message}".strip() for name, wait in sorted(pod.waiting.items())]
    return f"it did not start within {limit}: {'; '.join(waits) or pod.unscheduled or 'no reason is known'}"


def _without_answer(
    task: RunnerTask, pod: PodFacts | None, why: str, log: str = "", error: str = "RunnerFailed"
) -> RunnerOutcome:
    message = bounded(
        f"runner pod {task.pod!r}: expected it to end with an answer, but {why}. Look at the events of the pod and its "
        f"node; the operation can be started again"
    )
    return RunnerOutcome(
        log=_log(task, pod, None, log),
        result=RunnerResult(error=RunnerError(type=error, message=message)),
    )


def _log(task: RunnerTask, pod: PodFacts | None, exit_code: int | None, text: str) -> RunnerLog:
    tail = "\n".join(text.splitlines()[-TAIL_LINES:])
    return RunnerLog(
        pod=task.pod,
        node=pod.node if pod else "",
        exit_code=exit_code,
        tail=tail[-TAIL_CHARACTERS:],
        path=_log_path(task),
    )


def _log_path(task: RunnerTask) -> str | None:
    job = task.job
    if isinstance(job, BackupJob):
        name = protocol.RUNNER_LOG
    elif isinstance(job, RestoreJob):
        name = protocol.restore_log(job.restore_id, job.ordinal)
    elif isinstance(job, UnpackJob):
        name = protocol.unpack_log(job.restore_id)
    else:
        return None
    owner = job.owner if isinstance(job, RestoreJob) else job.cluster
    return f"{protocol.BACKUP_ROOT}/{owner}/{job.backup_id}/{name}"


def _answer(message: str) -> RunnerResult | None:
    try:
        return RunnerResult.model_validate_json(message)
    except ValidationError:
        return None


def _manifests(log: str) -> list[Manifest]:
    rows = [json.loads(line) for line in log.splitlines() if line.startswith('{"backup"')]
    return [Manifest.model_validate(row["backup"]) for row in rows]
