"""Whether this user may change a directory, judged by its owner, group and mode.

A pod that looks mounts the data volume read-only: there the system refuses every write, whoever asks.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

_ACL = "system.posix_acl_access"


def may_change(directory: Path) -> bool:
    """Whether it may make, rename and remove names in it. An ACL is not judged: such a directory counts as one."""
    status, user = directory.stat(), os.geteuid()
    if user == 0:
        return True
    if status.st_uid == user:
        wanted = stat.S_IWUSR | stat.S_IXUSR
    elif status.st_gid in (os.getegid(), *os.getgroups()):
        wanted = stat.S_IWGRP | stat.S_IXGRP
    else:
        wanted = stat.S_IWOTH | stat.S_IXOTH
    return status.st_mode & wanted == wanted or _has_acl(directory)


def nearest(directory: Path) -> Path:
    """A directory itself, or, where it does not exist, the one in which it would be made."""
    return next(each for each in (directory, *directory.parents) if each.is_dir())


def may_list(directory: Path) -> bool:
    """False: the system refuses it. A directory that does not exist is not refused."""
    with suppress(FileNotFoundError, NotADirectoryError):
        try:
            os.scandir(directory).close()
        except PermissionError:
            return False
    return True


def _has_acl(path: Path) -> bool:
    with suppress(OSError):
        return bool(os.getxattr(path, _ACL))
    return False
