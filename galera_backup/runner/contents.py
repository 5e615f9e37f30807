"""What a data directory holds, seen as files: whether a backup of it has all tables.

The account of a backup sees no schemas, so the files are looked at. A table whose files were the same before and after
mariadb-backup ran must be in its stream; what somebody created, changed or dropped meanwhile is not judged.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from galera_backup.runner.permissions import may_list
from galera_backup.runner.volumes import LOST_AND_FOUND

_DEFINITION = ".frm"
_COPIED = frozenset((".frm", ".MYD", ".MYI", ".MAD", ".MAI", ".MRG", ".TRG", ".TRN", ".ARM", ".ARZ", ".CSM", ".CSV"))
"""Files beside InnoDB's that mariadb-backup takes under their names; `.opt` and `.par` are no data."""
_INNODB, _INNODB_NEW = ".ibd", ".new"
"""A tablespace that is younger than the checkpoint at which the backup begins has another name in the stream."""
_SHARED_TABLESPACES = ("ibdata[0-9]*", "undo[0-9]*")
"""At the top of the data directory, or in a directory there that the configuration names."""
_LINK = ".isl"
"""InnoDB's link to a tablespace that was created with DATA DIRECTORY."""
_TEMPORARY = "#sql"
"""Begin of the names of tables that an ALTER fills, or that a crash of it has left: no backup holds them. A server
hides directories with such a name, as STAGED_RESTORES."""
_BACKED_UP = frozenset(("Aria", "ARCHIVE", "CSV", "InnoDB", "MEMORY", "MRG_MyISAM", "MyISAM", "ROCKSDB"))
_WITHOUT_DATA = frozenset(
    ("BLACKHOLE", "FEDERATED", "OQGRAPH", "PERFORMANCE_SCHEMA", "SEQUENCE", "SPHINX", "SPIDER", "S3")
)
"""Engines that keep no rows on this server."""
_PARTITIONED, _PARTITION = "partition", "#P#"
_ENGINE = re.compile(rb"ENGINE = (\w+)(?=[,)\n])")
_ENGINE_NUMBERS = {6: "MEMORY", 9: "MyISAM", 12: "InnoDB", 16: "ARCHIVE", 18: "FEDERATED", 19: "BLACKHOLE", 42: "Aria"}
"""Those of engines that are no plugins of their own; the others' differ from server to server."""


@dataclass(frozen=True)
class Contents:
    """A data directory at one moment. Paths are from the data directory."""

    files: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Tables' files: inode, and time of the last change in nanoseconds."""
    elsewhere: tuple[str, ...] = ()
    """Databases and tables whose files are not here: links to them."""
    unreadable: tuple[str, ...] = ()
    """Directories that this user may not list; `.` is the data directory itself."""


def contents(data_directory: Path, ignored: Collection[str] = ()) -> Contents:
    """Look at the tables of a server that may be running. `ignored`: names that it takes for no database."""
    files: dict[str, tuple[int, int]] = {}
    elsewhere: list[str] = []
    unreadable: list[str] = []
    if not may_list(data_directory):
        return Contents(unreadable=(".",))
    for database in _entries(data_directory):
        if database.name in (LOST_AND_FOUND, *ignored) or database.name.startswith((".", _TEMPORARY)):
            continue
        if database.is_symlink():
            if _may_be_a_database(Path(database.path)):
                elsewhere.append(database.name)
        elif database.is_dir(follow_symlinks=False):
            try:
                _database(Path(database.path), files, elsewhere)
            except PermissionError:
                unreadable.append(database.name)
            except (FileNotFoundError, NotADirectoryError):  # dropped meanwhile
                continue
    return Contents(files, tuple(sorted(elsewhere)), tuple(sorted(unreadable)))


def _may_be_a_database(link: Path) -> bool:
    """Its target may lie where this pod mounts nothing. A database's name has no dot, that of a log or socket has."""
    return os.path.isdir(link) or (not os.path.exists(link) and "." not in link.name)


def _database(directory: Path, files: dict[str, tuple[int, int]], elsewhere: list[str]) -> None:
    for entry in _entries(directory):
        if entry.name.startswith(_TEMPORARY):
            continue
        path = f"{directory.name}/{entry.name}"
        suffix = Path(entry.name).suffix
        if suffix == _LINK or (entry.is_symlink() and suffix in (*_COPIED, _INNODB)):
            elsewhere.append(path)
        elif suffix in _COPIED or suffix == _INNODB:
            with suppress(FileNotFoundError):  # dropped meanwhile
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    files[path] = (status.st_ino, status.st_ctime_ns)


