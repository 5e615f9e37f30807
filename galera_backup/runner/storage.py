"""The backups of one cluster on the backup volume: layout, manifests, and files that appear atomically.

<root>/<namespace>/<statefulset>/<backup id>/backup.mbs.zst    one stream
                                             manifest.json     written last; no manifest, no backup
                                             runner.log        what the agent and mariadb-backup said
<root>/<namespace>/<statefulset>/.restore/<restore id>/        the temporary directory of a restore
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from galera_backup.models.common import ClusterRef
from galera_backup.models.manifest import BackupId, Manifest
from galera_backup.runner.failure import AgentError
from galera_backup.runner.reporting import log
from galera_backup.storage.layout import RUNNER_LOG, file_name
from galera_backup.text import bounded

MANIFEST = "manifest.json"
STREAM = "backup.mbs.zst"
_RESTORES = ".restore"
_BACKUP_ID: TypeAdapter[str] = TypeAdapter(BackupId)
_LISTED_IDS = 20


@dataclass(frozen=True)
class Entry:
    """A directory named like a backup. Complete, damaged (it has a manifest that does not hold), or left over."""

    path: Path
    manifest: Manifest | None = None
    """Only of a complete backup."""
    damage: str | None = None

    @property
    def left_over(self) -> bool:
        """No manifest: a failed run, or a removal that was cut short."""
        return self.manifest is None and self.damage is None


class ClusterStore:
    """The directory of one cluster."""

    def __init__(self, root: Path, cluster: ClusterRef) -> None:
        self.cluster = cluster
        self.directory = root / cluster.namespace / cluster.statefulset

    def backup_directory(self, backup_id: str) -> Path:
        return self.directory / backup_id

    def restore_directory(self, restore_id: str) -> Path:
        return self.directory / _RESTORES / file_name(restore_id)

    def entries(self) -> list[Entry]:
        """Everything that is named like a backup, oldest first. Other names are not ours."""
        if not self.directory.is_dir():
            return []
        paths = sorted(path for path in self.directory.iterdir() if _is_backup_id(path.name) and path.is_dir())
        return [self._entry(path) for path in paths]

    def manifests(self) -> list[Manifest]:
        """Of the complete backups, oldest first."""
        return [entry.manifest for entry in self.entries() if entry.manifest]

    def manifest(self, backup_id: str) -> Manifest:
        """Errors: `BackupNotFound` with the ids that there are, `BackupDamaged`."""
        entry = self._entry(self.backup_directory(backup_id))
        if entry.manifest:
            return entry.manifest
        if entry.damage:
            raise AgentError(
                "BackupDamaged", f"backup {backup_id!r} of {self.cluster}: {entry.damage}; choose another backup"
            )
        complete = [manifest.backup_id for manifest in self.manifests()]
        newest = ", ".join(reversed(complete[-_LISTED_IDS:])) or "none"
        raise AgentError(
            "BackupNotFound",
            f"backup {backup_id!r} of {self.cluster}: no {MANIFEST} in {str(entry.path)!r}. "
            f"Complete backups, newest first ({len(complete)} in all): {newest}",
        )

    def remove_restores(self, keep: Path | None = None) -> None:
        """Remove the temporary directories of restores, all but `keep`: the lease lets one operation work at a time."""
        parent = self.directory / _RESTORES
        if not parent.is_dir():
            return
        for path in sorted(parent.iterdir()):
            if path != keep:
                log.info("removing the temporary directory %r of an earlier restore", path.name)
                remove(path)

    def remove_leftovers(self, keep_logs: bool) -> None:
        """Remove what failed runs left: streams always, logs too unless `keep_logs`; the newest run keeps its log."""
        left = [entry.path for entry in self.entries() if entry.left_over]
        logged = [path for path in left if (path / RUNNER_LOG).exists()]
        kept = logged if keep_logs else logged[-1:]
        for path in left:
            if path not in kept:
                log.info("removing %r: it has no manifest", path.name)
                remove(path)
                continue
            for file in sorted(path.iterdir()):
                if file.name != RUNNER_LOG:
                    log.info("removing %r of %r: it has no manifest", file.name, path.name)
                    remove(file)

    def remove_backup(self, backup_id: str) -> None:
        """Remove a backup; once its manifest is gone it does not count any more, however far this comes."""
        path = self.backup_directory(backup_id)
        (path / MANIFEST).unlink()
        sync_directory(path)
        remove(path)

    def _entry(self, path: Path) -> Entry:
        try:
            manifest = Manifest.model_validate_json((path / MANIFEST).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return Entry(path)
        except (ValidationError, OSError) as error:
            return Entry(path, damage=f"its {MANIFEST} cannot be read: {bounded(str(error), 300)}")
        if (manifest.backup_id, manifest.cluster) != (path.name, self.cluster):
            return Entry(path, damage=f"its {MANIFEST} names {manifest.backup_id!r} of {manifest.cluster}")
        stream = path / manifest.stream
        size = stream.stat().st_size if stream.is_file() else None
        if size != manifest.stored_bytes:
            seen = "is missing" if size is None else f"has {size} bytes"
            return Entry(path, damage=f"{manifest.stream!r} {seen}, expected {manifest.stored_bytes} bytes")
        return Entry(path, manifest)


def _is_backup_id(name: str) -> bool:
    try:
        return bool(_BACKUP_ID.validate_python(name))
    except ValidationError:
        return False


def write_atomically(path: Path, content: bytes) -> None:
    """The file has its old content, or durably the new one."""
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Make everything below a directory durable."""
    for parent, _, names in os.walk(directory):
        for name in names:
            sync_file(Path(parent, name))
        sync_directory(Path(parent))


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a whole directory; gone already is success."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        pass
