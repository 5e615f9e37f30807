"""What mariadb-upgrade notes in a data directory: the version that its system tables have.

No backup holds the note. A start script that runs mariadb-upgrade on each start does nothing where it finds its own
version, and otherwise all of it, on each replica.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from galera_backup.models.manifest import Manifest
from galera_backup.runner.datadir import FILE_MODE
from galera_backup.runner.reporting import log
from galera_backup.storage.durable import write_atomically
from galera_backup.version import Version

NAMES = ("mariadb_upgrade_info", "mysql_upgrade_info")


def upgrade_notes(manifest: Manifest, *directories: Path) -> dict[str, bytes]:
    """Name and content of the notes that are true of a backup's data too: they name its server's version."""
    found, version = {}, Version.parse(manifest.server_version)
    for path in (directory / name for directory in directories for name in NAMES):
        note = _read(path)
        if note and Version.parse(note.decode(errors="replace")) == version:
            found[path.name] = note
    return found


def _read(path: Path) -> bytes:
    """Empty where there is none, or another user has left one that nobody else may read."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError as error:
        log.warning("the note of mariadb-upgrade cannot be read, and does not go on: %s", error)
        return b""


def write_notes(data_directory: Path, notes: Mapping[str, bytes]) -> None:
    """Durable when this returns."""
    for name, note in notes.items():
        write_atomically(data_directory / name, note)
        os.chmod(data_directory / name, FILE_MODE)
