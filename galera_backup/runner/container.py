"""The agent's end of the handshake with the script in the mariadb container (see `handshake`)."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from galera_backup.failure import AgentError
from galera_backup.runner import handshake
from galera_backup.text import bounded

BLOCK = 1 << 20
"""Bytes read or written at a time, and the size asked for the FIFO's buffer (Linux allows an ordinary user 1 MiB)."""
_TICK_MS = 200
_POLL_SECONDS = 0.02
SETTLE_SECONDS = 5.0
"""For a tool to end. A pod that is deleted has to remove its copy, and answer, within `timing.RUNNER_GRACE`."""


class MariadbContainer:
    """The other container: its FIFOs, its status files, and whether it is still there."""

    def __init__(self, work: Path, start_timeout: timedelta) -> None:
        self.work = work
        self._alive = _make_fifo(work / handshake.ALIVE)
        self._poll = select.poll()
        self._poll.register(self._alive, select.POLLIN)
        self._started = False
        self._start_timeout = start_timeout
        self._deadline = time.monotonic() + start_timeout.total_seconds()

    def check(self) -> None:
        """Error: `RunnerFailed` when the container has ended, or did not start in time."""
        for _, event in self._poll.poll(0):
            if event & select.POLLIN:
                self._started = bool(os.read(self._alive, 4096)) or self._started
            elif event & select.POLLHUP:
                raise AgentError(
                    "RunnerFailed",
                    f"container {handshake.MARIADB_CONTAINER!r} ended without an answer (killed, or out of memory): "
                    "see its log and its state in the pod",
                )
        if not self._started and time.monotonic() > self._deadline:
            raise AgentError(
                "RunnerFailed",
                f"container {handshake.MARIADB_CONTAINER!r} did not start within {self._start_timeout}: look at the "
                "pod's events (image pull, volumes)",
            )

    def answer(self, name: str) -> str:
        """Wait for the file `name` that the script publishes; its text.

        Error: `RunnerFailed` when the container ends without it.
        """
        path = self.work / name
        while not path.exists():
            try:
                self.check()
            except AgentError:
                if path.exists():
                    break
                raise
            time.sleep(_POLL_SECONDS)
        return path.read_text(errors="replace").strip()

    def status(self, name: str) -> int:
        """Wait for the exit status that the script publishes in the file `name`."""
        return int(self.answer(name))

    def tell(self, name: str, text: str = "") -> None:
        """Make the file `name` for the script, whole or not at all."""
        temporary = self.work / f"{name}.new"
        temporary.write_text(text)
        temporary.rename(self.work / name)

    def log(self, name: str) -> str:
        """What a tool wrote to stderr; empty when it never ran."""
        try:
            return (self.work / name).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def grown(self, name: str, at: int) -> tuple[str, int]:
        """What a tool has written to stderr behind byte `at`, in whole lines, and where they end."""
        try:
            with (self.work / name).open("rb") as file:
                file.seek(at)
                lines = file.read()
        except FileNotFoundError:
            return "", at
        whole = lines[: lines.rfind(b"\n") + 1]
        return whole.decode(errors="replace"), at + len(whole)

    def log_tail(self, name: str, lines: int = 6) -> str:
        """The last lines of a tool's log, for an error message."""
        return bounded(" | ".join(self.log(name).strip().splitlines()[-lines:]), 700) or "(empty)"

    def read_stream(self) -> Generator[bytes]:
        """What the tool writes to the FIFO, in blocks of BLOCK bytes, to the end of the stream.

        An empty block is a tick: nothing came for a while. The end says only that nobody writes any more.
        Error: `RunnerFailed` when the container ends, or never starts, before the tool has opened the FIFO.
        """
        stream = _make_fifo(self.work / handshake.STREAM)
        try:
            _enlarge(stream)
            poll = select.poll()
            poll.register(stream, select.POLLIN)
            opened = False
            buffer = memoryview(bytearray(BLOCK))
            filled = 0
            while True:
                if not poll.poll(_TICK_MS):
                    if not opened:
                        self.check()
                    yield b""
                    continue
                opened = True
                count = os.readv(stream, [buffer[filled:]])
                filled += count
                if count == 0 or filled == BLOCK:
                    yield bytes(buffer[:filled])
                    filled = 0
                if count == 0:
                    return
        finally:
            os.close(stream)

    def write_stream(self, blocks: Iterator[bytes]) -> Iterator[int]:
        """Write the blocks to the FIFO; yields the number of bytes written by each step, 0 for a tick.

        Errors: BrokenPipeError when the tool stopped reading; `RunnerFailed` when the container ends, or never
        starts, before the tool has opened the FIFO.
        """
        os.mkfifo(self.work / handshake.STREAM)
        stream = -1
        while stream < 0:
            try:
                stream = os.open(self.work / handshake.STREAM, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:  # ENXIO: nobody has it open for reading yet
                    raise
                self.check()
                time.sleep(_POLL_SECONDS)
                yield 0
        try:
            _enlarge(stream)
            poll = select.poll()
            poll.register(stream, select.POLLOUT)
            for block in blocks:
                rest = memoryview(block)
                while rest:
                    count = os.write(stream, rest) if poll.poll(_TICK_MS) else 0
                    rest = rest[count:]
                    yield count
        finally:
            os.close(stream)

    def dismiss(self) -> None:
        """Tell a script that still waits that there is nothing more to do."""
        dismiss(self.work)

    def settle(self) -> None:
        """Dismiss the script and wait until it has ended: its tool writes nothing more to what is to be removed."""
        self.dismiss()
        self._end_stream()
        deadline = time.monotonic() + SETTLE_SECONDS
        with suppress(AgentError):  # it has ended, or has never started
            self.check()
            while self._started and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
                self.check()

    def _end_stream(self) -> None:
        """A tool that waits for somebody to write to the FIFO, or is about to open it, sees an empty stream instead."""
        path = self.work / handshake.STREAM
        with suppress(FileNotFoundError):
            stream = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # lets go who waits in its open
            empty = path.with_name(f"{path.name}.new")
            empty.touch()
            empty.rename(path)
            os.close(stream)


def dismiss(work: Path) -> None:
    """As `MariadbContainer.dismiss`; does nothing in a pod that has no mariadb container."""
    with suppress(OSError):
        (work / handshake.DONE).touch()


def _make_fifo(path: Path) -> int:
    """Make a FIFO that is open for reading when it appears; answers its descriptor."""
    temporary = path.with_name(f"{path.name}.new")
    os.mkfifo(temporary)
    descriptor = os.open(temporary, os.O_RDONLY | os.O_NONBLOCK)
    temporary.rename(path)
    return descriptor


def _enlarge(stream: int) -> None:
    with suppress(OSError):  # the user's pages for pipes are used up: slower, nothing else
        fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, BLOCK)
