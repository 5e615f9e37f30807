"""How a command ends: exit codes, and the errors that have one."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)
from temporalio.service import RPCError, RPCStatusCode

from galera_backup.errors import InvalidInput, NotFound, TemporalRefused, TemporalUnavailable
from galera_backup.models.common import Model
from galera_backup.temporal.attributes import REGISTER_COMMAND


class ExitCode(IntEnum):
    """What the shell gets."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    BUSY = 4
    CANCELLED = 5
    INTERRUPTED = 130


EXIT_CODES = (
    "Exit codes: 0 success; 1 the operation failed; 2 wrong usage or invalid input; 3 Temporal or a worker cannot be"
    " reached; 4 the cluster is busy with another operation; 5 cancelled or terminated; 130 interrupted while waiting,"
    " the operation goes on."
)


class Failure(Model):
    """The error object that `--json` prints."""

    type: str
    message: str
    exit_code: int
    workflow_id: str | None = None
    run_id: str | None = None


_CODE_OF = {
    "InvalidInput": ExitCode.USAGE,
    "TemporalUnavailable": ExitCode.UNREACHABLE,
    "TemporalRefused": ExitCode.UNREACHABLE,
    "WorkerMissing": ExitCode.UNREACHABLE,
    "ClusterBusy": ExitCode.BUSY,
    "Cancelled": ExitCode.CANCELLED,
    "Terminated": ExitCode.CANCELLED,
}


def failure(error: BaseException) -> Failure | None:
    """What to tell the person about an error, and its exit code; None for an error that nobody foresaw: a bug."""
    described = _describe(error)
    if described is None:
        return None
    kind, message = described
    return Failure(type=kind, message=message, exit_code=_CODE_OF.get(kind, ExitCode.FAILED))


def _describe(error: BaseException) -> tuple[str, str] | None:
    described: tuple[str, str] | None = None
    match error:
        case WorkflowFailureError() | WorkflowUpdateFailedError():
            described = _of_run(error)
        case ApplicationError():
            described = error.type or "ApplicationError", error.message
        case WorkflowAlreadyStartedError():
            described = "ClusterBusy", f"a run with the workflow id {error.workflow_id!r} is open; wait for its end"
        case RPCError():
            described = _of_rpc(error)
        case _:
            pass
    return described


def _of_run(error: WorkflowFailureError | WorkflowUpdateFailedError) -> tuple[str, str]:
    """The first error of our own in the chain of causes says most; the SDK's wrappers say only what failed."""
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, ApplicationError):
            return cause.type or "ApplicationError", cause.message
    if any(isinstance(cause, TerminatedError) for cause in chain):
        return "Terminated", "the run was terminated; its lease puts the cluster back"
    if any(isinstance(cause, CancelledError) for cause in chain):
        return "Cancelled", "the run was cancelled; what it had changed on the cluster was put back"
    return "Failed", str(chain[-1] if chain else error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _of_rpc(error: RPCError) -> tuple[str, str]:
    if error.status == RPCStatusCode.INVALID_ARGUMENT:
        if "search attribute" in error.message.lower():
            return TemporalRefused.__name__, f"{error.message}; register them with: {REGISTER_COMMAND}"
        return InvalidInput.__name__, f"the Temporal server refused the request: {error.message}"
    if error.status == RPCStatusCode.NOT_FOUND:
        return NotFound.__name__, f"the Temporal server does not know it: {error.message}"
    if error.status in {RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED}:
        return TemporalRefused.__name__, f"the Temporal server refused us ({error.status.name}): {error.message}"
    return TemporalUnavailable.__name__, f"the Temporal server answered {error.status.name}: {error.message}"
