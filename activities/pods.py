"""Watch one runner pod to its end, and read what the agent answered."""

from __future__ import annotations

import json
import time
from datetime import timedelta

from pydantic import ValidationError

from activities._heartbeat import in_thread, pause
from galera_backup import timing
from galera_backup.kube.facts import PodFacts
from galera_backup.kube.gateway import KubeGateway
from galera_backup.models.activities import RunnerOutcome, RunnerTask
from galera_backup.models.jobs import RunnerJob
from galera_backup.models.manifest import Manifest
from galera_backup.models.reports import ListReport
from galera_backup.models.runner import RunnerError, RunnerErrorType, RunnerLog
from galera_backup.runner.handshake import AGENT_CONTAINER, MARIADB_CONTAINER
from galera_backup.storage import layout
from galera_backup.text import bounded

NOT_STARTABLE = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
}
"""Reasons to wait that are as good as final."""
_OURS = (AGENT_CONTAINER, MARIADB_CONTAINER)
FOLLOW_SECONDS = 30
"""How long one container may go on after the other has failed."""
TAIL_LINES, TAIL_CHARACTERS = 20, 2000
LOOK_SECONDS, OUTAGE_LOOK_SECONDS = 1.0, 0.2
"""Between two looks at a pod; while the database is down for it nothing is gained by waiting."""
PROGRESS_SECONDS = 3.0


class PodWatcher:
    """Looks at a runner pod again and again; changes nothing."""

    def __init__(self, kube: KubeGateway) -> None:
        self._kube = kube

    async def watch(self, task: RunnerTask[RunnerJob]) -> RunnerOutcome:
        """Return how the pod ended, at the latest when it could not start in time."""
        begun = time.monotonic()  # the worker's clock may be wrong
        pace = OUTAGE_LOOK_SECONDS if task.job.needs.in_outage else LOOK_SECONDS
        told, progress = begun, ""
        follow_until: float | None = None
        while True:
            pod = await in_thread(self._kube.find_pod, task.site.cluster.namespace, task.pod)
            if pod is None:
                gone = _without_answer(task, None, "it was deleted while it worked")
                return gone.model_copy(update={"deleted": True})
            if AGENT_CONTAINER in pod.ended or pod.phase in ("Succeeded", "Failed"):
                outcome = await in_thread(self._collect, task, pod)
                deleted = pod.deleting and outcome.error is not None
                return outcome.model_copy(update={"deleted": deleted})
            if (stuck := _stuck(task, pod, timedelta(seconds=time.monotonic() - begun))) is not None:
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

    async def _progress(self, task: RunnerTask[RunnerJob]) -> str:
        text = await in_thread(self._log, task, 1)
        return bounded(text.strip(), 500)

    def _collect(self, task: RunnerTask[RunnerJob], pod: PodFacts) -> RunnerOutcome:
        agent = pod.ended.get(AGENT_CONTAINER)
        try:
            result = task.job.result_type().model_validate_json(agent.message if agent is not None else "")
        except ValidationError:
            ends = [f"{name} {end.exit_code} {end.reason}".strip() for name, end in sorted(pod.ended.items())]
            why = f"{pod.reason} {pod.message}".strip() or f"it ended without an answer ({', '.join(ends)})"
            return _without_answer(task, pod, why, self._log(task, TAIL_LINES))
        listed = result.report.count if isinstance(result.report, ListReport) else 0
        text = self._log(task, TAIL_LINES + listed)
        manifests = tuple(_manifests(text)[-listed:]) if listed else ()
        if len(manifests) != listed:
            why = f"its log has {len(manifests)} manifests instead of {listed}: it was rotated"
            return _without_answer(task, pod, why, text)
        return RunnerOutcome(
            log=_log(task, pod, agent.exit_code if agent else None, text),
            error=result.error,
            report=result.report.model_dump(mode="json") if result.report is not None else None,
            listed=manifests,
            runs_on=pod.phase == "Running" and any(name not in _OURS and name not in pod.ended for name in pod.images),
        )

    def _log(self, task: RunnerTask[RunnerJob], lines: int) -> str:
        return self._kube.log(task.site.cluster.namespace, task.pod, AGENT_CONTAINER, lines)


def _stuck(task: RunnerTask[RunnerJob], pod: PodFacts, waited: timedelta) -> str | None:
    """Why the pod will not start, or None.

    An agent that has begun says itself when the other container does not start, and it may not need that any more.
    In an outage there is nothing better than to wait for room on a node; and for an image, where the pod undoes, or
    needs none but that of the agent.
    """
    needs = task.job.needs
    patient = needs.in_outage and (task.fence == "undo" or not needs.script)
    hopeless = not patient and any(wait.reason in NOT_STARTABLE for wait in pod.waiting.values())
    limit = timing.NOT_STARTABLE_LIMIT if hopeless else timing.start_limit(task.timeout, in_outage=needs.in_outage)
    if pod.phase != "Pending" or AGENT_CONTAINER in pod.begun or waited < limit:
        return None
    waits = [f"{name}: {wait.reason} {wait.message}".strip() for name, wait in sorted(pod.waiting.items())]
    return f"it did not start within {limit}: {'; '.join(waits) or pod.unscheduled or 'no reason is known'}"


def _without_answer(
    task: RunnerTask[RunnerJob],
    pod: PodFacts | None,
    why: str,
    log: str = "",
    error: RunnerErrorType = "RunnerFailed",
) -> RunnerOutcome:
    message = bounded(
        f"runner pod {task.pod!r}: expected it to end with an answer, but {why}. Look at the events of the pod and its "
        f"node; the operation can be started again"
    )
    return RunnerOutcome(log=_log(task, pod, None, log), error=RunnerError(type=error, message=message))


def _log(task: RunnerTask[RunnerJob], pod: PodFacts | None, exit_code: int | None, text: str) -> RunnerLog:
    tail = "\n".join(text.splitlines()[-TAIL_LINES:])
    stored = task.job.stored_log
    return RunnerLog(
        pod=task.pod,
        node=pod.node if pod else "",
        exit_code=exit_code,
        tail=tail[-TAIL_CHARACTERS:],
        path=f"{task.site.backup_root}/{layout.log(stored)}" if stored is not None else None,
    )


def _manifests(log: str) -> list[Manifest]:
    rows = [json.loads(line) for line in log.splitlines() if line.startswith('{"backup"')]
    return [Manifest.model_validate(row["backup"]) for row in rows]
