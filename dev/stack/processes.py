"""Long-running programs of the stack: started detached, recorded by pid and start time, stopped by that record."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dev.stack import paths
from dev.stack.console import StackError, say

_POLL = 0.1


@dataclass(frozen=True)
class Part:
    """A program to keep running. `inputs` are contents (configuration files) whose change needs a restart."""

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    inputs: tuple[str, ...] = ()
    ready_timeout: float = 60
    stop_timeout: float = 20

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("\0".join((*self.argv, *self.inputs)).encode()).hexdigest()

    @property
    def log(self) -> Path:
        return paths.LOGS / f"{self.name}.log"


@dataclass(frozen=True)
class Record:
    """A started process. A pid alone may have been given to another process since; its start time may not."""

    pid: int
    start_time: int
    boot_id: str
    started_at: float
    fingerprint: str

    @property
    def alive(self) -> bool:
        return self.boot_id == _boot_id() and _start_time(self.pid) == self.start_time


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_time(pid: int) -> int | None:
    """Start time in clock ticks since boot, or None if there is no such process, or nothing of it runs any more.

    Of one that was killed the first thread may be a zombie while others still have its files and ports open.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ended = fields[0] in "ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except OSError:
        return None
    return None if ended else int(fields[19])


def has_ended(pid: int) -> bool:
    """Whether nothing of a process runs any more."""
    return _start_time(pid) is None


def _file(name: str) -> Path:
    return paths.RECORDS / f"{name}.json"


def recorded(name: str) -> Record | None:
    """The record of a part, whether its process is alive or not."""
    try:
        return Record(**json.loads(_file(name).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def running(name: str) -> Record | None:
    """The record of a part whose process is alive."""
    record = recorded(name)
    return record if record is not None and record.alive else None


def ensure(part: Part) -> bool:
    """Start the part, or restart it if it runs with other settings; True if it was started now."""
    record = running(part.name)
    if record is not None and record.fingerprint == part.fingerprint and _probe(part):
        return False
    if record is not None:
        if record.fingerprint == part.fingerprint:
            with suppress(StackError):
                wait_ready(part)
                return False
        say(part.name, "running with other settings, or not answering: restarting")
        stop(part.name, part.stop_timeout)
    start(part)
    wait_ready(part)
    say(part.name, "started")
    return True


def start(part: Part) -> None:
    """Start detached in its own session; stdout and stderr go to the part's log."""
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    with part.log.open("ab") as output:
        process = subprocess.Popen(
            part.argv, cwd=paths.STATE, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    start_time = _start_time(process.pid)
    if start_time is None:
        raise StackError(part.name, "ended at once", part.log)
    record = Record(process.pid, start_time, _boot_id(), time.time(), part.fingerprint)
    paths.write_atomic(_file(part.name), json.dumps(asdict(record)))


def wait_ready(part: Part) -> None:
    """Wait until the part answers; a part that ends or stays silent is a failure with its log."""
    deadline = time.monotonic() + part.ready_timeout
    while not _probe(part):
        if running(part.name) is None:
            raise StackError(part.name, "ended while starting", part.log)
        if time.monotonic() > deadline:
            raise StackError(part.name, f"runs but is not ready after {part.ready_timeout:.0f} s", part.log)
        time.sleep(_POLL)


def _probe(part: Part) -> bool:
    try:
        return part.ready()
    except (OSError, StackError):
        return False


def stop(name: str, timeout: float = 20, *, kill: bool = False) -> bool:
    """End a part by its record: SIGTERM, then SIGKILL after the timeout; True if it was running."""
    record = running(name)
    if record is not None:
        with suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGKILL if kill else signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while record.alive:
            if time.monotonic() > deadline:
                with suppress(ProcessLookupError):
                    os.kill(record.pid, signal.SIGKILL)
                deadline = float("inf")
            time.sleep(_POLL / 2)
    _file(name).unlink(missing_ok=True)
    return record is not None


def http_ok(url: str) -> bool:
    """Whether a health address answers 200; certificates are not checked, it is only a sign of life."""
    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(url, timeout=3, context=context) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False
