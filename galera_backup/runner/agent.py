"""Do one job, and write its result to the termination message."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from galera_backup.failure import AgentError
from galera_backup.models.common import Model
from galera_backup.models.jobs import (
    BackupJob,
    BootstrapJob,
    CheckJob,
    DiscardJob,
    EmptyJob,
    InspectJob,
    ListJob,
    PruneJob,
    RestoreJob,
    RunnerJob,
    StageJob,
    SwapJob,
    TidyJob,
    UnpackJob,
)
from galera_backup.models.manifest import Manifest
from galera_backup.models.reports import LISTED, CheckReport
from galera_backup.models.runner import AnyJob, Job, RunnerError, RunnerResult
from galera_backup.runner.backup import backup
from galera_backup.runner.check import check
from galera_backup.runner.container import MariadbContainer, dismiss
from galera_backup.runner.handshake import JOB_VARIABLE
from galera_backup.runner.places import Places
from galera_backup.runner.prune import list_backups, prune
from galera_backup.runner.reporting import listed, log, log_to_stderr
from galera_backup.runner.restore.restore import restore
from galera_backup.runner.restore.unpack import discard, unpack
from galera_backup.runner.staged.bootstrap import bootstrap
from galera_backup.runner.staged.empty import empty
from galera_backup.runner.staged.inspection import inspect
from galera_backup.runner.staged.stage import stage
from galera_backup.runner.staged.swap import swap
from galera_backup.runner.staged.tidy import tidy
from galera_backup.text import MESSAGE_LIMIT, bounded

Report = TypeVar("Report", bound=Model)
WITH_TOOLS: Mapping[type[AnyJob], Callable[[Any, Places, MariadbContainer], Model]] = {
    BackupJob: backup,
    CheckJob: check,
    RestoreJob: restore,
    UnpackJob: unpack,
    StageJob: stage,
}
"""Jobs that may use the tools of the server's image."""
ALONE: Mapping[type[AnyJob], Callable[[Any, Places], Model]] = {
    DiscardJob: discard,
    InspectJob: inspect,
    SwapJob: swap,
    EmptyJob: empty,
    BootstrapJob: bootstrap,
    TidyJob: tidy,
    PruneJob: prune,
    ListJob: list_backups,
}
"""Jobs of a pod that has no mariadb container."""
ANSWER_LIMIT = 4096
"""Bytes that Kubernetes keeps of a termination message."""
_FIRST_LIMIT = ANSWER_LIMIT // 4
_READABLE = 60
"""Characters that say something of a path and a reason."""
_JOB: TypeAdapter[RunnerJob] = TypeAdapter(RunnerJob)


def main(environment: Mapping[str, str]) -> int:
    """Do the job in the environment; 0 when the answer has no error."""
    os.umask(0o007)
    log_to_stderr()
    signal.signal(signal.SIGTERM, _stop)
    places = Places.from_environment(environment)
    result = _result(environment, places)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    dismiss(places.work)
    places.termination_log.write_bytes(encode(result))
    return 1 if result.error else 0


def yield_the_processor() -> None:
    """Run when nobody else wants to: a process that wakes up takes the processor from one of this class at once."""
    os.nice(19)
    with suppress(OSError):  # a stricter seccomp profile
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def run(job: Job[Report], places: Places) -> Report:
    """Do one job. Errors: AgentError, and whatever a bug or the system raises."""
    kind = type(job)
    if kind in WITH_TOOLS:
        report = WITH_TOOLS[kind](job, places, MariadbContainer(places.work, places.start_timeout))
    else:
        report = ALONE[kind](job, places)
    assert isinstance(report, job.report_type())
    return report


def encode(result: RunnerResult[Any]) -> bytes:
    """As JSON of at most ANSWER_LIMIT bytes: shortens what may be long: problems, lists, a message."""
    limit = _FIRST_LIMIT
    answer = result.model_dump_json(exclude_none=True).encode()
    while len(answer) > ANSWER_LIMIT and limit > 10:
        result = _shortened(result, limit)
        answer = result.model_dump_json(exclude_none=True).encode()
        limit //= 2
    return answer


def _result(environment: Mapping[str, str], places: Places) -> RunnerResult[Any]:
    try:
        job: AnyJob = _JOB.validate_json(environment.get(JOB_VARIABLE, ""))
        if not job.needs.in_outage:
            yield_the_processor()
        return RunnerResult(report=run(job, places))
    except AgentError as error:
        log.error("%s", error)
        return RunnerResult(error=error.error)
    except ValidationError as error:
        return _unexpected(f"reading the job in {JOB_VARIABLE}: {error}. Do worker and agent image have one version?")
    except Exception as error:
        log.exception("unexpected")
        return _unexpected(f"unexpected {type(error).__name__}: {error}. The traceback is in the agent's log")


def _unexpected(message: str) -> RunnerResult[Any]:
    log.error("%s", message)
    return RunnerResult(error=RunnerError(type="RunnerFailed", message=bounded(message)))


def _stop(signal_number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise AgentError(
        "RunnerFailed",
        "stopped: the agent received SIGTERM (the pod was deleted, evicted or timed out). Look at the events of the "
        "pod and of its node; the operation can be started again",
    )


def _shortened(result: RunnerResult[Any], limit: int) -> RunnerResult[Any]:
    if result.error is not None:
        message = bounded(result.error.message, min(limit, MESSAGE_LIMIT))
        return RunnerResult(error=result.error.model_copy(update={"message": message}))
    report = result.report
    if isinstance(report, Manifest):
        report = _with_short_problems(report, limit)
    if isinstance(report, CheckReport):
        report = _with_short_lists(report, limit)
    return RunnerResult(report=report)


def _with_short_lists(report: CheckReport, limit: int) -> CheckReport:
    """Each text is cut, then fewer of them are left, with how many more there were."""
    count = max(1, LISTED * limit // _FIRST_LIMIT)
    short: dict[str, Any] = {"left_incomplete": bounded(report.left_incomplete, limit)}
    for name, value in report:
        if isinstance(value, tuple):
            short[name] = listed((bounded(each, max(limit // 4, _READABLE)) for each in value), count)
    if report.manifest is not None:
        short["manifest"] = _with_short_problems(report.manifest, limit)
    return report.model_copy(update=short)


def _with_short_problems(manifest: Manifest, limit: int) -> Manifest:
    return manifest.model_copy(update={"problems": (bounded(" ".join(manifest.problems), limit),)})
