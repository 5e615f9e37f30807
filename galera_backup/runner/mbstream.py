"""The names of the files in an mbstream, read while the stream passes by.

A stream is a row of chunks: magic, flags, type, and the path with its length; a payload has its length, offset and
checksum before the bytes themselves. The format is that of mariadb-backup's own `mbstream`.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from contextlib import closing

_MAGIC = b"XBSTCK01"
_HEAD = struct.Struct("<8sBcI")
"""Magic, flags, type, length of the path."""
_PAYLOAD = struct.Struct("<QQI")
"""Length of the bytes that follow, their offset in the file, checksum."""
_WITH_PAYLOAD, _END = b"P", b"E"
"""Types of chunks: bytes of a file, and the end of a file."""
_LONGEST_PATH = 4096


class NotAStream(Exception):
    """The bytes are not an mbstream as far as this module knows it; the text says where."""


class StreamNames:
    """Fed with a stream in blocks of any size, it knows the files that were in it so far."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._rest = bytearray()
        """Of a chunk's head that came in part."""
        self._payload = 0
        """Bytes of a payload that are still to come."""
        self._offset = 0
        """Of `_rest` in the stream."""

    @property
    def names(self) -> frozenset[str]:
        """Paths from the data directory, such as `sys/sys_config.frm`."""
        return frozenset(self._names)

    @property
    def is_between_chunks(self) -> bool:
        """Where alone a stream may end."""
        return not self._rest and not self._payload

    def feed(self, block: bytes) -> None:
        """The next bytes of the stream. Error: `NotAStream`."""
        if self._payload >= len(block):
            self._payload -= len(block)
            self._offset += len(block)
            return
        self._rest += block[self._payload :]
        self._offset += self._payload
        self._payload = position = 0
        while (length := self._chunk(position)) is not None:
            position += length
            if self._payload > len(self._rest) - position:
                self._payload -= len(self._rest) - position
                position = len(self._rest)
                break
            position += self._payload
            self._payload = 0
        self._offset += position
        del self._rest[:position]

    def _chunk(self, at: int) -> int | None:
        """Note the chunk that begins there, and how long its payload is; returns the length of its head.

        None: not all of the head has come.
        """
        if len(self._rest) < at + _HEAD.size:
            return None
        head: tuple[bytes, int, bytes, int] = _HEAD.unpack_from(self._rest, at)
        magic, _, kind, path_length = head
        if magic != _MAGIC or not 0 < path_length <= _LONGEST_PATH:
            raise NotAStream(f"expected the head of a chunk at byte {self._offset + at}, seen {magic!r}")
        end = at + _HEAD.size + path_length
        length = _HEAD.size + path_length + (_PAYLOAD.size if kind == _WITH_PAYLOAD else 0)
        if kind not in (_WITH_PAYLOAD, _END):
            raise NotAStream(f"the chunk at byte {self._offset + at} has the unknown type {kind!r}")
        if len(self._rest) < at + length:
            return None
        self._names.add(self._rest[end - path_length : end].decode(errors="surrogateescape"))
        if kind == _WITH_PAYLOAD:
            self._payload = _PAYLOAD.unpack_from(self._rest, end)[0]
        return length


class Names:
    """The names in a stream that passes by, as far as its format is understood."""

    def __init__(self) -> None:
        self._stream = StreamNames()
        self.problems: tuple[str, ...] = ()
        """Why they are not known; empty: they are."""

    @property
    def seen(self) -> frozenset[str]:
        """So far."""
        return self._stream.names

    def noted(self, stream: Generator[bytes]) -> Generator[bytes]:
        """The same blocks."""
        with closing(stream):
            for block in stream:
                if not self.problems:
                    self._note(block)
                yield block
        if not self.problems and not self._stream.is_between_chunks:
            self.problems = ("the stream ends within a chunk, so nobody knows whether all tables are in it",)

    def _note(self, block: bytes) -> None:
        try:
            self._stream.feed(block)
        except NotAStream as error:
            self.problems = (f"the stream is not understood, so nobody knows whether all tables are in it: {error}",)
