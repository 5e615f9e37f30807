"""A server that runs on a data directory although nobody should be able to start one: the second line of the fence.

InnoDB and Aria lock their files with fcntl as long as a server runs. The kernel knows of locks of the same node alone,
so this finds a server; it proves nothing where it finds none.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from galera_backup.failure import AgentError
from galera_backup.models.layout import Layout

_LOCKED = ("ibdata1", "aria_log_control")


def check_not_in_use(data_directory: Path, layout: Layout) -> None:
    """Before the first rename or removal. Error: `RestoreFailed`; nothing was changed."""
    for path in _files(data_directory, layout):
        if _is_locked(path):
            raise AgentError(
                "RestoreFailed",
                f"changing the data in {str(data_directory)!r}: expected no server on it, one has locked "
                f"{path.name!r}. Nothing was changed here; find the pod that runs it and who started it, stop it, and "
                "start the operation again",
            )


def _files(data_directory: Path, layout: Layout) -> Iterable[Path]:
    for directory in (data_directory, *(data_directory / named.path for named in layout.directories)):
        for name in _LOCKED:
            if (directory / name).is_file():
                yield directory / name


def _is_locked(path: Path) -> bool:
    """Closing the file gives back every lock of this process on it, which has no other."""
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except PermissionError:  # as POSIX allows it to say the same
            return True
        with suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_UN)
        return False
