"""Names on a data volume that nothing can rename or remove: found by looking, while the server runs, and spared.

Snapshots that a file system shows as a directory, other file systems mounted there, files with the immutable or the
append-only flag, and what another user owns. A directory that its server writes to, though its owner and mode forbid
that, says nothing by them: neither do those in it (an NFS server that maps all users to one).
"""

from __future__ import annotations

import array
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from galera_backup.runner.permissions import may_change
from galera_backup.runner.volumes import SNAPSHOTS

_GET_FLAGS = 0x80086601
"""FS_IOC_GETFLAGS of Linux."""
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20


def fixed(data_directory: Path) -> dict[str, str]:
    """Names at the top of a data directory that cannot be renamed out of it, each with the reason.

    A directory cannot be removed either when something deep in it cannot: see `fixed_below`.
    """
    top, by_mode = data_directory.stat(), may_change(data_directory)
    found: dict[str, str] = {}
    for path in data_directory.iterdir():
        with suppress(FileNotFoundError):  # a live server removes files
            reason = _why(path, top.st_dev, by_mode=by_mode)
            if reason is not None:
                found[path.name] = reason
    return found


def fixed_below(directory: Path) -> Iterator[tuple[str, str]]:
    """Paths below a directory, from it, that cannot be removed, each with the reason; not what lies below those."""
    device, by_mode = directory.stat().st_dev, may_change(directory)
    refused: list[OSError] = []
    for parent, directories, names in os.walk(directory, onerror=refused.append):
        for name in [*directories, *names]:
            path = Path(parent, name)
            with suppress(FileNotFoundError):
                reason = _why_below(path, device, by_mode=by_mode)
                if reason is not None:
                    yield path.relative_to(directory).as_posix(), reason
                    if name in directories:
                        directories.remove(name)
    for error in refused:
        if not isinstance(error, FileNotFoundError):
            yield Path(error.filename).relative_to(directory).as_posix(), f"it cannot be listed: {error.strerror}"


def _why(path: Path, device: int, *, by_mode: bool) -> str | None:
    if path.name in SNAPSHOTS:
        return "the file system shows its snapshots there"
    status = path.lstat()
    if status.st_dev != device:
        return "another file system is mounted there"
    if by_mode and stat.S_ISDIR(status.st_mode) and not may_change(path):
        return _of_another(status)
    return _flags(path)


def _why_below(path: Path, device: int, *, by_mode: bool) -> str | None:
    """A directory of another user can be removed from one of ours once it is empty, unlike renamed."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return _flags(path)
    if status.st_dev != device:
        return "another file system is mounted there"
    if by_mode and not may_change(path) and _holds_something(path):
        return _of_another(status)
    return _flags(path)


def _of_another(status: os.stat_result) -> str:
    return f"the directory belongs to user {status.st_uid} and may not be written to"


def _holds_something(directory: Path) -> bool:
    try:
        return bool(os.listdir(directory))
    except PermissionError:  # nobody can say
        return True


def _flags(path: Path) -> str | None:
    """The flag that forbids it; None also where the file system has no flags."""
    if not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISDIR(mode):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        flags = array.array("l", [0])
        fcntl.ioctl(descriptor, _GET_FLAGS, flags)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if flags[0] & _IMMUTABLE:
        return "it has the immutable flag (chattr +i)"
    if flags[0] & _APPEND_ONLY:
        return "it has the append-only flag (chattr +a)"
    return None
