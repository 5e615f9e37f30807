"""Names on a data volume that nothing can rename or remove: found by looking, while the server runs, and spared.

Snapshots that a file system shows as a directory, other file systems mounted there, files with the immutable or the
append-only flag, and what another user owns.
"""

from __future__ import annotations

import array
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from galera_backup.runner.volumes import SNAPSHOTS

_GET_FLAGS = 0x80086601
"""FS_IOC_GETFLAGS of Linux."""
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20


def fixed(data_directory: Path) -> dict[str, str]:
    """Names at the top of a data directory that cannot be renamed out of it, each with the reason.

    A directory cannot be removed either when something deep in it cannot: see `fixed_below`.
    """
    top = data_directory.stat()
    found: dict[str, str] = {}
    for entry in os.scandir(data_directory):
        reason = _why(entry, top.st_dev)
        if reason is not None:
            found[entry.name] = reason
    return found


def fixed_below(directory: Path) -> Iterator[tuple[str, str]]:
    """Paths below a directory, from it, that cannot be removed, each with the reason; not what lies below those."""
    device = directory.stat().st_dev
    for parent, directories, names in os.walk(directory):
        for name in [*directories, *names]:
            path = Path(parent, name)
            reason = _flags(path)
            if name in directories and path.lstat().st_dev != device:
                reason = "another file system is mounted there"
            if reason is not None:
                yield path.relative_to(directory).as_posix(), reason
                if name in directories:
                    directories.remove(name)


def _why(entry: os.DirEntry[str], device: int) -> str | None:
    if entry.name in SNAPSHOTS:
        return "the file system shows its snapshots there"
    status = entry.stat(follow_symlinks=False)
    if status.st_dev != device:
        return "another file system is mounted there"
    if stat.S_ISDIR(status.st_mode) and not os.access(entry.path, os.W_OK):
        return f"the directory belongs to user {status.st_uid} and may not be written to"
    return _flags(Path(entry.path))


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
