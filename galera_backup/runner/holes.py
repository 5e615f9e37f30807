"""Holes in files: a table with page_compressed uses less of its volume than its size says, until somebody copies it."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from galera_backup.models.manifest import Manifest
from galera_backup.models.volumes import STAGED_RESTORES
from galera_backup.runner.reporting import log
from galera_backup.runner.volumes import SNAPSHOTS

SPARSE = 0.05
"""Part of a backup's tablespaces that is holes: from here on it is worth reading them all to make them again."""
_BLOCK, _CHUNK = 4096, 1 << 20
_ZEROS = bytes(_BLOCK)
_PUNCH = 0x02 | 0x01
"""FALLOC_FL_PUNCH_HOLE and FALLOC_FL_KEEP_SIZE of Linux."""
_NO_HOLES = (errno.EOPNOTSUPP, errno.ENOSYS)


def had_holes(manifest: Manifest) -> bool:
    """Whether the tablespaces that were backed up used less than their size."""
    return manifest.holes > SPARSE


def holes(directory: Path) -> float:
    """Part of the tablespaces' size that uses no blocks, by one look at each."""
    size = blocks = 0
    for parent, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if name not in (STAGED_RESTORES, *SNAPSHOTS)]
        for name in names:
            if not name.endswith(".ibd"):
                continue
            with suppress(FileNotFoundError):  # a live server drops tables
                status = os.lstat(os.path.join(parent, name))
                size += status.st_size
                blocks += min(status.st_blocks * 512, status.st_size)
    return 1 - blocks / size if size else 0


def dig(directory: Path) -> None:
    """Make holes of the blocks of zeros in all tablespaces of files that nobody writes; their content stays.

    Nothing happens on a file system that has no holes. Error: OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    freed = 0
    for path in sorted(directory.rglob("*.ibd")):
        before = path.stat().st_blocks
        with path.open("r+b", buffering=0) as file:
            for offset, length in _zeros(file.fileno()):
                arguments = (ctypes.c_int64(offset), ctypes.c_int64(length))
                if libc.fallocate(file.fileno(), _PUNCH, *arguments) == 0:
                    continue
                number = ctypes.get_errno()
                if number in _NO_HOLES:
                    log.info("the file system of %r has no holes", str(directory))
                    return
                raise OSError(number, os.strerror(number), str(path))
        freed += before - path.stat().st_blocks
    log.info("holes: %d KB are free again", freed // 2)


def _zeros(descriptor: int) -> Iterator[tuple[int, int]]:
    """Offset and length, in bytes, of what is zeros in whole blocks, of what is no hole yet."""
    for begin, end in data_of(descriptor):
        for offset in range(begin, end, _CHUNK):
            chunk = os.pread(descriptor, min(_CHUNK, end - offset), offset)
            run = 0
            for at in range(0, len(chunk) - _BLOCK + 1, _BLOCK):
                if chunk[at : at + _BLOCK] == _ZEROS:
                    run += _BLOCK
                elif run:
                    yield offset + at - run, run
                    run = 0
            if run:
                yield offset + len(chunk) // _BLOCK * _BLOCK - run, run


def data_of(descriptor: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each part of a file that is no hole."""
    size, end = os.fstat(descriptor).st_size, 0
    while end < size:
        try:
            begin = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # the rest is a hole
                return
            raise
        end = os.lseek(descriptor, begin, os.SEEK_HOLE)
        yield begin, end
