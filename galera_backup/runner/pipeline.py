"""Stages of a stream, each in a thread of its own, so that reading, compressing, hashing and writing overlap.

All of them let the interpreter go in their long calls. An empty block is a tick: nothing to do, but look around.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import IO, cast

import zstandard

from galera_backup.runner.container import BLOCK

LEVEL = 1
"""zstd -1 -T0 on 2 cores: 345 MB/s, ratio 2.19; -3: 229 MB/s, 2.12; gzip -6: 26 MB/s, 2.11 (3.2 GiB of tables)."""
_THREADS_LIMIT = 8
"""About 3 GB/s; each thread has buffers of some MiB, and a node may have a hundred cores."""
_CREDIT = 0.2
"""Seconds: a thread of the idle class wakes up late."""
_AHEAD = 8
"""Blocks between two stages."""


def ahead(blocks: Generator[bytes]) -> Generator[bytes]:
    """The same blocks, made in a thread some blocks ahead. Errors of the maker come out here.

    Closing it stops the maker at its next block, be it a tick, and closes that in turn.
    """
    queue: Queue[bytes | BaseException | None] = Queue(_AHEAD)
    stopped = Event()

    def put(item: bytes | BaseException | None) -> None:
        while not stopped.is_set():
            with suppress(Full):
                queue.put(item, timeout=0.2)
                return

    def make() -> None:
        outcome: BaseException | None = None
        try:
            with closing(blocks):
                for block in blocks:
                    if stopped.is_set():
                        break
                    put(block)
        except BaseException as error:  # handed to the consumer, whatever it is
            outcome = error
        put(outcome)

    thread = Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            item = queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        while True:  # room for a maker that waits for it
            try:
                queue.get_nowait()
            except Empty:
                break
        thread.join(timeout=5)


def paced(
    blocks: Iterator[bytes], bytes_per_second: float, in_a_hurry: Callable[[], bool] = lambda: False
) -> Generator[bytes]:
    """The same blocks, no faster than this; of the time that the source takes at most `_CREDIT` is made up for.

    `in_a_hurry`: somebody waits for the end of the stream, so no block waits, nor goes on waiting.
    """
    next_at = time.monotonic()
    for block in blocks:
        while (rest := next_at - time.monotonic()) > 0 and not in_a_hurry():
            time.sleep(min(rest, _CREDIT))
        next_at = max(next_at, time.monotonic() - _CREDIT) + len(block) / bytes_per_second
        yield block


class Tally:
    """Bytes that passed, and optionally their sha256."""

    def __init__(self) -> None:
        self.bytes = 0
        self._sha256 = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of all bytes that `hashed` has let through, in hex."""
        return self._sha256.hexdigest()

    def counted(self, blocks: Iterator[bytes]) -> Generator[bytes]:
        """The same blocks, counted."""
        for block in blocks:
            self.bytes += len(block)
            yield block

    def hashed(self, blocks: Iterator[bytes]) -> Generator[bytes]:
        """The same blocks, counted and hashed."""
        for block in blocks:
            self.bytes += len(block)
            self._sha256.update(block)
            yield block


def compress(blocks: Iterator[bytes]) -> Generator[bytes]:
    """One zstd frame with a checksum; a tick for a block that gave nothing yet."""
    threads = min(len(os.sched_getaffinity(0)), _THREADS_LIMIT)
    compressor = zstandard.ZstdCompressor(level=LEVEL, threads=threads, write_checksum=True).compressobj()
    for block in blocks:
        yield compressor.compress(block) if block else b""
    yield compressor.flush()


def decompress(blocks: Iterator[bytes]) -> Generator[bytes]:
    """The content of one zstd frame, in blocks of BLOCK bytes however well it was compressed.

    Error: zstandard.ZstdError when the frame is damaged. A frame that is cut short ends early, without an error:
    compare the size.
    """
    with zstandard.ZstdDecompressor().stream_reader(cast("IO[bytes]", _Readable(blocks)), read_size=BLOCK) as reader:
        while block := reader.read(BLOCK):
            yield block


class _Readable:
    """Blocks as a file that zstandard can read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks

    def read(self, size: int) -> bytes:
        return next(self._blocks, b"")
