"""Create, watch, log and remove one runner pod."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar, cast

from temporalio import workflow

from workflows import call
from workflows._uncancellable import uncancellable

with workflow.unsafe.imports_passed_through():
    from activities.runner import RunnerActivities
    from galera_backup import timing
    from galera_backup.errors import GaleraBackupError, by_name
    from galera_backup.models.activities import RemoveRunners, RunnerOutcome, RunnerTask
    from galera_backup.models.common import ClusterRef, LeaseRef, Model
    from galera_backup.models.jobs import RunnerJob
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.runner import AnyJob, Job, RunnerLog

Report = TypeVar("Report", bound=Model)
JobT = TypeVar("JobT", bound=AnyJob)

ATTEMPTS = 2
"""A pod that was killed, or a tool that stumbled over the load, gets one more chance."""
_WORTH_ANOTHER = {"RunnerFailed", "BackupFailed", "RestoreFailed"}
_MARGIN = timedelta(minutes=10)
"""Beyond its start and its own deadline: for looking at its end."""


@dataclass(frozen=True)
class Ran(Generic[Report]):
    """A job that succeeded."""

    report: Report
    log: RunnerLog
    listed: tuple[Manifest, ...]


async def run(task: RunnerTask[Job[Report]], summary: str) -> Ran[Report]:
    """Run the job in a pod of its own and remove the pod. Raises the error that the agent, or its end, names.

    All attempts together have the task's time: another one is made when it can come as far as the one before.
    """
    began = workflow.now()
    outcome = await _run_once(task, summary)
    for attempt in range(2, ATTEMPTS + 1):
        error = outcome.error
        if error is None or outcome.deleted or error.type not in _WORTH_ANOTHER:
            break
        took = workflow.now() - began
        if task.timeout - took < took:
            break
        workflow.logger.warning("runner failed, trying again", extra={"pod": task.pod, "error": error.message})
        rest = {"pod": f"{task.pod}-{attempt}", "timeout": task.timeout - took, "begins": False}
        again = task.model_copy(update=rest)
        second = await _run_once(again, f"{summary} (attempt {attempt})")
        if second.error is not None and second.error.type == "RunnerNotStarted":
            break  # the first attempt says more: what it has done is done
        outcome = second
    if outcome.error is not None:
        raise by_name(outcome.error.type)(outcome.error.message, outcome.log.model_dump(mode="json"))
    report = task.job.report_type().model_validate(outcome.report)
    return Ran(report, outcome.log, outcome.listed)


def activity_limit(task: RunnerTask[AnyJob]) -> timedelta:
    """For the start of the pod, its own deadline, which counts from there, and the looks at both."""
    return timing.start_limit(task.timeout, in_outage=task.job.needs.in_outage) + task.timeout + _MARGIN


async def remove_all(cluster: ClusterRef, lease: LeaseRef) -> None:
    """At the end of a lease: the pods of checks and prunes. Nothing depends on it."""
    await _remove_if_possible(RemoveRunners(cluster=cluster, lease=lease), "no runner pod is left")


async def _run_once(task: RunnerTask[AnyJob], summary: str) -> RunnerOutcome:
    removal = RemoveRunners(cluster=task.site.cluster, pod=task.pod, run=task.run), f"remove pod {task.pod}"
    try:
        outcome = await call.wait(
            RunnerActivities.run_runner,
            cast("RunnerTask[RunnerJob]", task),  # which has every class of jobs
            summary,
            limit=activity_limit(task),
        )
    except GaleraBackupError:
        await uncancellable(_remove_if_possible(*removal))
        raise
    if task.job.needs.stays and task.fence == "stopped" and outcome.error is None and not outcome.runs_on:
        return outcome
    await _remove(*removal)
    return outcome


async def _remove_if_possible(request: RemoveRunners, summary: str) -> None:
    """Nothing depends on it, or an earlier failure is the one that counts."""
    try:
        await _remove(request, summary)
    except GaleraBackupError as error:
        workflow.logger.warning("runner pods may be left", extra={"step": summary, "error": error.message})


async def _remove(request: RemoveRunners, summary: str) -> None:
    await call.act(RunnerActivities.remove_runners, request, summary)
