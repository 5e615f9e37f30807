"""A check changes nothing and tells a damaged backup from a good one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from galera_backup.models.jobs import InspectJob
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
