"""Steps that must succeed: they are tried again until they do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow

from workflows import call

with workflow.unsafe.imports_passed_through():
    from galera_backup.errors import GaleraBackupError, LeaseLost, ScaleFailed

A = TypeVar("A")
R = TypeVar("R")

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=5)
"""Between tries of a step that failed for good: somebody must mend a password or a role, and then it goes on."""


async def persist(activity: Callable[[Any, A], Awaitable[R]], argument: A, summary: str, queue: str) -> R:
    """Run a step until it succeeds.

    Errors: `LeaseLost`, when somebody else decides about the cluster now; `ScaleFailed`, when somebody has started
    servers whose names are to be held.
    """
    pause = FIRST_PAUSE
    while True:
        try:
            return await call.undo(activity, argument, summary, queue=queue)
        except (LeaseLost, ScaleFailed):
            raise
        except GaleraBackupError as failure:
            workflow.logger.error("a step that must succeed failed", extra={"step": summary, "error": failure.message})
            await workflow.sleep(pause, summary=f"{summary}: again after {failure.type}")
            pause = min(pause * 2, LONGEST_PAUSE)
