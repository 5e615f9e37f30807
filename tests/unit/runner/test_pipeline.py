"""Stages in threads: what goes in comes out, errors too, and closing one stops what feeds it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest
import zstandard

from galera_backup import timing
from galera_backup.runner.container import BLOCK, SETTLE_SECONDS
from galera_backup.runner.pipeline import Tally, ahead, compress, decompress, paced
from galera_backup.storage.files import read_file


def test_error_of_a_stage_comes_out() -> None:
    def fails() -> Generator[bytes]:
        yield b"one"
        raise OSError("disk gone")

    blocks = ahead(fails())
    assert next(blocks) == b"one"
    with pytest.raises(OSError, match="disk gone"):
        next(blocks)


def test_closing_stops_the_maker() -> None:
    closed = threading.Event()

    def endless() -> Generator[bytes]:
        try:
            while True:
                yield b"block"
        finally:
            closed.set()

    before = threading.active_count()
    blocks = ahead(compress(ahead(endless())))
    next(blocks)
    blocks.close()
    assert closed.wait(5)
    deadline = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_pace_holds_and_a_stall_is_not_made_up_for() -> None:
    def blocks() -> Generator[bytes]:
        yield from [bytes(10_000)] * 5
        time.sleep(1)
        yield from [bytes(10_000)] * 5

    began = time.monotonic()
    moments = [time.monotonic() - began for _ in paced(blocks(), 100_000)]
    assert moments[4] >= 0.4
    assert moments[9] - moments[5] >= 0.2 - 0.01  # 0.4, less the credit


def test_nothing_waits_in_a_hurry() -> None:
    moments = [time.monotonic() for _ in paced(iter([bytes(10_000)] * 5), 1_000, lambda: True)]
    assert moments[-1] - moments[0] < 1


def test_roundtrip_in_bounded_blocks(tmp_path: Path) -> None:
    plain = [os.urandom(100_000), b"", bytes(50 << 20), os.urandom(10)]
    packed = tmp_path / "packed"
    packed.write_bytes(b"".join(ahead(compress(ahead(block for block in plain)))))
    assert packed.stat().st_size < 1 << 20
    tally = Tally()
    blocks = list(decompress(ahead(tally.hashed(read_file(packed)))))
    assert b"".join(blocks) == b"".join(plain)
    assert max(map(len, blocks)) <= BLOCK
    assert tally.bytes == packed.stat().st_size


def test_damaged_frame_is_an_error() -> None:
    packed = bytearray(b"".join(compress(iter([bytes(range(256)) * 4000]))))
    packed[-1] ^= 1  # the frame's checksum
    with pytest.raises(zstandard.ZstdError):
        list(decompress(iter([bytes(packed)])))


def test_a_block_that_waits_goes_on_when_somebody_waits_for_the_end() -> None:
    """It has to wait for hours by its rate; nobody is in a hurry yet when it begins to."""
    answers = iter([False, False, True, True])
    began = time.monotonic()
    assert list(paced(iter([bytes(10_000), b"end"]), 1.0, lambda: next(answers))) == [bytes(10_000), b"end"]
    assert time.monotonic() - began < 5


def test_a_tool_settles_within_the_grace_of_its_pod() -> None:
    assert timing.RUNNER_GRACE.total_seconds() > SETTLE_SECONDS
