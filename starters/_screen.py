"""The output of a command: its answer on stdout, everything else on stderr."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import typer
from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

from galera_backup.durations import duration_text
from starters._exit import ExitCode, Failure, failure

PIPE_WIDTH = 500
"""Columns of a pipe or a file, so many that nothing is cut off."""


class Screen:
    """Writes one command's output. With `as_json` stdout gets exactly one JSON document."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.out = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
        self.err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        self.waiting_for: str | None = None
        """Workflow id of the run that goes on when the person stops waiting."""
        self.run_id: str | None = None

    def say(self, text: str) -> None:
        """Print a line for the person on stderr; it is not a part of the answer."""
        self.err.print(text)

    def answer(self, document: BaseModel | Mapping[str, Any], *shown: RenderableType) -> None:
        """Print the command's answer: the document as JSON, or `shown` instead."""
        if self.as_json:
            self._json(document)
            return
        for each in shown:
            self.out.print(each)

    def error(self, problem: Failure) -> None:
        """Print why the command failed."""
        if self.as_json:
            self._json({"error": problem.model_dump(exclude_none=True)})
        self.say(f"{problem.type}: {problem.message}")

    def _json(self, document: BaseModel | Mapping[str, Any]) -> None:
        typer.echo(json.dumps(to_jsonable_python(document), indent=2))


def conduct(as_json: bool, work: Callable[[Screen], Coroutine[Any, Any, None]]) -> None:
    """Run a command to its end, and turn how it ended into output and exit code."""
    screen = Screen(as_json)
    try:
        asyncio.run(work(screen))
    except KeyboardInterrupt:
        if screen.waiting_for:
            screen.say(
                f"Not waiting any more. The run {screen.waiting_for!r} goes on; to cancel it:"
                f" temporal workflow cancel --workflow-id {screen.waiting_for}"
            )
        message = "stopped waiting; a run that was started goes on"
        _fail(screen, Failure(type="Interrupted", message=message, exit_code=ExitCode.INTERRUPTED))
    except typer.Exit:  # the command has answered, and its exit code says something of the answer
        raise
    except Exception as error:
        problem = failure(error)
        if problem is None:
            traceback.print_exc()
            problem = Failure(type="InternalError", message=f"a bug: {error!r}", exit_code=ExitCode.FAILED)
        _fail(screen, problem)


def _fail(screen: Screen, problem: Failure) -> None:
    screen.error(problem.model_copy(update={"workflow_id": screen.waiting_for, "run_id": screen.run_id}))
    raise typer.Exit(ExitCode(problem.exit_code))


# --- values as a person reads them


def table(*headers: str) -> Table:
    """A table for a terminal of any width: its first column is not wrapped, the others are wrapped and not cut."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, header in enumerate(headers):
        made.add_column(header, no_wrap=index == 0, overflow="fold")
    return made


def facts(pairs: Mapping[str, str | None]) -> Table:
    """Names and values in two columns, without the values that are None."""
    table = Table.grid(padding=(0, 2))
    for name, value in pairs.items():
        if value is not None:
            table.add_row(name, value)
    return table


def size(count: float) -> str:
    """Bytes in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def seconds(count: float) -> str:
    """A length of time: tenths below a minute, else as durations are typed."""
    return f"{count:.1f}s" if count < 60 else duration_text(timedelta(seconds=round(count)))


def moment(at: datetime | None) -> str | None:
    """A point in time in UTC, to the second."""
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def age(at: datetime, now: datetime) -> str:
    """How long ago, in the two largest units at most."""
    minutes = max(0, int((now - at).total_seconds()) // 60)
    days, hours = minutes // 1440, minutes % 1440 // 60
    if days:
        return f"{days}d{hours}h"
    return f"{hours}h{minutes % 60}m" if hours else f"{minutes}m"
