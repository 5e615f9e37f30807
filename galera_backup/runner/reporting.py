"""What the agent says while it works: a log for people on stderr, JSON lines for the worker on stdout."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import timedelta

from galera_backup.models.common import Model
from galera_backup.models.manifest import Manifest
from galera_backup.models.reports import LISTED
from galera_backup.storage.archive import Log

log = logging.getLogger("galera_backup.runner")
_MORE = re.compile(r"and (\d+) more")
_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s"


class RunnerProgress(Model):
    """A line `{"progress": {...}}` in the agent's log, each few seconds."""

    stage: str
    """`backup`, `verify`, `unpack` or `copy`."""
    done_bytes: int
    total_bytes: int
    """0: not known. For a backup the bytes that the data directory uses, of which the stream is a part."""
    stored_bytes: int = 0
    """Compressed bytes, in a backup."""
    mb_per_second: float
    """10^6 bytes; since the stage began."""


def listed(names: Iterable[str], count: int = LISTED) -> tuple[str, ...]:
    """The first of them, and how many more there are; of a list that was shortened before, too."""
    found = tuple(names)
    more = _MORE.fullmatch(found[-1]) if found else None
    known, beyond = (found[:-1], int(more[1])) if more else (found, 0)
    if len(known) <= count:
        return found
    return (*known[:count], f"and {len(known) - count + beyond} more")


class ProgressLine:
    """Prints `{"progress": {...}}` each few seconds."""

    def __init__(self, stage: str, total_bytes: int, every: timedelta) -> None:
        self._stage = stage
        self._total = total_bytes
        self._every = every.total_seconds()
        self._began = self._printed = time.monotonic()

    def show(self, done_bytes: int, stored_bytes: int = 0) -> bool:
        """Print, when it is time to; returns whether it was."""
        now = time.monotonic()
        if now - self._printed < self._every:
            return False
        self._printed = now
        progress = RunnerProgress(
            stage=self._stage,
            done_bytes=done_bytes,
            total_bytes=self._total,
            stored_bytes=stored_bytes,
            mb_per_second=round(done_bytes / (now - self._began) / 1e6, 1),
        )
        _print_line("progress", progress)
        return True


def print_manifest(manifest: Manifest) -> None:
    """Print `{"backup": {...}}`, one line of the answer to a list job."""
    _print_line("backup", manifest)


def _print_line(key: str, value: RunnerProgress | Manifest) -> None:
    print(json.dumps({key: value.model_dump(mode="json", exclude_none=True)}), flush=True)


def log_to_stderr() -> None:
    """Set the agent's logger up; times are UTC."""
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [_formatted(logging.StreamHandler(sys.stderr))]


@contextmanager
def logged_to(kept: Log) -> Generator[None]:
    """Append the agent's lines, and the error that ended the work, to a log beside a backup as well."""
    handler = _formatted(_Appending(kept))
    log.addHandler(handler)
    try:
        yield
    except BaseException as error:
        handler.handle(log.makeRecord(log.name, logging.ERROR, __file__, 0, "%s", (error,), None))
        raise
    finally:
        log.removeHandler(handler)


class _Appending(logging.Handler):
    """Writes each line to a log beside a backup; as all handlers it lets no error out."""

    def __init__(self, kept: Log) -> None:
        super().__init__()
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._kept.append(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)


def append_log(kept: Log, title: str, text: str) -> None:
    """Append a tool's log. Does not fail: a log is not worth more than what it is about."""
    try:
        kept.append(f"--- {title}\n{text}")
    except OSError as error:
        log.warning("cannot append the log of %s to %r: %s", title, kept.name, error)


def _formatted(handler: logging.Handler) -> logging.Handler:
    formatter = logging.Formatter(_FORMAT, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    return handler
