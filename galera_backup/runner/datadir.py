"""Fill one data directory with a prepared backup, as `mariadb-backup --copy-back` does, and so that it may run twice.

The marker says `restoring` before the first name is moved and `restored` after the last byte is durable.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Event

from galera_backup.failure import AgentError
from galera_backup.models.manifest import GaleraPosition
from galera_backup.models.volumes import STAGED_RESTORES
from galera_backup.runner.holes import data_of
from galera_backup.runner.reporting import ProgressLine, log
from galera_backup.runner.tool import metadata
from galera_backup.runner.volumes import LOST_AND_FOUND, MARKER, tree
from galera_backup.storage.durable import sync_directory, sync_file
from galera_backup.storage.space import free_kb
from galera_backup.text import bounded

GRASTATE = "grastate.dat"
_KEPT = (LOST_AND_FOUND, MARKER)
ASIDE = "#sql-galera-backup.old"
"""In the data directory: what is about to be removed, and what cannot be."""
FILE_MODE, DIRECTORY_MODE = 0o660, 0o700
"""As the server makes them (UMASK, UMASK_DIR)."""
_THREADS = 2
"""Copying 3.2 GiB: 1 thread 4.5 s, 2 threads 4.3 s, 4 threads 6.2 s."""
_CHUNK = 8 << 20


def check_room(source: Path, data_directory: Path, stays: Collection[str]) -> None:
    """Error: `NotEnoughSpace` when the files would not fit even into the emptied volume. Nothing is touched."""
    needed = sum(tree(source).values()) // 1024
    free = free_kb(data_directory)
    freed = sum(path.lstat().st_blocks for path in _leaves(data_directory, stays)) // 2
    if free + freed > needed:
        return
    raise AgentError(
        "NotEnoughSpace",
        f"copying {str(source)!r} to {str(data_directory)!r}: the data volume has {free} KB free and {freed} KB in "
        f"files that would be replaced; expected more than {needed} KB. Nothing was changed; enlarge the data claim",
    )


def set_aside(data_directory: Path, stays: Collection[str]) -> None:
    """Rename everything but `lost+found`, the marker and what stays into one directory, or nothing.

    Staged restores go too, when the volume is the data directory: `check_room` counts their room as freed, and the
    marker, a file of its own beside them, says meanwhile that the data is incomplete.
    Error: OSError; every name is where it was.
    """
    aside = data_directory / ASIDE
    aside.mkdir(DIRECTORY_MODE, exist_ok=True)  # one that died has left it
    moved: dict[str, Path] = {}
    names = [name for name in os.listdir(data_directory) if name not in (*_KEPT, *stays, ASIDE)]
    try:
        for name in sorted(names):
            target = _free_name(aside, name)
            os.rename(data_directory / name, target)
            moved[name] = target
    except OSError:
        for name, target in moved.items():
            os.rename(target, data_directory / name)
        with suppress(OSError):  # it holds what one that died has put aside, or could not remove
            aside.rmdir()
        raise
    sync_directory(aside)
    sync_directory(data_directory)


def _free_name(aside: Path, name: str) -> Path:
    """What an earlier restore could not remove may have the same name."""
    names = (name, *(f"{name}.{number}" for number in range(1, 1000)))
    return next(aside / each for each in names if not os.path.lexists(aside / each))


def wipe(data_directory: Path) -> None:
    """Remove what was set aside. What cannot be removed stays there: neither server nor backup looks at it."""
    aside = data_directory / ASIDE
    left = [path for path in _bottom_up(aside) if not _is_removed(path)]
    if left:
        names = bounded(", ".join(path.relative_to(aside).as_posix() for path in left), 300)
        log.warning("%d names of the old data cannot be removed, they stay in %r: %s", len(left), str(aside), names)
    sync_directory(data_directory)


def _bottom_up(directory: Path) -> Iterator[Path]:
    """All paths below a directory, and itself; what is in a directory before the directory."""
    for parent, directories, names in os.walk(directory, topdown=False):
        links = [name for name in directories if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in (*names, *links))
        yield Path(parent)


def _is_removed(path: Path) -> bool:
    """Remove it. False: this user may not, something is mounted there, or it holds what stays."""
    try:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.EBUSY, errno.ENOTEMPTY):
            raise
        return False
    return True


def copy(source: Path, data_directory: Path, stays: Collection[str], every: timedelta) -> int:
    """Copy the server's files of a prepared backup, durably, and verify their sizes; answers the bytes.

    Error: `RestoreFailed` when the result is not what was to be copied.
    """
    # mariadb-backup takes the directory of copies that it finds for an empty database
    files = tree(source, (*_KEPT, *stays, STAGED_RESTORES, ASIDE, *metadata(source)))
    directories = sorted({parent for name in files for parent in Path(name).parents if parent != Path()})
    for directory in directories:
        (data_directory / directory).mkdir()
        (data_directory / directory).chmod(DIRECTORY_MODE)
    copier = _Copier(source, data_directory, ProgressLine("copy", sum(files.values()), every))
    largest_first = sorted(files, key=lambda name: -files[name])
    copier.in_threads(copier.copy, largest_first)
    # a second pass: the first fsync writes one journal transaction for all, instead of each file one of its own
    copier.in_threads(copier.sync, largest_first)
    for directory in [*directories, Path()]:
        sync_directory(data_directory / directory)
    _verify(files, data_directory, stays)
    log.info("copied %d files, %d bytes to %r", len(files), sum(files.values()), str(data_directory))
    return sum(files.values())


def write_grastate(data_directory: Path, position: GaleraPosition, safe_to_bootstrap: bool) -> None:
    """Give the node the backup's position, so that it joins by IST; exactly one node may bootstrap the cluster."""
    path = data_directory / GRASTATE
    with path.open("w") as file:
        file.write(
            "# GALERA saved state\n"
            "version: 2.1\n"
            f"uuid:    {position.uuid}\n"
            f"seqno:   {position.seqno}\n"
            f"safe_to_bootstrap: {int(safe_to_bootstrap)}\n"
        )
        os.fchmod(file.fileno(), FILE_MODE)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(data_directory)


