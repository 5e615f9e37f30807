"""A backup that failed leaves a log and nothing that counts, and the next one works."""

from __future__ import annotations

import errno
import json
import os
import struct
from datetime import timedelta
from pathlib import Path

import pytest

from galera_backup.runner import backup
from galera_backup.storage.archive import newest_first
from galera_backup.storage.files import FileArchive, NewFiles
from tests.unit.runner.pod import CLUSTER, Pod, age, failure


def _assert_only_a_log(pod: Pod) -> None:
    assert sorted(path.name for path in pod.directory().iterdir()) == [".worker", "runner.log"]
    assert list(newest_first(FileArchive(pod.root, CLUSTER))) == []


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("killed", "BackupFailed", "exit status is 137"),
        ("status", "BackupFailed", "failed to execute query BACKUP LOCK"),
        ("not_ok", "BackupFailed", "expected 'completed OK!'"),
        ("no_checkpoints", "BackupFailed", "did not write xtrabackup_checkpoints"),
        ("no_position", "BackupFailed", "its stream has no xtrabackup_galera_info or mariadb_backup_galera_info"),
        ("lsn", "BackupFailed", "from 0 to 511392902, last 1"),
        ("container_killed", "RunnerFailed", "ended without an answer"),
    ],
)
def test_failed_backup_does_not_count(pod: Pod, fault: str, kind: str, says: str) -> None:
    seen, message = failure(pod.backup(FAKE_FAULT=fault))
    assert seen == kind
    assert says in message
    _assert_only_a_log(pod)
    assert message[:60] in (pod.directory() / "runner.log").read_text()
    assert pod.backup().error is None, "the same id again"


def test_a_tool_of_another_series(pod: Pod) -> None:
    """Its stream can be prepared by neither image."""
    kind, message = failure(pod.backup(FAKE_VERSION="11.4.5"))
    assert kind == "BackupFailed"
    assert "has version '11.4.5-MariaDB' and its server '10.11.19-MariaDB-0+deb12u1-log'" in message
    _assert_only_a_log(pod)


def test_tool_that_cannot_start(pod: Pod) -> None:
    (pod.fake / "bin" / "mariadb-backup").unlink()
    path = f"{pod.fake / 'bin'}:/no-mariadb-here"
    for tool in ("tee", "nice", "mkfifo", "mkdir", "cat", "rm", "mv", "sleep"):
        (pod.fake / "bin" / tool).symlink_to(
            f"/usr/bin/{tool}" if Path(f"/usr/bin/{tool}").exists() else f"/bin/{tool}"
        )
    kind, message = failure(pod.backup(PATH=path))
    assert kind == "BackupFailed"
    assert "exit status is 127" in message


def test_credentials_missing(pod: Pod) -> None:
    Path(pod.environment["CREDENTIALS"], "password").unlink()
    kind, _ = failure(pod.backup())
    assert kind == "RunnerFailed"
    assert "password" in pod.script_log


def test_container_that_never_starts(pod: Pod) -> None:
    pod.patience = timedelta(seconds=0.5)
    pod.mariadb_starts = False
    kind, message = failure(pod.backup())
    assert kind == "RunnerFailed"
    assert "did not start within" in message


def test_not_enough_space_says_the_numbers(pod: Pod) -> None:
    kind, message = failure(pod.backup(ratio=1e9))
    assert kind == "NotEnoughSpace"
    assert "KB free" in message
    assert "x required space ratio 1000000000.0" in message
    assert pod.script_status == 0, "the script is told that there is nothing to do"
    assert not (pod.fake / "arguments").exists(), "mariadb-backup never ran"
    _assert_only_a_log(pod)


def test_volume_fills_up_in_the_middle(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_volume(self: NewFiles, block: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(NewFiles, "write", full_volume)
        kind, message = failure(pod.backup())
    assert kind == "NotEnoughSpace"
    assert "No space left on device" in message
    _assert_only_a_log(pod)


def test_data_volume_fills_up_in_the_middle(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([10_000, 201, 199])
    monkeypatch.setattr(backup, "total_kb", lambda path: 10_000)
    monkeypatch.setattr(backup, "free_kb", lambda path: next(free))
    kind, message = failure(pod.backup())
    assert kind == "NotEnoughSpace"
    assert "has 199 KB left; expected at least 200 KB" in message
    _assert_only_a_log(pod)


def test_leftovers_of_failed_runs_go_first(pod: Pod) -> None:
    for day in ("20261119", "20261120"):
        left = pod.directory(f"{day}T010000Z-full")
        left.mkdir(parents=True)
        (left / "backup.mbs.zst.part").write_bytes(b"partial")
        (left / "runner.log").write_text("why it failed")
    nameless = pod.directory("20261121T010000Z-full")
    nameless.mkdir()
    (nameless / "backup.mbs.zst").write_bytes(b"no manifest")
    stale = pod.cluster_directory / ".restore" / "old" / "data"
    stale.mkdir(parents=True)
    age(pod.cluster_directory)
    foreign = pod.cluster_directory / "somebody-elses"
    foreign.mkdir()
    assert pod.backup().error is None
    assert pod.ids() == ["20261119T010000Z-full", "20261120T010000Z-full", "20261122T010000Z-full", "somebody-elses"]
    assert [path.name for path in pod.directory("20261119T010000Z-full").iterdir()] == ["runner.log"]
    assert not stale.exists()


def test_progress_lines(pod: Pod, capfd: pytest.CaptureFixture[str]) -> None:
    assert pod.backup().error is None
    lines = [json.loads(line)["progress"] for line in capfd.readouterr().out.splitlines()]
    assert lines[-1]["stage"] == "backup"
    assert lines[-1]["done_bytes"] > 8_000_000
    assert 3_000_000 < lines[-1]["stored_bytes"] < 3_300_000


def test_a_table_that_is_not_in_the_stream(pod: Pod) -> None:
    elsewhere = pod.root.parent / "elsewhere.MYD"
    elsewhere.write_bytes(b"rows")
    (pod.data / "nova" / "linked.MYD").symlink_to(elsewhere)
    kind, message = failure(pod.backup())
    assert kind == "BackupIncomplete"
    assert "it lacks 1 files: nova/linked.MYD" in message
    _assert_only_a_log(pod)


@pytest.mark.parametrize(
    ("tail", "says"), [("printf QQ", "ends within a chunk"), ("cat $FAKE/odd", "unknown type b'Q'")]
)
def test_a_stream_that_is_not_understood(pod: Pod, tail: str, says: str) -> None:
    """It passed once, unseen: nobody looked for the tables that it lacks."""
    (pod.fake / "odd").write_bytes(struct.pack("<8sBcI", b"XBSTCK01", 0, b"Q", 1) + b"a" * 100)
    tool = pod.fake / "bin" / "mariadb-backup"
    tool.write_text(tool.read_text().replace('cat "$FAKE/stream"', f'cat "$FAKE/stream"; {tail}'))
    kind, message = failure(pod.backup())
    assert kind == "BackupIncomplete"
    assert says in message
    _assert_only_a_log(pod)
