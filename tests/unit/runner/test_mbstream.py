"""The names in an mbstream, whatever the blocks in which it comes."""

from __future__ import annotations

import struct

import pytest

from galera_backup.runner.mbstream import NotAStream, StreamNames


def payload(path: bytes, content: bytes) -> bytes:
    head = struct.pack("<8sBcI", b"XBSTCK01", 0, b"P", len(path))
    return head + path + struct.pack("<QQI", len(content), 0, 0) + content


def end(path: bytes) -> bytes:
    return struct.pack("<8sBcI", b"XBSTCK01", 0, b"E", len(path)) + path


STREAM = b"".join(
    [
        payload(b"ibdata1", b"x" * 100),
        payload(b"db/t.ibd", b"XBSTCK01" * 9),  # what looks like a head in the bytes of a file
        payload(b"ibdata1", b"y"),
        end(b"db/t.ibd"),
        payload(b"db/empty.MYD", b""),
        end(b"ibdata1"),
        end(b"db/\xff.frm"),
    ]
)
NAMES = {"ibdata1", "db/t.ibd", "db/empty.MYD", "db/\udcff.frm"}


@pytest.mark.parametrize("size", [1, 2, 13, 14, 22, 100, len(STREAM)])
def test_names(size: int) -> None:
    names = StreamNames()
    for begin in range(0, len(STREAM), size):
        names.feed(STREAM[begin : begin + size])
    assert names.names == NAMES
    assert names.is_between_chunks


@pytest.mark.parametrize("length", [5, 20, 60, len(STREAM) - 1])
def test_a_stream_that_ends_too_early(length: int) -> None:
    names = StreamNames()
    names.feed(STREAM[:length])
    assert not names.is_between_chunks


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (b"no head of a chunk", f"expected the head of a chunk at byte {len(STREAM)}, seen b'no head "),
        (struct.pack("<8sBcI", b"XBSTCK01", 0, b"P", 0), "expected the head"),
        (struct.pack("<8sBcI", b"XBSTCK01", 0, b"Q", 1) + b"a", "has the unknown type b'Q'"),
    ],
)
def test_what_is_no_stream(added: bytes, message: str) -> None:
    names = StreamNames()
    with pytest.raises(NotAStream, match=message):
        names.feed(STREAM + added)