def not_in(names: frozenset[str], before: Contents, after: Contents) -> tuple[str, ...]:
    """Files of tables that were there all the time, and are not among the names of a stream.

    A table is judged when its definition did not change: then none of its files was made or renamed meanwhile.
    """
    tables = {
        path.removesuffix(_DEFINITION)
        for path, status in before.files.items()
        if path.endswith(_DEFINITION) and after.files.get(path) == status
    }
    stayed = before.files.keys() & after.files.keys()
    return tuple(sorted(path for path in stayed if _table(path) in tables and not _is_in(names, path)))


def _table(path: str) -> str:
    """Database and table of a file; a partition's name has its table's before `#P#`."""
    stem, _, _ = path.rpartition(".")
    return stem.partition(_PARTITION)[0]


def _is_in(names: frozenset[str], path: str) -> bool:
    if path in names:
        return True
    return path.endswith(_INNODB) and path.removesuffix(_INNODB) + _INNODB_NEW in names


def not_backed_up(data_directory: Path, found: Contents) -> dict[str, str]:
    """Tables, as `database/table`, whose engine keeps rows where mariadb-backup does not look; with the engine."""
    partitioned = {_table(path) for path in found.files if _PARTITION in path}
    strange: dict[str, str] = {}
    for path in found.files:
        if path.endswith(_DEFINITION):
            table, engine = path.removesuffix(_DEFINITION), engine_of(data_directory / path)
            if engine == _PARTITIONED:
                # One whose files have been found is a good one.
                engine = None if table in partitioned else engine_of_partitions(data_directory / path)
            if engine is not None and engine not in _BACKED_UP | _WITHOUT_DATA:
                strange[table] = engine
    return strange


def read_kb(data_directory: Path, found: Contents) -> int:
    """Size of the files that mariadb-backup reads: those of tables, and what InnoDB has beside them."""
    paths = {data_directory / path for path in found.files}
    for pattern in _SHARED_TABLESPACES:
        paths.update(data_directory.glob(pattern))
        paths.update(data_directory.glob(f"*/{pattern}"))
    size = 0
    for path in paths:
        with suppress(FileNotFoundError):
            size += path.lstat().st_size
    return size // 1024


def outside_innodb_kb(data_directory: Path, found: Contents) -> int:
    """Size of the tables of other engines."""
    size = 0
    for path in found.files:
        if not path.endswith((_INNODB, _DEFINITION)):
            with suppress(FileNotFoundError):
                size += (data_directory / path).stat().st_size
    return size // 1024


def engine_of(definition: Path) -> str | None:
    """The engine that a table's definition names; None: a view, or a file that does not look like a definition.

    Layout: the offset of the keys at byte 6 and their length at 14 (or 47), that of the default row at 16; behind it
    the connection string, then the engine's name, each with its length before it.
    """
    try:
        image = definition.read_bytes()
        if image[:2] != b"\xfe\x01":
            return None
        (keys,) = struct.unpack_from("<H", image, 14)
        if keys == 0xFFFF:
            (keys,) = struct.unpack_from("<I", image, 47)
        at = sum(struct.unpack_from("<H", image, offset)[0] for offset in (6, 16)) + keys
        (connection,) = struct.unpack_from("<H", image, at)
        (length,) = struct.unpack_from("<H", image, at + 2 + connection)
        name = image[at + 4 + connection :][:length]
    except (OSError, struct.error):
        return None
    return name.decode(errors="replace") or None


def engine_of_partitions(definition: Path) -> str | None:
    """The engine of a partitioned table's partitions, the one that is not backed up before others.

    Named partitions have it in the text of the clause; else it is the number of the default engine, at byte 61.
    """
    try:
        image = definition.read_bytes()
    except OSError:
        return None
    clause = image.rpartition(b" PARTITION BY ")[2].partition(b"\0")[0]
    named: set[str] = {each.decode() for each in _ENGINE.findall(clause)}
    strange = sorted(named - _BACKED_UP - _WITHOUT_DATA)
    if named:
        return (strange or sorted(named))[0]
    return _ENGINE_NUMBERS.get(image[61], "partitions of an unknown engine")


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as found:
        yield from found
