"""Tables that a backup lacks, and data that is not in the data directory."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from galera_backup.models.volumes import STAGED_RESTORES
from galera_backup.runner.contents import contents, engine_of, not_backed_up, not_in

FILES = ("db/t.frm", "db/t.ibd", "db/a.frm", "db/a.MAD", "db/a.MAI", "db/p.frm", "db/p#P#p0.ibd", "db/p#P#p1.ibd")


def definition(
    engine: bytes, *, keys: int = 20, connection: bytes = b"", clause: bytes = b"", number: int = 0
) -> bytes:
    """A table's `.frm` as far as it is read; `clause` and `number` of its partitions."""
    head = bytearray(4096)
    head[61] = number
    head[:2] = b"\xfe\x01"
    struct.pack_into("<H", head, 6, 4096)
    struct.pack_into("<H", head, 14, min(keys, 0xFFFF))
    struct.pack_into("<I", head, 47, keys)
    struct.pack_into("<H", head, 16, 5)
    extra = b"".join(struct.pack("<H", len(text)) + text for text in (connection, engine))
    return bytes(head) + bytes(keys + 5) + extra + struct.pack("<I", len(clause)) + clause + b"\0x ENGINE = Evil,\0"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in (*FILES, "db/db.opt", "lost+found/x.frm", f"{STAGED_RESTORES}/r/data/db/t.frm", "ibdata1"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if path.suffix != ".frm" else definition(b"InnoDB"))
    return tmp_path


def test_files_of_tables(data: Path) -> None:
    found = contents(data)
    assert set(found.files) == set(FILES)
    assert (found.elsewhere, found.unreadable) == ((), ())


def test_all_is_in_the_stream(data: Path) -> None:
    found = contents(data)
    assert not_in(frozenset(FILES), found, contents(data)) == ()
    younger = frozenset(name.replace("t.ibd", "t.new") for name in FILES)
    assert not_in(younger, found, contents(data)) == ()


@pytest.mark.parametrize("name", FILES)
def test_one_file_is_not_in_the_stream(data: Path, name: str) -> None:
    found = contents(data)
    assert not_in(frozenset(FILES) - {name}, found, contents(data)) == (name,)


def test_what_changes_meanwhile_is_not_judged(data: Path) -> None:
    before = contents(data)
    (data / "db/t.frm").unlink()  # dropped
    (data / "db/new.frm").write_bytes(b"")  # created
    altered = data / "db/altered"
    altered.write_bytes(b"")
    altered.replace(data / "db/a.frm")
    (data / "db/p#P#p1.ibd").unlink()  # the definition is the same: truncated, say
    assert not_in(frozenset({"db/p.frm", "db/p#P#p0.ibd"}), before, contents(data)) == ()


def test_data_that_is_elsewhere(data: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "x.MYD").write_bytes(b"")
    (data / "linked").symlink_to(other)
    (data / "db/x.MYD").symlink_to(other / "x.MYD")
    (data / "db/y.isl").write_text(str(other / "db/y.ibd"))
    (data / "db/notes.txt").symlink_to(other / "x.MYD")
    (data / "current.log").symlink_to(other / "x.MYD")
    (data / "dangling").symlink_to("/srv/not-mounted-in-this-pod/dangling")
    (data / "mysql.sock").symlink_to("/run/not-there.sock")
    assert contents(data).elsewhere == ("dangling", "db/x.MYD", "db/y.isl", "linked")


def test_what_no_backup_holds(data: Path) -> None:
    """Tables of an ALTER that runs, or has died; and what the server takes for no database."""
    for name in ("db/#sql-alter-1-2.frm", "db/#sql-ib33.ibd", "#sql-x/t.frm", "exports/t.frm"):
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_bytes(definition(b"CONNECT"))
    (data / "current").symlink_to("/not-there")
    found = contents(data, ("exports", "current"))
    assert set(found.files) == set(FILES)
    assert (found.elsewhere, not_backed_up(data, found)) == ((), {})


def test_a_directory_that_may_not_be_listed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "secret").mkdir()
    scandir = os.scandir

    def refusing(path: Path | str) -> Any:
        if Path(path).name == "secret":
            raise PermissionError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert contents(data).unreadable == ("secret",)


def test_a_volume_that_may_not_be_listed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SELinux refuses a pod of another level."""

    def refusing(path: Path | str) -> Any:
        raise PermissionError(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert contents(data).unreadable == (".",)


def test_engines(data: Path) -> None:
    for name, image in {
        "db/rocks.frm": definition(b"ROCKSDB"),
        "db/groonga.frm": definition(b"Mroonga", connection=b"engine InnoDB"),
        "db/wide.frm": definition(b"CONNECT", keys=70_000),
        "db/far.frm": definition(b"SPIDER"),
        "performance_schema/threads.frm": definition(b"PERFORMANCE_SCHEMA"),
        "db/view.frm": b"TYPE=VIEW\n",
        "db/short.frm": b"\xfe\x01",
    }.items():
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_bytes(image)
    assert not_backed_up(data, contents(data)) == {"db/groonga": "Mroonga", "db/wide": "CONNECT"}
    assert engine_of(data / "db/view.frm") is None
    assert engine_of(data / "db/none.frm") is None


BY_RANGE = (
    b" PARTITION BY RANGE (`a`)\n(PARTITION `p0` VALUES LESS THAN (1) COMMENT = 'ENGINE = Evil' ENGINE = %s,\n %s)"
)


@pytest.mark.parametrize(
    ("image", "files", "engine"),
    [
        (definition(b"partition", number=47), ["t#P#p0.ibd"], None),
        (definition(b"partition", number=47), [], "partitions of an unknown engine"),
        (definition(b"partition", number=19), [], None),
        (definition(b"partition", clause=BY_RANGE % (b"SPIDER", b"PARTITION `p1` ENGINE = SPIDER")), [], None),
        (definition(b"partition", clause=BY_RANGE % (b"CONNECT", b"PARTITION `p1` ENGINE = CONNECT")), [], "CONNECT"),
    ],
)
def test_engines_of_partitions(tmp_path: Path, image: bytes, files: list[str], engine: str | None) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db/t.frm").write_bytes(image)
    for name in files:
        (tmp_path / "db" / name).write_bytes(b"")
    assert not_backed_up(tmp_path, contents(tmp_path)) == ({"db/t": engine} if engine is not None else {})


def test_a_database_that_is_dropped_during_the_look(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "dropped").mkdir()
    scandir = os.scandir

    def dropping(path: Path | str) -> Any:
        if Path(path).name == "dropped":
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", dropping)
    found = contents(data)
    assert set(found.files) == set(FILES)
    assert found.unreadable == ()
