"""Workers that fail when a test wants it, and what they leave behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

from temporalio.bridge.proto.activity_task import ActivityTask
from temporalio.worker import Worker


def hand_out(to: Worker, task: ActivityTask | Exception) -> asyncio.Event:
    """Once the event is set, the worker's next poll for activities returns this task, or raises this error.

    All its other tasks come from the server.
    """
    ready, handed, bridge = asyncio.Event(), asyncio.Event(), to._bridge_worker
    poll: Callable[[], Coroutine[Any, Any, ActivityTask]] = bridge.poll_activity_task
    polled: asyncio.Task[ActivityTask] | None = None

    async def poll_activity_task() -> ActivityTask:
        nonlocal polled
        polled = polled or asyncio.create_task(poll())
        if not handed.is_set():
            waiting = asyncio.create_task(ready.wait())
            await asyncio.wait([polled, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if ready.is_set():
                handed.set()
                if isinstance(task, Exception):
                    raise task
                return task
        taken, polled = polled, None
        return await taken

    bridge.poll_activity_task = poll_activity_task  # type: ignore[method-assign]
    return ready


def open_coroutines(queues: set[str]) -> list[Any]:
    """What the open runs of these task queues stand in: the coroutines of their tasks, which no worker goes on with."""
    found = []
    for each in gc.get_objects():
        # Not isinstance: it asks objects that stand in for modules in a sandbox, and they refuse.
        if issubclass(type(each), asyncio.Task) and not each.done():
            info = getattr(each.get_loop(), "_info", None)  # the loop of a workflow's run
            if info is not None and info.task_queue in queues:
                found.append(each.get_coro())
    return found


class SomebodyElses:
    """Stands in for the event loop of another workflow; notes what is asked of it."""

    def __init__(self) -> None:
        self.touched: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.touched.append(name)
        raise AttributeError(name)


def close_elsewhere(coroutines: list[Any]) -> list[str]:
    """Close them as the garbage collector does in a thread that runs another workflow.

    Returns what they asked of that workflow's loop, and the errors that they raised.
    """
    loop, before = SomebodyElses(), asyncio._get_running_loop()
    errors = []
    asyncio._set_running_loop(loop)  # type: ignore[arg-type]
    try:
        for each in coroutines:
            try:
                each.close()
            except BaseException as error:
                errors.append(f"{each}: {error!r}")
    finally:
        asyncio._set_running_loop(before)
    return [*loop.touched, *errors]
