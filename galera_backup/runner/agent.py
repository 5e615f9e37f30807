"""Do one job, and answer in the termination message."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType

from pydantic import TypeAdapter, ValidationError

from galera_backup.models.runner import (
    BackupJob,
    CheckJob,
    DiscardJob,
    ListJob,
    PruneJob,
    RestoreJob,
    RunnerError,
    RunnerJob,
    RunnerResult,
    StageJob,
    SwapJob,
    TidyJob,
    UnpackJob,
    is_in_the_outage,
)
from galera_backup.runner.backup import backup
from galera_backup.runner.check import check
from galera_backup.runner.container import MariadbContainer, dismiss
from galera_backup.runner.failure import AgentError
from galera_backup.runner.places import Places
from galera_backup.runner.protocol import JOB_VARIABLE
from galera_backup.runner.prune import list_backups, prune
from galera_backup.runner.reporting import log, log_to_stderr
from galera_backup.runner.restore import restore
from galera_backup.runner.stage import stage
from galera_backup.runner.swap import swap
from galera_backup.runner.tidy import tidy
from galera_backup.runner.unpack import discard, unpack
from galera_backup.text import MESSAGE_LIMIT, bounded

ANSWER_LIMIT = 4096
"""Bytes that Kubernetes keeps of a termination message."""
_JOB: TypeAdapter[RunnerJob] = TypeAdapter(RunnerJob)


def main(environment: Mapping[str, str]) -> int:
    """Do the job in the environment; 0 when the answer has no error."""
    os.umask(0o007)
    log_to_stderr()
    signal.signal(signal.SIGTERM, _stop)
    places = Places.from_environment(environment)
    result = _answer(environment, places)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    dismiss(places.work)
    places.termination_log.write_bytes(encode(result))
    return 1 if result.error else 0


def yield_the_processor() -> None:
    """Run when nobody else wants to: a process that wakes up takes the processor from one of this class at once."""
    os.nice(19)
    with suppress(OSError):  # a stricter seccomp profile
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def run(job: RunnerJob, places: Places) -> RunnerResult:
    """Do one job. Errors: AgentError, and whatever a bug or the system raises."""
    match job:
        case BackupJob():
            return RunnerResult(backup=backup(job, places, _container(places)))
        case CheckJob():
            container = _container(places) if job.backup_id else None
            return RunnerResult(check=check(job, places, container))
        case RestoreJob() | UnpackJob() | DiscardJob():
            return _run_restore(job, places)
        case StageJob() | SwapJob() | TidyJob():
            return _run_staged(job, places)
        case PruneJob():
            return RunnerResult(prune=prune(job, places))
        case ListJob():
            list_backups(job, places)
            return RunnerResult()


def _run_restore(job: RestoreJob | UnpackJob | DiscardJob, places: Places) -> RunnerResult:
    match job:
        case RestoreJob():
            return RunnerResult(restore=restore(job, places, _container(places)))
        case UnpackJob():
            return RunnerResult(unpack=unpack(job, places, _container(places)))
        case DiscardJob():
            discard(job, places)
            return RunnerResult()


def _run_staged(job: StageJob | SwapJob | TidyJob, places: Places) -> RunnerResult:
    match job:
        case StageJob():
            return RunnerResult(stage=stage(job, places, _container(places)))
        case SwapJob():
            return RunnerResult(swap=swap(job, places))
        case TidyJob():
            tidy(job, places)
            return RunnerResult()


def encode(result: RunnerResult) -> bytes:
    """As JSON of at most ANSWER_LIMIT bytes: shortens what may be long, first a manifest's problems, then a message."""
    limit = ANSWER_LIMIT // 4
    answer = result.model_dump_json(exclude_none=True).encode()
    while len(answer) > ANSWER_LIMIT and limit > 10:
        result = _shortened(result, limit)
        answer = result.model_dump_json(exclude_none=True).encode()
        limit //= 2
    return answer


def _answer(environment: Mapping[str, str], places: Places) -> RunnerResult:
    try:
        job = _JOB.validate_json(environment.get(JOB_VARIABLE, ""))
        if not is_in_the_outage(job):
            yield_the_processor()
        return run(job, places)
    except AgentError as error:
        log.error("%s", error)
        return RunnerResult(error=error.error)
    except ValidationError as error:
        return _unexpected(f"reading the job in {JOB_VARIABLE}: {error}. Do worker and agent image have one version?")
    except Exception as error:
        log.exception("unexpected")
        return _unexpected(f"unexpected {type(error).__name__}: {error}. The traceback is in the agent's log")


def _unexpected(message: str) -> RunnerResult:
    log.error("%s", message)
    return RunnerResult(error=RunnerError(type="RunnerFailed", message=bounded(message)))


def _container(places: Places) -> MariadbContainer:
    return MariadbContainer(places.work, places.start_timeout)


def _stop(signal_number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise AgentError(
        "RunnerFailed",
        "stopped: the agent received SIGTERM (the pod was deleted, evicted or timed out). Look at the events of the "
        "pod and of its node; the operation can be started again",
    )


def _shortened(result: RunnerResult, limit: int) -> RunnerResult:
    changes: dict[str, object] = {}
    if result.error:
        error = result.error
        changes["error"] = error.model_copy(update={"message": bounded(error.message, min(limit, MESSAGE_LIMIT))})
    if result.backup:
        problems = (bounded(" ".join(result.backup.problems), limit),)
        changes["backup"] = result.backup.model_copy(update={"problems": problems})
    if result.check and result.check.manifest:
        problems = (bounded(" ".join(result.check.manifest.problems), limit),)
        manifest = result.check.manifest.model_copy(update={"problems": problems})
        changes["check"] = result.check.model_copy(update={"manifest": manifest})
    return result.model_copy(update=changes)
