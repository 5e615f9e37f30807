"""Backups as files below a directory."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from galera_backup.failure import AgentError
from galera_backup.models.common import ClusterRef
from galera_backup.models.manifest import Manifest, is_backup_id
from galera_backup.models.runner import StoredLog
from galera_backup.storage import layout
from galera_backup.storage.archive import Entry
from galera_backup.storage.at_work import Worker, at_work, clock, others_work
from galera_backup.storage.durable import remove, sync_directory, write_atomically
from galera_backup.storage.space import free_kb
from galera_backup.text import bounded

log = logging.getLogger("galera_backup.runner.storage")
BLOCK = 1 << 20
_SHORTEST_PIN = 86400
"""Seconds that a pin holds whose content cannot be read."""
_WRITE_BACK = 32 << 20
"""Bytes after which the kernel is told to write out, so that the final fsync has little left to do."""


class FileArchive:
    """The `Archive` of one cluster below the directory `root`. `site`: as in `at_work.Worker`."""

    def __init__(self, root: Path, cluster: ClusterRef, site: str = "") -> None:
        self.cluster = cluster
        self.directory = root / layout.cluster(cluster)
        self._root = root
        self._site = site

    def ids(self) -> list[str]:
        if not self.directory.is_dir():
            return []
        named = (path for path in self.directory.iterdir() if is_backup_id(path.name))
        return sorted(path.name for path in named if path.is_dir())

    def entry(self, backup_id: str) -> Entry:
        path = self._path(backup_id)
        try:
            manifest = Manifest.model_validate_json((path / layout.MANIFEST).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return Entry(backup_id)
        except (ValidationError, OSError) as error:
            return Entry(backup_id, damage=f"its {layout.MANIFEST} cannot be read: {bounded(str(error), 300)}")
        if (manifest.backup_id, manifest.cluster) != (backup_id, self.cluster):
            damage = f"its {layout.MANIFEST} names {manifest.backup_id!r} of {manifest.cluster}"
            return Entry(backup_id, damage=damage)
        stream = path / manifest.stream
        size = stream.stat().st_size if stream.is_file() else None
        if size != manifest.stored_bytes:
            seen = "is missing" if size is None else f"has {size} bytes"
            damage = f"{manifest.stream!r} {seen}, expected {manifest.stored_bytes} bytes"
            return Entry(backup_id, damage=damage)
        return Entry(backup_id, manifest)

    def read(self, manifest: Manifest) -> Generator[bytes]:
        return read_file(self._path(manifest.backup_id) / manifest.stream)

    @contextmanager
    def create(self, backup_id: str, run: str) -> Generator[NewFiles]:
        path = self._path(backup_id)
        path.mkdir(parents=True, exist_ok=True)
        with at_work(path, Worker(site=self._site, run=run)) as alone:
            if not alone:
                raise AgentError(
                    "BackupExists",
                    f"storing backup {backup_id!r} of {self.cluster}: another run stores one with this id, of a "
                    "cluster of the same name at another site. Nothing was changed; start another backup, its id will "
                    "be another, and give each site a volume of its own",
                )
            new = NewFiles(path)
            new.discard()  # what an earlier attempt has left
            try:
                yield new
            except BaseException:
                new.discard()
                raise

    def log(self, stored: StoredLog) -> FileLog:
        return FileLog(self._root, str(layout.log(stored)))

    def free_kb(self) -> int:
        return free_kb(self._root)

    def remove(self, backup_id: str) -> None:
        path = self._path(backup_id)
        (path / layout.MANIFEST).unlink()
        sync_directory(path)
        remove(path)

    def pin(self, backup_id: str, restore_id: str, lifetime: timedelta) -> None:
        write_atomically(self._path(backup_id) / layout.pin(restore_id), str(int(lifetime.total_seconds())).encode())

    def pinned(self) -> frozenset[str]:
        now = clock(self.directory) if self.ids() else 0
        found = set()
        for pin in self.directory.glob(f"*/{layout.PINS}"):
            if pin.stat().st_mtime + _lifetime(pin) > now:
                found.add(pin.parent.name)
            else:
                log.info("removing %r of %r: its time is over", pin.name, pin.parent.name)
                pin.unlink()
        return frozenset(found)

    def remove_leftovers(self, own: str, keep_logs: bool) -> None:
        left = [self._path(each) for each in self.ids() if each != own and self.entry(each).left_over]
        now = clock(self.directory) if left else 0
        us = Worker(site=self._site, run=own)
        for path in [path for path in left if others_work(path, us, now)]:
            log.warning("%r has no manifest, and was written to not long ago: it may be another site's", path.name)
            left.remove(path)
        logged = [path for path in left if (path / layout.RUNNER_LOG).exists()]
        kept = logged if keep_logs else logged[-1:]
        for path in left:
            if path not in kept:
                log.info("removing %r: it has no manifest", path.name)
                remove(path)
                continue
            for file in sorted(path.iterdir()):
                if file.name not in (layout.RUNNER_LOG, layout.WORKER):
                    log.info("removing %r of %r: it has no manifest", file.name, path.name)
                    remove(file)

    def _path(self, backup_id: str) -> Path:
        return self._root / layout.backup(self.cluster, backup_id)


def _lifetime(pin: Path) -> float:
    try:
        return float(pin.read_text())
    except ValueError:
        return _SHORTEST_PIN


def read_file(path: Path) -> Generator[bytes]:
    """The file in blocks of at most BLOCK bytes."""
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while block := file.read(BLOCK):
            yield block


class FileLog:
    """The `Log` of a FileArchive; `name` is its path below the root."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self._path = root / name

    def append(self, text: str) -> None:
        with self._path.open("a") as file:
            file.write(text)


class NewFiles:
    """The `NewBackup` of a FileArchive."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: IO[bytes] | None = None
        self._written = self._synced = 0

    def write(self, block: bytes) -> None:
        if self._file is None:
            self._file = (self._directory / layout.PART).open("xb", buffering=0)
        rest = memoryview(block)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._written += len(block)
        if self._written - self._synced >= _WRITE_BACK:
            count = self._written - self._synced
            os.posix_fadvise(self._file.fileno(), self._synced, count, os.POSIX_FADV_DONTNEED)
            self._synced = self._written

    def keep_stream(self) -> str:
        assert self._file is not None, "nothing was written"
        with self._file:
            os.fsync(self._file.fileno())
        (self._directory / layout.PART).rename(self._directory / layout.STREAM)
        sync_directory(self._directory)
        return layout.STREAM

    def put_manifest(self, manifest: Manifest) -> None:
        write_atomically(self._directory / layout.MANIFEST, manifest.model_dump_json(indent=2).encode())
        sync_directory(self._directory.parent)

    def discard(self) -> None:
        """Remove all but the log."""
        if self._file is not None:
            self._file.close()
        for name in (layout.MANIFEST, layout.STREAM, layout.PART):
            remove(self._directory / name)
