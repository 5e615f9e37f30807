"""Names that nothing can rename or remove."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from galera_backup.runner.fixed import fixed, fixed_below


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in (".snapshot", "db/deep", "locked"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("db/t.ibd", "db/deep/u.ibd", "ibdata1"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "db/link").symlink_to("t.ibd")
    return tmp_path


def with_flags(monkeypatch: pytest.MonkeyPatch, flags: dict[Path, int]) -> None:
    """Files have these inode flags; all others cannot have any, as on many file systems."""

    def ioctl(descriptor: int, request: int, found: Any) -> int:
        assert request == 0x80086601
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path not in flags:
            raise OSError("Inappropriate ioctl for device")
        found[0] = flags[path]
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)


def test_what_stays_at_the_top(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_flags(monkeypatch, {data / "ibdata1": 0x80010, data / "db": 0x80000})
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked" or mode != os.W_OK)
    assert fixed(data) == {
        ".snapshot": "the file system shows its snapshots there",
        "ibdata1": "it has the immutable flag (chattr +i)",
        "locked": f"the directory belongs to user {os.getuid()} and may not be written to",
    }


def test_what_stays_below(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_flags(monkeypatch, {data / "db/t.ibd": 0x20, data / "db/deep": 0x10, data / "db/deep/u.ibd": 0x10})
    assert dict(fixed_below(data)) == {
        "db/t.ibd": "it has the append-only flag (chattr +a)",
        "db/deep": "it has the immutable flag (chattr +i)",
    }


def test_another_file_system() -> None:
    assert fixed(Path("/"))["proc"] == "another file system is mounted there"
    assert ("shm", "another file system is mounted there") in list(fixed_below(Path("/dev")))


def test_nothing(tmp_path: Path) -> None:
    (tmp_path / "ibdata1").write_bytes(b"")
    assert (fixed(tmp_path), list(fixed_below(tmp_path))) == ({}, [])
