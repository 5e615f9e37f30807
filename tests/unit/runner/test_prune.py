"""Retention counts complete backups only, and never removes the newest of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from galera_backup.storage import files
from galera_backup.storage.archive import newest_first
from galera_backup.storage.files import FileArchive
from tests.unit.runner.pod import CLUSTER, Pod

IDS = [f"202611{day:02}T010000Z-full" for day in range(10, 14)]


@pytest.fixture
def four(pod: Pod) -> Pod:
    """Four complete backups."""
    for backup_id in IDS:
        assert pod.backup(backup_id).error is None
    return pod


@pytest.mark.parametrize(("keep", "left"), [(2, IDS[2:]), (1, IDS[3:]), (0, IDS[3:]), (4, IDS), (9, IDS)])
def test_keeps_the_newest(four: Pod, keep: int, left: list[str]) -> None:
    report = four.prune(keep).report
    assert report is not None
    assert four.ids() == left
    assert list(report.pruned) == [backup_id for backup_id in IDS if backup_id not in left]
    assert report.kept == len(left)


def test_half_removed_backup_never_counts(four: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(path: Path) -> None:
        raise InterruptedError(str(path))

    with monkeypatch.context() as patch:
        patch.setattr(files, "remove", dies)
        with pytest.raises(InterruptedError):
            four.prune(3)
    assert (four.directory(IDS[0]) / "backup.mbs.zst").exists(), "the removal came no further"
    assert [manifest.backup_id for manifest in newest_first(FileArchive(four.root, CLUSTER))] == IDS[:0:-1]
    report = four.prune(3).report
    assert report is not None
    assert report.pruned == ()
    assert not (four.directory(IDS[0]) / "backup.mbs.zst").exists()


def test_what_does_not_hold_neither_counts_nor_goes(four: Pod) -> None:
    (four.directory(IDS[3]) / "manifest.json").write_text('{"schema_version": 2}')
    os.truncate(four.directory(IDS[2]) / "backup.mbs.zst", 10)
    report = four.prune(1).report
    assert report is not None
    assert four.ids() == IDS[1:]
    assert report.kept == 1


def test_newest_failed_run_keeps_its_log(pod: Pod) -> None:
    pod.backup(IDS[0], FAKE_FAULT="status")
    pod.backup(IDS[1], FAKE_FAULT="status")
    assert pod.backup(IDS[2]).error is None
    part = pod.directory(IDS[1]) / "backup.mbs.zst.part"
    part.write_bytes(b"partial")
    os.utime(part, (0, 0))
    assert pod.prune(5).error is None
    assert pod.ids() == IDS[1:3]
    assert [path.name for path in pod.directory(IDS[1]).iterdir()] == ["runner.log"]


def test_nothing_there(pod: Pod) -> None:
    report = pod.prune(3).report
    assert report is not None
    assert report.kept == 0


@pytest.mark.parametrize("keep", [1, 2, 9])
def test_the_backup_of_this_run_stays(four: Pod, keep: int) -> None:
    """Whatever has a name from the future: another site, or a clock that was ahead."""
    report = four.prune(keep, own=IDS[1]).report
    assert report is not None
    assert four.ids() == (IDS if keep > 1 else IDS[1:])
    assert (report.kept, report.future) == (min(keep, 2), tuple(IDS[2:]))


def test_one_that_runs_elsewhere_stays(four: Pod) -> None:
    """Another site has the same name for its cluster, and the same volume."""
    running = four.directory("20261120T000000Z-full")
    running.mkdir()
    (running / "backup.mbs.zst.part").write_bytes(b"partial")
    assert four.prune(1).error is None
    assert (running / "backup.mbs.zst.part").exists()
    os.utime(running / "backup.mbs.zst.part", (0, 0))
    assert four.prune(1).error is None
    assert not (running / "backup.mbs.zst.part").exists()
