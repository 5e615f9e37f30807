"""A check changes nothing and tells a damaged backup from a good one."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from galera_backup.models.jobs import CheckJob, InspectJob
from galera_backup.models.volumes import ClaimMarker, Journal, SwapState
from galera_backup.runner.staged.journal import StagedRestore
from galera_backup.runner.volumes import write_marker
from tests.unit.runner.pod import BACKUP_ID, CLUSTER, Pod, content, failure
from tests.unit.runner.staged import volume


def test_without_a_backup_id_only_measures(pod: Pod, claims: list[Path]) -> None:
    report = pod.check(None, claims[0]).report
    assert report is not None
    assert report.manifest is None
    assert report.data_used_kb > 0
    assert report.backup_free_kb > 0


def test_a_volume_of_another_user(pod: Pod, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data volume is mounted read-only in this pod, the backup volume as later pods mount it."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1000)
    monkeypatch.setattr(os, "getegid", lambda: -1)
    monkeypatch.setattr(os, "getgroups", list)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    volume(pod).chmod(0o755)
    report = pod.check(None, data).report
    assert report is not None
    assert (report.volume_writable, report.data_writable, report.backup_writable) == (False, False, True)
    data.chmod(0o777)
    report = pod.run(CheckJob(cluster=CLUSTER, unpacks_backup=True), data).report
    assert report is not None
    assert (report.volume_writable, report.data_writable) == (data == volume(pod), True)
    assert not report.backup_writable
    report = pod.check(None, data / "not/there").report
    assert report is not None
    assert report.data_writable


def test_the_backup_volume_is_mounted_as_it_will_be_used() -> None:
    assert CheckJob(cluster=CLUSTER).needs.backups == "read"
    assert CheckJob(cluster=CLUSTER, unpacks_backup=True).needs.backups == "write"
    assert CheckJob(cluster=CLUSTER, before_backup=True).needs.backups == "write"


def test_a_volume_that_may_not_be_read(pod: Pod, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refusing(path: Path | str) -> Any:
        if Path(path) == data:
            raise PermissionError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    report = pod.check(None, data).report
    assert report is not None
    assert (report.unreadable, report.data_at) == ((".",), ())
    assert report.data_total_kb > 0


@pytest.mark.parametrize("name", [".sst", "#sql-galera-backup.old", ".snapshot/hourly"])
def test_leftovers_are_no_data_directories(pod: Pod, data: Path, name: str) -> None:
    for directory in (data, volume(pod) / name):
        (directory / "mysql").mkdir(parents=True)
        (directory / "mysql" / "db.frm").write_bytes(b"")
    report = pod.check(None, data).report
    assert report is not None
    assert report.data_at == (data.relative_to(volume(pod)).as_posix(),)


def test_flipped_bit(pod: Pod) -> None:
    pod.backup()
    stream = pod.directory() / "backup.mbs.zst"
    damaged = bytearray(stream.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    stream.write_bytes(damaged)
    before = content(pod.root)
    kind, message = failure(pod.check())
    assert kind == "BackupDamaged"
    assert "sha256" in message
    assert content(pod.root) == before


def test_truncated(pod: Pod) -> None:
    pod.backup()
    stream = pod.directory() / "backup.mbs.zst"
    stream.write_bytes(stream.read_bytes()[:-1])
    kind, message = failure(pod.check())
    assert kind == "BackupDamaged"
    assert "expected" in message


def test_unknown_id_names_what_there_is(pod: Pod) -> None:
    pod.backup()
    kind, message = failure(pod.check("20990101T000000Z-full"))
    assert kind == "BackupNotFound"
    assert BACKUP_ID in message


def test_manifest_that_cannot_be_read(pod: Pod) -> None:
    pod.backup()
    (pod.directory() / "manifest.json").write_text("{")
    assert failure(pod.check())[0] == "BackupDamaged"


@pytest.mark.parametrize("version", ["10.11.19", "10.11.20"])
def test_tools_that_fit(pod: Pod, version: str) -> None:
    pod.backup()
    assert pod.check(FAKE_VERSION=version).report is not None


@pytest.mark.parametrize("version", ["10.11.18", "10.6.30", "11.4.20"])
def test_tools_that_do_not_fit(pod: Pod, version: str) -> None:
    pod.backup()
    kind, message = failure(pod.check(FAKE_VERSION=version))
    assert kind == "VersionMismatch"
    assert version in message
    assert "10.11.x with x >= 19" in message


def test_image_without_the_tool(pod: Pod) -> None:
    pod.backup()
    (pod.fake / "bin" / "mariadb-backup").write_text("#!/bin/sh\necho cannot run >&2; exit 1\n")
    kind, message = failure(pod.check())
    assert kind == "RunnerFailed"
    assert "cannot run" in message


def test_image_without_galera(pod: Pod) -> None:
    pod.backup()
    kind, message = failure(pod.check(GALERA_BACKUP_IMAGE=str(pod.fake / "bin")))
    assert kind == "RestoreFailed"
    assert "libgalera_smm.so" in message


def test_what_an_earlier_restore_has_left_incomplete(pod: Pod, data: Path) -> None:
    def left() -> tuple[str, str, str]:
        looked = pod.run(InspectJob(cluster=CLUSTER, restore_id="another")).report
        own = pod.run(InspectJob(cluster=CLUSTER, restore_id="earlier")).report
        checked = pod.check(None).report
        assert looked is not None
        assert own is not None
        assert checked is not None
        return checked.left_incomplete, looked.left_incomplete, own.left_incomplete

    pod.data = data
    assert left() == ("", "", "")
    marker = ClaimMarker(restore_id="earlier", backup_id=BACKUP_ID, state="restoring", at=datetime.now(UTC))
    write_marker(data, marker)
    assert left() == ("restore earlier has not finished it",) * 2 + ("",)
    write_marker(data, marker.model_copy(update={"state": "restored"}))
    assert left() == ("", "", "")
    restore = StagedRestore(volume(pod), "earlier")
    journal = Journal(restore_id="earlier", backup_id=BACKUP_ID, state=SwapState.IN, at=datetime.now(UTC))
    restore.directory.parent.mkdir()
    restore.write(journal)
    assert left() == ("restore earlier: moving the staged data in",) * 2 + ("",)
    restore.write(journal.model_copy(update={"state": SwapState.SWAPPED}))
    assert left() == ("", "", "")
