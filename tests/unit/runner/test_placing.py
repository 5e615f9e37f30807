"""Files of prepared data where the server looks for them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from galera_backup.models.layout import Layout, NamedDirectory
from galera_backup.runner.placing import place

TOP = ("ibdata1", "ibdata2", "undo001", "undo002", "ib_logfile0", "aria_log.00000001", "aria_log_control", "db.opt")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in TOP:
        (tmp_path / name).write_text(name)
    (tmp_path / "undo_tables").mkdir()
    return tmp_path


def placed(data: Path, *directories: NamedDirectory) -> set[str]:
    place(data, Layout(directories=directories))
    return {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()}


def test_nothing_is_named(data: Path) -> None:
    assert placed(data) == set(TOP)


@pytest.mark.parametrize("times", [1, 2])
def test_every_directory(data: Path, times: int) -> None:
    named = (
        NamedDirectory(variable="innodb_undo_directory", path="undo"),
        NamedDirectory(variable="innodb_log_group_home_dir", path="redo/logs"),
        NamedDirectory(variable="aria_log_dir_path", path="aria"),
        NamedDirectory(variable="innodb_data_file_path", path="system", files=("ibdata2",)),
        NamedDirectory(variable="log_bin_basename", path="binlog"),
    )
    for _ in range(times):
        found = placed(data, *named)
    assert found == {
        "ibdata1",
        "system/ibdata2",
        "undo/undo001",
        "undo/undo002",
        "redo/logs/ib_logfile0",
        "aria/aria_log.00000001",
        "aria/aria_log_control",
        "db.opt",
    }
    assert (data / "binlog").is_dir()


def test_the_mode_of_a_directory(data: Path) -> None:
    before = os.umask(0o077)
    try:
        placed(data, NamedDirectory(variable="tmpdir", path="a/b"))
    finally:
        os.umask(before)
    assert [(data / path).stat().st_mode & 0o777 for path in ("a", "a/b")] == [0o700, 0o700]
