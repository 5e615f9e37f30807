"""What staged restores keep on a data volume: layout, journal, lock.

<volume>/<STAGED_RESTORES>/lock                      held (flock) by whoever stages, swaps or tidies
                        <restore id>/journal.json   how far it is: durable before the step that it names
                                     staged/        the prepared data, before it is swapped in and after it is put back
                                     previous/      the old data, while it is swapped out
                        <restore id>.removed/       being removed; nobody takes it for a restore
Where the volume is the data directory, it lies in that: renames leave it alone, sizes do not count it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from galera_backup.failure import AgentError
from galera_backup.models.volumes import STAGED_RESTORES, Journal, SwapState
from galera_backup.runner.reporting import log
from galera_backup.runner.volumes import tree
from galera_backup.storage.durable import remove, sync_directory, write_atomically
from galera_backup.storage.layout import file_name
from galera_backup.text import bounded

LOCK_WAIT_SECONDS = 60.0
"""A swap takes less than a second; what is waited for longer than this does not end soon."""
_POLL_SECONDS = 0.1
_LOCK = "lock"
_JOURNAL = "journal.json"
_AT_REST = (SwapState.STAGING, SwapState.STAGED, SwapState.SWAPPED, SwapState.RETURNED, SwapState.EMPTIED)
"""The data directory is whole, be it the previous or the restored one, or filled by a state transfer."""
_REMOVED = ".removed"
"""Ends no restore's directory: `file_name` lets no dot through."""


class StagedRestore:
    """The directory of one restore on a data volume. Changes need the lock. `claim`: of the volume."""

    def __init__(self, volume: Path, restore_id: str, claim: str = "") -> None:
        self.restore_id = restore_id
        self._claim = claim
        self.directory = volume / STAGED_RESTORES / file_name(restore_id)
        self.staged = self.directory / "staged"
        self.previous = self.directory / "previous"

    def journal(self) -> Journal | None:
        """How far this restore is; None when it has nothing here.

        Error: `RestoreFailed` when it cannot be told: the old data may be in `previous`.
        """
        try:
            journal = read_journal(self.directory)
        except ValidationError as error:
            raise self._unreadable(bounded(str(error), 300)) from error
        if journal is not None and journal.restore_id != self.restore_id:
            raise self._unreadable(f"it is of restore {journal.restore_id!r}")
        if journal is not None and "" not in (journal.claim, self._claim) and journal.claim != self._claim:
            raise self._unreadable(
                f"it is of claim {journal.claim!r}: a state transfer has put the copies of that replica in place of "
                f"those of {self._claim!r}"
            )
        return journal

    def write(self, journal: Journal) -> None:
        """Durable when this returns, the directories above it included."""
        if not self.directory.is_dir():
            self.directory.mkdir()
            sync_directory(self.directory.parent)
            sync_directory(self.directory.parent.parent)
        journal = journal.model_copy(update={"claim": self._claim or journal.claim})
        write_atomically(self.directory / _JOURNAL, journal.model_dump_json().encode())
        log.info("restore %s: %s", self.restore_id, journal.state)

    def is_whole(self, journal: Journal | None) -> bool:
        """Whether the staged data is there as it was when it was completed."""
        if journal is None or journal.state != SwapState.STAGED:
            return False
        sizes = tree(self.staged).values()
        return (len(sizes), sum(sizes)) == (journal.files, journal.bytes)

    def discard(self) -> None:
        """Remove all that this restore has here."""
        discard(self.directory)

    def _unreadable(self, seen: str) -> AgentError:
        return AgentError(
            "RestoreFailed",
            f"reading {str(self.directory / _JOURNAL)!r}: expected the journal of restore {self.restore_id!r}, seen: "
            f"{seen}. Nothing was changed. Before you remove the directory, see that {str(self.previous)!r} holds no "
            "data that is still needed",
        )


def read_journal(directory: Path) -> Journal | None:
    """The journal in a restore's directory; None when there is none. Error: ValidationError."""
    try:
        return Journal.model_validate_json((directory / _JOURNAL).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def discard(directory: Path) -> None:
    """Remove a restore's directory; gone already is success.

    Its name changes first, in one step: however far the removal comes, no swap can find the rest.
    """
    removed = directory if directory.name.endswith(_REMOVED) else directory.with_name(f"{directory.name}{_REMOVED}")
    if removed != directory and directory.exists():
        remove(removed)
        os.rename(directory, removed)
        sync_directory(directory.parent)
    remove(removed)


def _is_removed(directory: Path) -> bool:
    """Whether a removal of it has begun."""
    return directory.name.endswith(_REMOVED)


def still_needed(directory: Path) -> str | None:
    """Why a restore's directory must stay: the data directory is not whole without it."""
    if _is_removed(directory):
        return None
    try:
        journal = read_journal(directory)
    except ValidationError:
        holds_old_data = any((directory / "previous").glob("*"))
        return "its journal cannot be read, and it holds old data" if holds_old_data else None
    return None if journal is None or journal.state in _AT_REST else str(journal.state)


def restore_directories(volume: Path) -> list[Path]:
    """Of every restore that has left something on the volume, half removed ones included."""
    root = volume / STAGED_RESTORES
    return sorted(path for path in root.iterdir() if path.name != _LOCK) if root.is_dir() else []


@contextmanager
def locked(volume: Path) -> Generator[None]:
    """Be the only one to stage, swap or tidy on this volume; leaves no directory that holds nothing.

    The last one removes the lock's file with the directory, while it holds the lock. Who waited for that file then has
    the lock of a file that is not there any more; it sees that, and begins again with the file that is.
    Error: `RunnerFailed` when another one has the lock for too long.
    """
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    descriptor = _lock(volume / STAGED_RESTORES / _LOCK, deadline)
    try:
        yield
    finally:
        try:
            _remove_if_empty(volume)
        finally:
            os.close(descriptor)


def _lock(path: Path, deadline: float) -> int:
    while True:
        descriptor = _try_to_lock(path)
        if descriptor is not None:
            return descriptor
        if time.monotonic() > deadline:
            raise AgentError(
                "RunnerFailed",
                f"locking {str(path)!r}: expected it to be free within {LOCK_WAIT_SECONDS:.0f} s, another runner pod "
                "still works on this data volume. Nothing was changed; look for that pod, and run this again when it "
                "has ended",
            )
        time.sleep(_POLL_SECONDS)


def _try_to_lock(path: Path) -> int | None:
    """A descriptor that holds the lock of the file that has this path."""
    path.parent.mkdir(exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    except FileNotFoundError:  # the directory was removed in between
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remove_if_empty(volume: Path) -> None:
    """A server takes a directory in its data directory for a database."""
    if restore_directories(volume):
        return
    (volume / STAGED_RESTORES / _LOCK).unlink(missing_ok=True)
    with suppress(OSError):  # the next one has made its lock in it
        (volume / STAGED_RESTORES).rmdir()