class _Copier:
    """Copies files in threads, and stops in the middle of one when it has to."""

    def __init__(self, source: Path, target: Path, progress: ProgressLine) -> None:
        self._source, self._target, self._progress = source, target, progress
        self._stopped = Event()
        self._bytes = 0  # threads add without a lock: only for show

    def in_threads(self, work: Callable[[str], None], names: Iterable[str]) -> None:
        """Do the work for each name; after an error, or a signal, the rest is left undone."""
        with ThreadPoolExecutor(_THREADS) as pool:
            futures: set[Future[None]] = {pool.submit(work, name) for name in names}
            try:
                while futures:
                    done, futures = wait(futures, timeout=1, return_when=FIRST_EXCEPTION)
                    for future in done:
                        future.result()
                    self._progress.show(self._bytes)
            except BaseException:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)
                raise

    def copy(self, name: str) -> None:
        with (self._source / name).open("rb", buffering=0) as reader, (self._target / name).open("xb", 0) as writer:
            os.fchmod(writer.fileno(), FILE_MODE)
            for begin, end in data_of(reader.fileno()):
                self._copy_part(reader.fileno(), writer.fileno(), begin, end)
            os.ftruncate(writer.fileno(), os.fstat(reader.fileno()).st_size)  # the last part may be a hole

    def _copy_part(self, reader: int, writer: int, begin: int, end: int) -> None:
        os.lseek(writer, begin, os.SEEK_SET)
        while begin < end and not self._stopped.is_set():
            count = os.sendfile(writer, reader, begin, min(_CHUNK, end - begin))
            if count == 0:
                raise OSError(
                    errno.EIO, f"ended at byte {begin}, expected {end}", os.readlink(f"/proc/self/fd/{reader}")
                )
            begin += count
            self._bytes += count

    def sync(self, name: str) -> None:
        if not self._stopped.is_set():
            sync_file(self._target / name)


def _leaves(data_directory: Path, stays: Collection[str]) -> list[Path]:
    return [data_directory / name for name in tree(data_directory, (*_KEPT, *stays))]


def _verify(expected: dict[str, int], data_directory: Path, stays: Collection[str]) -> None:
    seen = tree(data_directory, (*_KEPT, *stays, ASIDE))
    if seen == expected:
        return
    different = sorted(name for name in expected.keys() | seen.keys() if expected.get(name) != seen.get(name))
    raise AgentError(
        "RestoreFailed",
        f"verifying the copy in {str(data_directory)!r}: expected {len(expected)} files with {sum(expected.values())} "
        f"bytes, seen {len(seen)} with {sum(seen.values())}; different: {bounded(', '.join(different), 300)}. The data "
        "directory stays marked as 'restoring'; run the restore again",
    )
