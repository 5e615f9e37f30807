"""Retention counts complete backups only, and never removes the newest of them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from galera_backup.models.jobs import CheckJob, Pin
from galera_backup.models.manifest import Manifest
from galera_backup.storage import at_work, files
from galera_backup.storage.archive import newest_first
from galera_backup.storage.at_work import Worker
from galera_backup.storage.files import FileArchive
from tests.unit.runner.pod import CLUSTER, Pod, age, content, failure, make_pod

IDS = [f"202611{day:02}T010000Z-full" for day in range(10, 14)]


@pytest.fixture(scope="module")
def four_backups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup volume with four complete backups; to be copied."""
    pod = make_pod(tmp_path_factory.mktemp("four"))
    for backup_id in IDS:
        assert pod.backup(backup_id).error is None
    return pod.root


@pytest.fixture
def four(pod: Pod, four_backups: Path) -> Pod:
    """Four complete backups."""
    shutil.copytree(four_backups, pod.root, dirs_exist_ok=True)
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
    (pod.directory(IDS[1]) / "backup.mbs.zst.part").write_bytes(b"partial")
    assert pod.prune(5).error is None
    assert pod.ids() == IDS[1:3]
    assert sorted(path.name for path in pod.directory(IDS[1]).iterdir()) == [".worker", "runner.log"]


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


@pytest.mark.parametrize("keep", [1, 2])
def test_the_newest_without_problems_stays(four: Pod, keep: int) -> None:
    for backup_id in IDS[2:]:
        _note(four, backup_id, problems=("it lacks tables",))
    assert four.prune(keep).error is None
    assert four.ids() == IDS[1:2] + IDS[4 - keep :]


def test_what_a_clone_reads_stays(four: Pod) -> None:
    """Its lease is another cluster's, so retention does not wait for it."""
    pin = Pin(restore_id="20261122t010000z", lifetime=timedelta(hours=1))
    assert four.run(CheckJob(cluster=CLUSTER, backup_id=IDS[0], pin=pin)).error is None
    assert four.prune(1).error is None
    assert four.ids() == [IDS[0], IDS[3]]
    [file] = four.directory(IDS[0]).glob("pin-*")
    age(file)
    report = four.prune(1).report
    assert report is not None
    assert report.pruned == (IDS[0],)


@pytest.mark.parametrize("how", ["just begun", "waits for a lock", "makes its manifest", "no note"])
def test_one_that_runs_at_another_site_stays(four: Pod, how: str) -> None:
    """Another Kubernetes cluster has a cluster of the same name on the same volume; it sees no lease of ours."""
    running = four.directory("20261120T000000Z-full")
    running.mkdir()
    for name in {"waits for a lock": ["backup.mbs.zst.part"], "makes its manifest": ["backup.mbs.zst"]}.get(how, []):
        (running / name).write_bytes(b"partial")
    age(running)
    if how == "no note":
        os.utime(running)
    else:
        (running / ".worker").write_text(Worker(site="site-2", run="lease-9").model_dump_json())
        os.utime(running, (0, 0))  # the note alone says it
    before = content(running)
    assert four.prune(1).error is None
    assert content(running) == before
    assert four.backup("20261121T000000Z-full").error is None
    assert content(running) == before
    age(running)
    assert four.prune(1).error is None
    assert not running.exists()


def test_one_of_this_site_that_died_goes_at_once(four: Pod) -> None:
    died = four.directory("20261120T000000Z-full")
    died.mkdir()
    (died / "backup.mbs.zst.part").write_bytes(b"partial")
    (died / ".worker").write_text(Worker(site="site-1", run="lease-9").model_dump_json())
    assert four.prune(1).error is None
    assert not died.exists()


def test_the_same_id_at_two_sites(pod: Pod) -> None:
    """As of two schedules that start in the same second."""
    other = pod.directory()
    other.mkdir(parents=True)
    (other / ".worker").write_text(Worker(site="site-2", run="lease-9").model_dump_json())
    (other / "backup.mbs.zst.part").write_bytes(b"partial")
    (other / "runner.log").write_text("of the other")
    before = content(other)
    kind, message = failure(pod.backup())
    assert kind == "BackupExists"
    assert "at another site" in message
    assert content(other) == before
    assert not (pod.fake / "arguments").exists(), "mariadb-backup never ran"
    age(other)
    assert pod.backup().error is None, "the other one has died"


@pytest.mark.parametrize("site", ["site-1", "site-2"])
def test_scratch_of_a_restore_that_runs_at_another_site_stays(four: Pod, site: str) -> None:
    scratch = four.cluster_directory / ".restore" / "20261122t010000z"
    (scratch / "data").mkdir(parents=True)
    (scratch / ".worker").write_text(Worker(site=site, run="20261122t010000z").model_dump_json())
    assert four.prune(9).error is None
    assert scratch.exists() == (site == "site-2")
    age(four.cluster_directory / ".restore")
    assert four.prune(9).error is None
    assert not scratch.exists()


def test_the_note_is_touched_as_long_as_the_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_work, "_TOUCH_SECONDS", 0.05)
    us, them = Worker(site="a", run="1"), Worker(site="b", run="2")
    with at_work.at_work(tmp_path, us) as alone:
        assert alone
        age(tmp_path)
        wait_for(lambda: at_work.others_work(tmp_path, them, time.time()))
        with at_work.at_work(tmp_path, them) as second:
            assert not second
        with at_work.at_work(tmp_path, us) as again:
            assert again, "another pod of the same run"
    age(tmp_path)
    time.sleep(0.2)
    with at_work.at_work(tmp_path, them) as later:
        assert later


def _note(pod: Pod, backup_id: str, **fields: Any) -> None:
    path = pod.directory(backup_id) / "manifest.json"
    path.write_text(Manifest.model_validate_json(path.read_text()).model_copy(update=fields).model_dump_json())


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
