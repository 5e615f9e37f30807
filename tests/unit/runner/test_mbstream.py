"""The names in an mbstream, whatever the blocks in which it comes."""

from __future__ import annotations

import struct

import pytest

from galera_backup.runner.mbstream import NotAStream, StreamNames


def payload(path: bytes, content: bytes) -> bytes:
    head = struct.pack("<8sBcI", b"XBSTCK01", 0, b"P", len(path))
    return head + path + struct.pack("<QQI", len(content), 0, 0) + content


def chunk(kind: bytes, path: bytes, behind: bytes = b"") -> bytes:
    return struct.pack("<8sBcI", b"XBSTCK01", 0, kind, len(path)) + path + behind


def end(path: bytes) -> bytes:
    return chunk(b"E", path)


def seek(path: bytes, offset: int) -> bytes:
    return chunk(b"S", path, struct.pack("<Q", offset))


def rename(path: bytes, new: bytes) -> bytes:
    return chunk(b"R", path, struct.pack("<I", len(new)) + new)


def remove(path: bytes) -> bytes:
    return chunk(b"D", path)


STREAM = b"".join(
    [
        payload(b"ibdata1", b"x" * 100),
        payload(b"db/t.ibd", b"XBSTCK01" * 9),  # what looks like a head in the bytes of a file
        payload(b"ibdata1", b"y"),
        end(b"db/t.ibd"),
        payload(b"db/empty.MYD", b""),
        end(b"ibdata1"),
        end(b"db/\xff.frm"),
        seek(b"db/only_a_place.ibd", 1 << 40),
        payload(b"db/old.ibd", b"z" * 50),
        seek(b"db/old.ibd", 7),
        payload(b"db/old.ibd", b"z"),
        end(b"db/old.ibd"),
        rename(b"db/old.ibd", b"other/new.ibd"),
        rename(b"db/unknown.ibd", b"db/unknown_too.ibd"),
        end(b"db/dropped.frm"),
        remove(b"db/dropped.frm"),
        remove(b"db/unknown.frm"),
    ]
)
NAMES = {"ibdata1", "db/t.ibd", "db/empty.MYD", "db/\udcff.frm", "other/new.ibd"}


@pytest.mark.parametrize("size", [*range(1, 130), len(STREAM)])
def test_names(size: int) -> None:
    names = StreamNames()
    for begin in range(0, len(STREAM), size):
        names.feed(STREAM[begin : begin + size])
    assert names.names == NAMES
    names.check_end()


@pytest.mark.parametrize("length", [5, 20, 60, len(STREAM) - 1])
def test_a_stream_that_ends_too_early(length: int) -> None:
    names = StreamNames()
    names.feed(STREAM[:length])
    with pytest.raises(NotAStream, match=f"it ends within a chunk, after byte {length}"):
        names.check_end()


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (b"no head of a chunk", f"expected the head of a chunk at byte {len(STREAM)}, seen b'no head "),
        (struct.pack("<8sBcI", b"XBSTCK01", 0, b"P", 0), "expected the head"),
        (chunk(b"Q", b"a"), "has the unknown type b'Q'"),
        (chunk(b"R", b"a", struct.pack("<I", 1 << 30)), "has a path of 1073741824 bytes"),
    ],
)
def test_what_is_no_stream(added: bytes, message: str) -> None:
    names = StreamNames()
    with pytest.raises(NotAStream, match=message):
        names.feed(STREAM + added)


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_a_small_file_is_kept(size: int) -> None:
    kept = StreamNames(kept=("other", "info"))
    stream = STREAM + payload(b"info", b"uuid:" + b"1" * 60) + payload(b"more", b"x" * 90) + payload(b"info", b"7 0")
    for begin in range(0, len(stream), size):
        kept.feed(stream[begin : begin + size])
    assert kept.kept == "uuid:" + "1" * 60 + "7 0"
    assert StreamNames().kept == ""
