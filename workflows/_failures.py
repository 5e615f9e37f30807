"""Failures as a person reads them: one type, one whole sentence, at the top of the chain."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    FailureError,
    TimeoutError,
    is_cancelled_exception,
)

from galera_backup.errors import GaleraBackupError, InternalError, NotYet, by_name

P = ParamSpec("P")
T = TypeVar("T")


def typed(error: ActivityError | ChildWorkflowError, late: type[GaleraBackupError] = NotYet) -> GaleraBackupError:
    """The error of the tree behind a failed activity or child; `late` is what a passed time limit means here."""
    cause = error.cause
    if isinstance(cause, ApplicationError):
        known = by_name(cause.type or "")
        return known(cause.message, *cause.details)
    what = error.activity_type if isinstance(error, ActivityError) else error.workflow_type
    if isinstance(cause, TimeoutError):
        inner = cause.cause
        seen = [str(detail) for detail in cause.last_heartbeat_details]
        if isinstance(inner, ApplicationError):
            seen.append(inner.message)
        return late(f"{what}: its time limit passed; last seen: {'; '.join(seen) or 'nothing'}")
    return InternalError(f"{what}: {cause or error}")


def operation(run: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """For the `run` of an operation: what fails it has a type of the tree, and a bug is a failure, not a hanging task.

    Bugs are not made failures by `failure_exception_types`, because that closes a workflow behind the back of its
    cleanups when an activity's result cannot be read or a deploy does not fit.
    """

    @functools.wraps(run)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await run(*args, **kwargs)
        except ChildWorkflowError as error:
            if is_cancelled_exception(error):
                raise
            raise typed(error) from error
        except (FailureError, asyncio.CancelledError, workflow.NondeterminismError):
            raise
        except Exception as error:
            workflow.logger.exception("bug in workflow code")
            raise InternalError(f"bug in workflow code: {type(error).__name__}: {error}") from error

    return wrapped
