"""The names of the files in an mbstream, read while the stream passes by.

A stream is a row of chunks: magic, flags, type, and the path with its length; a payload has its length, offset and
checksum before the bytes themselves. The format is that of mariadb-backup's own `mbstream`.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Generator
from contextlib import closing

_MAGIC = b"XBSTCK01"
_HEAD = struct.Struct("<8sBcI")
"""Magic, flags, type, length of the path."""
_PAYLOAD = struct.Struct("<QQI")
"""Length of the bytes that follow, their offset in the file, checksum."""
_LENGTH = struct.Struct("<I")
_DATA, _END, _SEEK, _REMOVE, _RENAME = b"P", b"E", b"S", b"D", b"R"
"""Types of chunks: bytes of a file, the end of a file, where its next bytes go, a file that goes, and its new path."""
_BEHIND_THE_PATH = {_DATA: _PAYLOAD.size, _END: 0, _SEEK: 8, _REMOVE: 0, _RENAME: _LENGTH.size}
"""Bytes that follow the path; a renamed file's new path follows those. mbstream (10.11.19) takes no other types."""
_LONGEST_PATH = 4096
_LONGEST_KEPT = 1 << 16


class NotAStream(Exception):
    """The bytes are not an mbstream as far as this module knows it; the text says where."""


class StreamNames:
    """Fed with a stream in blocks of any size, it knows the files that were in it so far."""

    def __init__(self, kept: Collection[str] = ()) -> None:
        """`kept`: small files whose bytes are kept, too."""
        self._names: set[str] = set()
        self._kept = {name: bytearray() for name in kept}
        self._rest = bytearray()
        """Of a chunk's head that came in part."""
        self._payload = 0
        """Bytes of a payload that are still to come."""
        self._into: bytearray | None = None
        """Where they go."""
        self._offset = 0
        """Of `_rest` in the stream."""

    @property
    def kept(self) -> str:
        """What came of the first of the files that are kept, as text; empty: nothing."""
        return next((text.decode(errors="replace") for text in self._kept.values() if text), "")

    @property
    def names(self) -> frozenset[str]:
        """Paths from the data directory, such as `sys/sys_config.frm`."""
        return frozenset(self._names)

    def noted(self, stream: Generator[bytes]) -> Generator[bytes]:
        """The same blocks. Error: `NotAStream`."""
        with closing(stream):
            for block in stream:
                self.feed(block)
                yield block

    def check_end(self) -> None:
        """Error: `NotAStream`, when the stream must not end here."""
        if self._rest or self._payload:
            raise NotAStream(f"it ends within a chunk, after byte {self._offset + len(self._rest)}")

    def feed(self, block: bytes) -> None:
        """The next bytes of the stream. Error: `NotAStream`."""
        if self._payload >= len(block):
            self._keep(block, 0, len(block))
            self._payload -= len(block)
            self._offset += len(block)
            return
        self._keep(block, 0, self._payload)
        self._rest += block[self._payload :]
        self._offset += self._payload
        self._payload = position = 0
        while (length := self._chunk(position)) is not None:
            position += length
            self._keep(self._rest, position, self._payload)
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
        if kind not in _BEHIND_THE_PATH:
            raise NotAStream(f"the chunk at byte {self._offset + at} has the unknown type {kind!r}")
        path_at = at + _HEAD.size
        behind = path_at + path_length
        end = behind + _BEHIND_THE_PATH[kind]
        if len(self._rest) < end:
            return None
        if kind == _RENAME:
            (new_length,) = _LENGTH.unpack_from(self._rest, behind)
            if not 0 < new_length <= _LONGEST_PATH:
                raise NotAStream(f"the chunk at byte {self._offset + at} has a path of {new_length} bytes")
            end += new_length
            if len(self._rest) < end:
                return None
        path = self._text(path_at, behind)
        if kind in (_DATA, _END):
            self._names.add(path)
        elif kind == _REMOVE:
            self._names.discard(path)
        elif kind == _RENAME and path in self._names:
            self._names.remove(path)
            self._names.add(self._text(behind + _LENGTH.size, end))
        if kind == _DATA:
            self._payload = _PAYLOAD.unpack_from(self._rest, behind)[0]
            self._into = self._kept.get(path)
        return end - at

    def _keep(self, block: bytes | bytearray, begin: int, length: int) -> None:
        if self._into is not None and len(self._into) < _LONGEST_KEPT:
            self._into += block[begin : begin + length]

    def _text(self, begin: int, end: int) -> str:
        return self._rest[begin:end].decode(errors="surrogateescape")
