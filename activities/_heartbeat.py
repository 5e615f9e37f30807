"""Blocking calls under a heartbeating coroutine, so that a cancel or a lost worker is noticed within seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from temporalio import activity

from galera_backup import timing

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")

_BEAT_SECONDS = timing.BEAT.total_seconds()


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a thread and heartbeat until it is done.

    A cancel is raised only after the call has ended: what was sent to a server cannot be called back, and whoever
    undoes it must come after it. Every gateway call ends within its own time limit.
    """
    call = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not call.done():
        activity.heartbeat()
        try:
            await asyncio.wait({call}, timeout=_BEAT_SECONDS)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        call.exception()
        raise cancelled
    return call.result()


async def in_threads(function: Callable[[A, B], object], argument: A, others: Iterable[B]) -> None:
    """The same call with each of the others at once; after the first failure all of them have ended too."""
    done = await asyncio.gather(*(in_thread(function, argument, each) for each in others), return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException):
            raise each


async def pause(seconds: float, *details: str) -> None:
    """Wait between two looks at something, and say in the heartbeat what is being waited for."""
    activity.heartbeat(*details)
    await asyncio.sleep(seconds * timing.pace)


def wanted_to_stop() -> bool:
    """Whether a cancel means that the work shall stop: asked for, or the workflow is gone.

    When the worker shuts down, or the activity is paused, reset or timed out, the next attempt goes on with it.
    """
    details = activity.cancellation_details()
    return details is not None and (details.cancel_requested or details.not_found)
