"""Holes in files."""

from __future__ import annotations

import ctypes
import errno
from datetime import timedelta
from pathlib import Path

import pytest

from galera_backup.runner.datadir import copy
from galera_backup.runner.holes import data_of, dig

KIB = 1024


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Pages of 16 KiB whose content takes 4 KiB, some that are full, and an end that is no whole block."""
    (tmp_path / "nova").mkdir()
    path = tmp_path / "nova" / "t.ibd"
    page = b"x" * 4096 + bytes(12 * KIB)
    path.write_bytes(page * 100 + b"y" * 160 * KIB + bytes(3 << 20) + b"z" * 100 + bytes(1000))
    return path


def used(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_zeros_become_holes_and_the_content_stays(table: Path) -> None:
    content, before = table.read_bytes(), used(table)
    dig(table.parent.parent)
    assert table.read_bytes() == content
    assert before - used(table) >= (1200 * KIB + (3 << 20)) * 0.99
    again = used(table)
    dig(table.parent.parent)
    assert (used(table), table.read_bytes()) == (again, content)


def test_a_copy_has_the_holes(table: Path, tmp_path: Path) -> None:
    dig(table.parent.parent)
    target = tmp_path / "target"
    target.mkdir()
    assert copy(table.parent.parent, target, ("target",), timedelta(hours=1)) == table.stat().st_size
    assert (target / "nova/t.ibd").read_bytes() == table.read_bytes()
    assert used(target / "nova/t.ibd") == pytest.approx(used(table), abs=64 * KIB)


@pytest.mark.parametrize("size", [0, 5000])
def test_a_file_of_one_hole(tmp_path: Path, size: int) -> None:
    with (tmp_path / "t.ibd").open("wb") as file:
        file.truncate(size)
    with (tmp_path / "t.ibd").open("rb") as file:
        assert list(data_of(file.fileno())) == []
    (tmp_path / "to").mkdir()
    copy(tmp_path, tmp_path / "to", ("to",), timedelta(hours=1))
    assert (tmp_path / "to" / "t.ibd").read_bytes() == bytes(size)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_holes(table: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    class Libc:
        def fallocate(self, *arguments: object) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: Libc())
    monkeypatch.setattr(ctypes, "get_errno", lambda: number)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output error"):
            dig(table.parent.parent)
    else:
        dig(table.parent.parent)
