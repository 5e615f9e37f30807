"""Names that nothing can rename or remove."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from galera_backup.runner.fixed import fixed, fixed_below
from galera_backup.runner.permissions import may_change


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


def as_another_user(monkeypatch: pytest.MonkeyPatch, data: Path, *others: str) -> str:
    """Everything may be written to by all, but for these directories; answers the reason."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1000)
    monkeypatch.setattr(os, "getegid", lambda: -1)
    monkeypatch.setattr(os, "getgroups", list)
    for path in (data, *(each for each in data.rglob("*") if not each.is_symlink())):
        path.chmod(0o777)
    for name in others:
        (data / name).chmod(0o755)
    return f"the directory belongs to user {os.getuid()} and may not be written to"


def test_what_stays_at_the_top(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The volume is mounted read-only in a pod that looks: the system grants no write."""
    with_flags(monkeypatch, {data / "ibdata1": 0x80010, data / "db": 0x80000})
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    reason = as_another_user(monkeypatch, data, "locked")
    assert fixed(data) == {
        ".snapshot": "the file system shows its snapshots there",
        "ibdata1": "it has the immutable flag (chattr +i)",
        "locked": reason,
    }


def test_what_another_user_owns_below(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory can be removed from one that may be written to."""
    (data / "db/empty").mkdir()
    reason = as_another_user(monkeypatch, data, "db/deep", "db/empty")
    assert dict(fixed_below(data / "db")) == {"deep": reason}


def test_what_cannot_be_listed_below(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refusing(path: Path | str) -> Any:
        if Path(path).name == "deep":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert dict(fixed_below(data / "db")) == {"deep": "it cannot be listed: Permission denied"}


def test_modes_say_nothing_below_a_directory_whose_server_writes_against_its_mode(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_another_user(monkeypatch, data, ".", "locked", "db", "db/deep")
    assert set(fixed(data)) == {".snapshot"}
    assert dict(fixed_below(data / "db")) == {}


@pytest.mark.parametrize(
    ("mode", "whose", "expected"),
    [
        (0o700, "owner", True),
        (0o500, "owner", False),
        (0o077, "owner", False),
        (0o770, "group", True),
        (0o750, "group", False),
        (0o707, "group", False),
        (0o777, "others", True),
        (0o775, "others", False),
    ],
)
def test_by_owner_group_and_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, whose: str, expected: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 999)
    monkeypatch.setattr(os, "getegid", lambda: 999)
    monkeypatch.setattr(os, "getgroups", lambda: [2000])
    user, group = 999 if whose == "owner" else 0, 2000 if whose in ("owner", "group") else 0
    seen = os.stat_result((stat.S_IFDIR | mode, 0, 0, 1, user, group, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda path, **options: seen)
    assert may_change(tmp_path) == expected
    monkeypatch.setattr(os, "getxattr", lambda path, name: b"acl")
    assert may_change(tmp_path)


def test_root_may_change_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    tmp_path.chmod(0)
    assert may_change(tmp_path)
    tmp_path.chmod(0o700)


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
