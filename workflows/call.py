"""The only module that executes activities: options by kind, and errors of our tree at the boundary.

What a call raises is an error of `galera_backup.errors`, or `asyncio.CancelledError` when its task was cancelled: the
activity then was, or it ended before it heard of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypedDict, TypeVar

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception
from temporalio.workflow import ActivityCancellationType

from workflows._failures import typed

with workflow.unsafe.imports_passed_through():
    from galera_backup import timing
    from galera_backup.errors import GaleraBackupError, NotYet

A = TypeVar("A")
R = TypeVar("R")
Activity = Callable[[Any, A], Awaitable[R]]


class Options(TypedDict, total=False):
    """The part of an activity's options that its kind decides."""

    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: ActivityCancellationType
    priority: Priority


_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10))
"""Without a limit of attempts: what ends retrying is the error's class, or the time limit of the kind."""


def act_options() -> Options:
    """Of `act`."""
    return wait_options(timedelta(minutes=5)) | Options(start_to_close_timeout=timedelta(minutes=1))


def wait_options(limit: timedelta) -> Options:
    """Of `wait`."""
    return Options(
        schedule_to_close_timeout=limit,
        heartbeat_timeout=timing.HEARTBEAT_TIMEOUT,
        retry_policy=_RETRY,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def undo_options() -> Options:
    """Of `undo`."""
    return Options(
        start_to_close_timeout=timedelta(hours=1),  # a wait that hangs unnoticed is begun again
        heartbeat_timeout=timing.UNDO_HEARTBEAT_TIMEOUT,
        retry_policy=RetryPolicy(initial_interval=timing.UNDO_FIRST_RETRY, maximum_interval=timing.UNDO_LONGEST_RETRY),
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,  # the janitor's can be cancelled
        priority=Priority(priority_key=1),
    )


async def act(activity: Activity[A, R], argument: A, summary: str, *, late: type[GaleraBackupError] = NotYet) -> R:
    """A look or one effect: seconds of work; an API server that is away for some minutes is waited for.

    `late`: the error when the time limit has passed.
    """
    return await _execute(activity, argument, summary, act_options(), late=late)


async def wait(
    activity: Activity[A, R],
    argument: A,
    summary: str,
    *,
    limit: timedelta,
    late: type[GaleraBackupError] = NotYet,
    queue: str | None = None,
) -> R:
    """Waiting, at most `limit`, for something that others bring about; `late`: the error when it has passed."""
    return await _execute(activity, argument, summary, wait_options(limit), late=late, queue=queue)


async def undo(activity: Activity[A, R], argument: A, summary: str, *, queue: str) -> R:
    """What must come to its end: retried for ever, quickly, and before anything else that waits for a worker."""
    return await _execute(activity, argument, summary, undo_options(), queue=queue)


async def _execute(
    activity: Activity[A, R],
    argument: A,
    summary: str,
    options: Options,
    *,
    late: type[GaleraBackupError] = NotYet,
    queue: str | None = None,
) -> R:
    try:
        done = await workflow.execute_activity_method(activity, argument, task_queue=queue, summary=summary, **options)
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise asyncio.CancelledError(f"{summary}: cancelled") from error
        raise typed(error, late) from error
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError(f"{summary}: done before it heard of the cancel, which would be lost here")
    return done
