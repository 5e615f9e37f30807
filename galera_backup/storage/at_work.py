"""Who works in a directory of the storage, and whether somebody still does.

Two Kubernetes clusters may share a volume, with Galera clusters of one name: neither sees the other's leases. So who
writes leaves a note, and touches it as long as the work goes on. What has a note of this site is left over when nobody
of this site works, as only one operation does at a time; what has another one's, or none, when nothing was written to
it for STALE_SECONDS. All times are those of the volume's file server.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from pydantic import ValidationError

from galera_backup.models.common import Model
from galera_backup.storage import layout

log = logging.getLogger("galera_backup.runner.storage")
STALE_SECONDS = 15 * 60.0
_TOUCH_SECONDS = 30.0


class Worker(Model):
    """Content of the note."""

    site: str
    """Of one Galera cluster in one Kubernetes cluster; empty: not known."""
    run: str
    """Of the lease, or of the restore."""

    def is_of(self, other: Worker) -> bool:
        """Whether both cannot work at the same time."""
        return self.run == other.run or (self.site == other.site != "")


def clock(directory: Path) -> float:
    """The present time of the file server, which need not be ours."""
    with tempfile.NamedTemporaryFile(prefix=".clock-", dir=directory) as file:
        return os.fstat(file.fileno()).st_mtime


def others_work(directory: Path, us: Worker, now: float) -> bool:
    """Whether somebody else may be at work there; `now`: by `clock`."""
    there = _note(directory)
    if there is not None and there.is_of(us):
        return False
    return now - _last_written(directory) < STALE_SECONDS


@contextmanager
def at_work(directory: Path, us: Worker) -> Generator[bool]:
    """Be the one who works there, which is a directory; False: somebody else is, and nothing was changed.

    The note stays: it says whose is what is left.
    """
    path = directory / layout.WORKER
    if not _take(path, us):
        yield False
        return
    done = Event()

    def touch() -> None:
        while not done.wait(_TOUCH_SECONDS):
            with suppress(OSError):
                os.utime(path)

    thread = Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield True
    finally:
        done.set()
        thread.join(timeout=1)


def _take(path: Path, us: Worker) -> bool:
    directory = path.parent
    if path.exists() and others_work(directory, us, clock(directory.parent)):
        return False
    path.unlink(missing_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o660)
    except FileExistsError:  # in this moment
        return False
    try:
        with suppress(OSError):  # a full volume: who has no room says so, and a note without a text is touched, too
            os.write(descriptor, us.model_dump_json().encode())
    finally:
        os.close(descriptor)
    return True


def _note(directory: Path) -> Worker | None:
    try:
        return Worker.model_validate_json((directory / layout.WORKER).read_bytes())
    except (OSError, ValidationError):
        return None


def _last_written(directory: Path) -> float:
    times = [directory.stat().st_mtime]
    for path in directory.iterdir():
        with suppress(FileNotFoundError):
            times.append(path.lstat().st_mtime)
    return max(times)
