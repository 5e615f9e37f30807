"""What a restore leaves where it is, at the top of a data directory: the host's files, and what nothing can move."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from galera_backup.failure import AgentError
from galera_backup.models.layout import Layout
from galera_backup.runner import upgrade_notes
from galera_backup.runner.datadir import ASIDE
from galera_backup.runner.fixed import fixed, fixed_below
from galera_backup.runner.permissions import may_list
from galera_backup.runner.tool import metadata
from galera_backup.runner.volumes import LOST_AND_FOUND, MARKER
from galera_backup.text import bounded

_SERVERS_FILES = re.compile(
    r"ibdata\d+|ib_logfile\d+|ib_buffer_pool|ibtmp\d+|undo\d{3}|aria_log(_control|\.\d{8})|grastate\.dat|gvwstate\.dat"
    r"|galera\.cache|gcache\.page\..*|.+\.\d{6,}|.+\.index"
)
"""The last two are binlogs and their lists: old ones are of another history."""
_BINLOGS = re.compile(r".+\.\d{6,}")
_SERVERS_NOTES = re.compile(
    r".+\.(pid|sock|err|log|info|state)|tc\.log|ddl_recovery.*|auto\.cnf|sst_in_progress|wsrep_.*|xtrabackup_.*"
    r"|mariadb_backup_.*|backup-my\.cnf|debian-.*\.flag|(mysql|mariadb)_upgrade_.*|#.*"
)
"""What a server and its tools make beside the data, and nobody misses; copies of ours have a `#` too."""
_TABLES = ("db.opt", "*.frm", "*.ibd", "*.MYD", "*.MAD")
"""A database that has no table yet has its options alone."""
_MAY_BE_IN_BOTH = (LOST_AND_FOUND, MARKER, *upgrade_notes.NAMES)


def staying(data_directory: Path, layout: Layout) -> frozenset[str]:
    """Names; found by looking, also while a server runs there. A directory that does not exist has none."""
    return frozenset(name for name in _found(data_directory, layout) if not _is_servers(data_directory / name, layout))


def check_apart(data_directory: Path, stays: Collection[str], restored: Path) -> None:
    """Before the first change: all of the restored data can take its place. Error: `RestoreFailed`."""
    may_be = {*_MAY_BE_IN_BOTH, *metadata(restored)}
    both = sorted(path.name for path in restored.iterdir() if path.name in stays and path.name not in may_be)
    if both:
        raise AgentError(
            "RestoreFailed",
            f"restoring into {str(data_directory)!r}: expected that nothing which stays there is in the backup too, "
            f"saw {bounded(', '.join(both), 300)}. The data directory was not touched; narrow 'host_files', or move "
            "those away, and start the restore again",
        )


def going(data_directory: Path, layout: Layout) -> Iterator[str]:
    """Names that go with the old data, and that no server makes again: files of others; binlogs, its later history."""
    stays = staying(data_directory, layout)
    for path in data_directory.iterdir():
        if path.name in (*stays, LOST_AND_FOUND) or path.name.startswith(MARKER):
            continue
        is_known = _is_servers(path, layout) or _SERVERS_NOTES.fullmatch(path.name)
        if not is_known or (path.is_file() and _BINLOGS.fullmatch(path.name)):
            yield path.name


def in_the_way(data_directory: Path, layout: Layout) -> dict[str, str]:
    """Paths of the server's data that would have to go and cannot, each with the reason; reads all names below it."""
    found = _found(data_directory, layout)
    stuck = {name: reason for name, reason in found.items() if _is_servers(data_directory / name, layout)}
    for path in sorted(data_directory.iterdir()):
        if path.is_dir() and not path.is_symlink() and path.name not in {*found, LOST_AND_FOUND, ASIDE}:
            stuck |= {(Path(path.name) / below).as_posix(): reason for below, reason in fixed_below(path)}
    return stuck


def _found(data_directory: Path, layout: Layout) -> dict[str, str]:
    if not data_directory.is_dir():
        return {}
    found = {path.name: "a pattern of the host's files names it" for path in _hosts(data_directory, layout)}
    found |= fixed(data_directory)
    found.pop(LOST_AND_FOUND, None)
    return found


def _hosts(data_directory: Path, layout: Layout) -> Iterator[Path]:
    return (path for path in data_directory.iterdir() if _is_hosts(path.name, layout))


def _is_hosts(name: str, layout: Layout) -> bool:
    if name.startswith(MARKER):  # and what is about to become it
        return False
    ignored = name in layout.ignored and not _is_named(name, layout)
    return ignored or any(fnmatchcase(name, pattern) for pattern in layout.host_files)


def _is_named(name: str, layout: Layout) -> bool:
    """Whether a setting names it, or a directory in it, for files of the server."""
    return any(name == directory.path.partition("/")[0] for directory in layout.directories)


def _is_servers(path: Path, layout: Layout) -> bool:
    """Whether a backup would hold it, or the server would begin a new history without it."""
    if not path.is_dir():
        return _SERVERS_FILES.fullmatch(path.name) is not None
    if _is_named(path.name, layout):
        return True
    if path.name in layout.ignored:
        return False
    if not may_list(path):  # nobody can say what it is, unless a pattern does
        return not _is_hosts(path.name, layout)
    return any(True for pattern in _TABLES for _ in path.glob(pattern))
