"""What a data directory needs: of the backup volume, of the time to read it, and unpacked."""

from __future__ import annotations

from pathlib import Path

import pytest

from galera_backup.models.volumes import STAGED_RESTORES
from galera_backup.runner.contents import contents, outside_innodb_kb, read_kb
from galera_backup.runner.holes import SPARSE, holes
from galera_backup.runner.volumes import unpacked_kb, used_kb

KIB = 1024
OF_TABLES = ("db/t.frm", "db/t.ibd", "db/a.MAD", "db/a.MAI", "ibdata1", "undo001", "undo/undo002")
"""Each of 64 KiB, as all of them."""
BESIDE = ("aria_log.00000001", "mysql-error.log", "db/db.opt")
REDO = ("ib_logfile0", "redo/ib_logfile1")
BINLOGS = ("mysql-bin.000001", "mysql-bin.0000002", "binlog/log.000123", "relay-bin.000009")
LEFT_OUT = ("galera.cache", "gcache.page.000001", "ibtmp1", f"{STAGED_RESTORES}/r/staged/ibdata1")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in (*OF_TABLES, *BESIDE, *REDO, *BINLOGS, *LEFT_OUT):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 64 * KIB)
    return tmp_path


def test_binlogs_and_redo_logs_need_no_room(data: Path) -> None:
    """They may be larger than the data, and no backup has them."""
    assert unpacked_kb(data) == 64 * len(OF_TABLES + BESIDE)
    assert used_kb(data) == pytest.approx(64 * len(OF_TABLES + BESIDE + REDO), abs=64)


def test_what_the_tool_reads(data: Path) -> None:
    assert read_kb(data, contents(data)) == 64 * len(OF_TABLES)
    assert outside_innodb_kb(data, contents(data)) == 64 * 2


def test_holes_are_those_of_tablespaces(data: Path) -> None:
    """A log that grew since, or that somebody has made with a hole, says nothing of the tables."""
    (data / "mysql-error.log").write_bytes(b"x" * (10 << 20))
    with (data / "slow.log").open("wb") as log:
        log.truncate(100 << 20)
    assert holes(data) < SPARSE
    with (data / "db/t.ibd").open("ab") as table:
        table.truncate(640 * KIB)
    assert holes(data) == pytest.approx(0.9, abs=0.05)
    (data / "db/t.ibd").unlink()
    assert holes(data) == 0
