"""Sizes of what is on the mounted volumes, and the marker that a restore leaves on a data volume. KB are 1024 bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from galera_backup.models.volumes import STAGED_RESTORES, ClaimMarker
from galera_backup.runner.reporting import log
from galera_backup.storage.durable import sync_directory, write_atomically

MARKER = ".galera-backup-restore.json"
LOST_AND_FOUND = "lost+found"
SNAPSHOTS = (".snapshot", ".zfs")
"""As NFS servers and ZFS show them: in the root of a volume, like any directory."""
_NOT_BACKED_UP = ("galera.cache", "gcache.page.", "ibtmp")
"""Starts of names at the top of a data directory that mariadb-backup leaves out: write-set cache, temporary tables."""
_BINLOG = re.compile(r"(?!aria_log\.).+\.\d{6,}")
"""A binlog or relay log, wherever the configuration puts it; a backup has one of them at most."""
_REDO_LOG = "ib_logfile"
"""Begin of its names, likewise. A backup has what was written meanwhile, and a server makes it anew."""


def used_kb(data_directory: Path) -> int:
    """Blocks that the data directory uses, without what mariadb-backup leaves out, and without staged restores."""
    return _blocks_kb(_backed_up(data_directory))


def unpacked_kb(data_directory: Path) -> int:
    """Sizes of the same files but the redo log: holes, as of tables with page_compressed, are filled in a backup."""
    size = 0
    for path in _backed_up(data_directory):
        if not path.name.startswith(_REDO_LOG):
            with suppress(FileNotFoundError):
                size += path.lstat().st_size
    return size // 1024


def _backed_up(data_directory: Path) -> Iterator[Path]:
    for path in _files(data_directory, without=(STAGED_RESTORES, *SNAPSHOTS)):
        left_out = path.parent == data_directory and path.name.startswith(_NOT_BACKED_UP)
        if not left_out and not _BINLOG.fullmatch(path.name):
            yield path


def has_snapshots(volume: Path) -> bool:
    """Whether the file system shows snapshots, which may keep what is removed."""
    return any((volume / name).is_dir() for name in SNAPSHOTS)


def copies_kb(volume: Path) -> int:
    """Blocks that staged restores use: what they left, and what they keep."""
    return _blocks_kb(_files(volume / STAGED_RESTORES))


def _blocks_kb(paths: Iterable[Path]) -> int:
    blocks = 0
    for path in paths:
        with suppress(FileNotFoundError):  # a live server drops tables
            blocks += path.lstat().st_blocks
    return blocks // 2


def data_directories(volume: Path) -> tuple[str, ...]:
    """Directories that hold a server's data, from the root of the volume; `.` is that itself.

    By the tables of the schema `mysql`, which every server has, wherever its other files are. Names that begin with a
    dot or `#` are those of snapshots, and of what restores and state transfers have left.
    """
    found = []
    for depth in ("", "*/", "*/*/"):
        for tables in volume.glob(f"{depth}mysql/*.frm"):
            directory = tables.parent.parent.relative_to(volume)
            if not any(part.startswith((".", "#")) for part in directory.parts):
                found.append(directory.as_posix())
    return tuple(sorted(set(found)))


def tree(directory: Path, without: Collection[str] = ()) -> dict[str, int]:
    """Relative path and size in bytes of every file below a directory that nobody changes.

    `without`: names at its top that do not count.
    """
    return {path.relative_to(directory).as_posix(): path.lstat().st_size for path in _files(directory, without)}


def _files(directory: Path, without: Collection[str] = ()) -> Iterator[Path]:
    for parent, directories, names in os.walk(directory):
        left_out = without if Path(parent) == directory else ()
        directories[:] = [name for name in directories if name not in left_out]
        for name in names:
            if name not in left_out:
                yield Path(parent, name)


def read_marker(data_directory: Path) -> ClaimMarker | None:
    """What the last restore says of this data directory; None when no restore touched it."""
    path = data_directory / MARKER
    try:
        return ClaimMarker.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        log.warning("marker %r cannot be read, taken as absent: %s", str(path), error)
        return None


def restore_marker(data_directory: Path, marker: ClaimMarker | None) -> None:
    """Durable when this returns. None: there was none."""
    if marker is not None:
        write_marker(data_directory, marker)
        return
    (data_directory / MARKER).unlink(missing_ok=True)
    sync_directory(data_directory)


def write_marker(data_directory: Path, marker: ClaimMarker) -> None:
    """Durable when this returns."""
    write_atomically(data_directory / MARKER, marker.model_dump_json().encode())
