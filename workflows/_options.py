"""Activity options by kind; each number has its reason."""

from __future__ import annotations

from datetime import timedelta
from typing import TypedDict

from temporalio.common import Priority, RetryPolicy
from temporalio.workflow import ActivityCancellationType


class Options(TypedDict, total=False):
    """The part of an activity's options that its kind decides."""

    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: ActivityCancellationType
    priority: Priority


_HEARTBEAT = timedelta(seconds=10)
"""A dead worker is noticed within about this; activities beat every 2 s, and then hear of a cancel.

An attempt that is given up must not act later: `timing.DESYNC_WINDOW` is shorter by two beats.
"""
_UNDO_HEARTBEAT = timedelta(seconds=9.2)
"""With the pause before the next attempt less than the 10 s in which a resync is to begin; so is a call that hangs."""

_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10))
"""Without a limit of attempts: what ends retrying is the error's class, or the time limit of the kind."""


def act() -> Options:
    """A look or one effect: seconds of work; an API server that is away for some minutes is waited for."""
    return Options(
        start_to_close_timeout=timedelta(minutes=1),
        schedule_to_close_timeout=timedelta(minutes=5),
        heartbeat_timeout=_HEARTBEAT,
        retry_policy=_RETRY,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def wait(limit: timedelta) -> Options:
    """Waiting, at most `limit`, for something that others bring about."""
    return Options(
        schedule_to_close_timeout=limit,
        heartbeat_timeout=_HEARTBEAT,
        retry_policy=_RETRY,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def undo() -> Options:
    """What must come to its end: retried for ever, quickly, and before anything else that waits for a worker."""
    return Options(
        start_to_close_timeout=timedelta(hours=1),  # a wait that hangs unnoticed is begun anew
        heartbeat_timeout=_UNDO_HEARTBEAT,
        retry_policy=RetryPolicy(initial_interval=timedelta(seconds=0.3), maximum_interval=timedelta(seconds=2)),
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,  # the janitor's can be cancelled
        priority=Priority(priority_key=1),
    )
