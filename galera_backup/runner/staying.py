"""What a restore leaves where it is, at the top of a data directory: the host's files, and what nothing can move."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from galera_backup.models.layout import Layout
from galera_backup.runner.fixed import fixed, fixed_below
from galera_backup.runner.volumes import LOST_AND_FOUND

_SERVERS_FILES = re.compile(
    r"ibdata\d+|ib_logfile\d+|ib_buffer_pool|ibtmp\d+|undo\d{3}|aria_log(_control|\.\d{8})|grastate\.dat|gvwstate\.dat"
    r"|galera\.cache|gcache\.page\..*"
)
_TABLES = ("*.frm", "*.ibd", "*.MYD", "*.MAD")


def staying(data_directory: Path, layout: Layout) -> frozenset[str]:
    """Names; found by looking, also while a server runs there. A directory that does not exist has none."""
    return frozenset(name for name in _found(data_directory, layout) if not _is_servers(data_directory / name, layout))


def in_the_way(data_directory: Path, layout: Layout) -> dict[str, str]:
    """Paths of the server's data that would have to go and cannot, each with the reason; reads all names below it."""
    found = _found(data_directory, layout)
    stuck = {name: reason for name, reason in found.items() if _is_servers(data_directory / name, layout)}
    for path in sorted(data_directory.iterdir()):
        if path.is_dir() and not path.is_symlink() and path.name not in {*found, LOST_AND_FOUND}:
            stuck |= {f"{path.name}/{below}": reason for below, reason in fixed_below(path)}
    return stuck


def _found(data_directory: Path, layout: Layout) -> dict[str, str]:
    if not data_directory.is_dir():
        return {}
    found = {path.name: "a pattern of the host's files names it" for path in _host_files(data_directory, layout)}
    found |= fixed(data_directory)
    found.pop(LOST_AND_FOUND, None)
    return found


def _host_files(data_directory: Path, layout: Layout) -> Iterator[Path]:
    for path in data_directory.iterdir():
        if any(fnmatchcase(path.name, pattern) for pattern in layout.host_files):
            yield path


def _is_servers(path: Path, layout: Layout) -> bool:
    """Whether a backup would hold it, or the server would begin a new history without it."""
    if path.is_dir():
        named = any(path.name == directory.path.partition("/")[0] for directory in layout.directories)
        return named or any(True for pattern in _TABLES for _ in path.glob(pattern))
    return _SERVERS_FILES.fullmatch(path.name) is not None
