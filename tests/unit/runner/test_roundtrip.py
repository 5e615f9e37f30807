"""What was backed up is what a restore leaves, on each claim, however often a pod runs."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import pytest

from galera_backup.models.jobs import ListJob
from galera_backup.models.manifest import Manifest
from galera_backup.models.reports import ListReport
from galera_backup.runner import backup
from galera_backup.runner.volumes import read_marker
from tests.unit.runner.pod import BACKUP_ID, CLUSTER, UUID, Pod, content, failure


def _live(pod: Pod) -> dict[str, bytes]:
    return {name: data for name, data in content(pod.data).items() if name not in ("galera.cache", "gvwstate.dat")}


def _restored(claim: Path) -> dict[str, bytes]:
    ours = ("grastate.dat", ".galera-backup-restore.json", "ib_logfile0")
    return {name: data for name, data in content(claim).items() if name not in ours}


def test_backup_check_and_restore_of_three_claims(pod: Pod, claims: list[Path]) -> None:
    manifest = pod.backup().report
    assert manifest is not None
    assert pod.script_status == 0
    assert str(manifest.position) == f"{UUID}:18"
    assert manifest.position.domain_id == 100
    assert (manifest.lsn.from_lsn, manifest.lsn.to_lsn, manifest.lsn.last_lsn) == (0, 511392902, 577120878)
    assert manifest.stored_bytes == (pod.directory() / "backup.mbs.zst").stat().st_size
    assert manifest.data_bytes < 8_200_000, "without galera.cache"
    log = (pod.directory() / "runner.log").read_text()
    assert "INFO space:" in log
    assert "completed OK!" in log

    report = pod.check(data=claims[0]).report
    assert report is not None
    assert report.manifest == manifest
    assert read_marker(claims[0]) is None
    assert report.data_total_kb >= report.data_free_kb > 0

    for ordinal, claim in enumerate(claims):
        restored = pod.restore(claim, ordinal, last=ordinal == 2).report
        assert restored is not None
        assert (restored.unpack_seconds > 0) == (ordinal == 0), "only the first claim unpacks"
        assert pod.script_status == 0
        assert _restored(claim) == _live(pod)
        assert (claim / "lost+found").is_dir()
        assert (claim / "grastate.dat").read_text() == (
            f"# GALERA saved state\nversion: 2.1\nuuid:    {UUID}\nseqno:   18\n"
            f"safe_to_bootstrap: {int(ordinal == 0)}\n"
        )
        marker = read_marker(claim)
        assert marker is not None
        assert (marker.restore_id, marker.backup_id, marker.state) == ("galera-restore/1", BACKUP_ID, "restored")
        assert (pod.directory() / f"restore-galera-restore_1-{ordinal}.log").exists()
    assert list((pod.cluster_directory / ".restore").iterdir()) == []
    assert stat.S_IMODE((claims[1] / "nova" / "instances.ibd").stat().st_mode) == 0o660
    assert stat.S_IMODE((claims[1] / "nova").stat().st_mode) == 0o700


def test_tool_files_named_as_from_11_4_on(pod: Pod) -> None:
    assert pod.backup(FAKE_PREFIX="mariadb_backup_").error is None


def test_backup_started_again_recognises_its_own_work(pod: Pod) -> None:
    first = pod.backup().report
    before = content(pod.directory())
    assert pod.backup().report == first
    assert pod.script_status == 0
    assert content(pod.directory()) == before


def test_backup_of_another_run_is_not_touched(pod: Pod) -> None:
    pod.backup()
    before = content(pod.directory())
    kind, message = failure(pod.backup(lease="lease-2"))
    assert kind == "BackupExists"
    assert "'lease-1'" in message
    assert "'lease-2'" in message
    assert content(pod.directory()) == before


def test_restored_claim_is_left_alone(pod: Pod, claims: list[Path]) -> None:
    pod.backup()
    pod.restore(claims[0])
    (claims[0] / "ibdata1").write_bytes(b"written by a server that runs on it")
    before = content(claims[0])
    result = pod.restore(claims[0]).report
    assert result is not None
    assert result.copy_seconds == 0
    assert content(claims[0]) == before


def test_next_restore_replaces_what_an_earlier_one_left(pod: Pod, claims: list[Path]) -> None:
    pod.backup()
    pod.restore(claims[0])
    (claims[0] / "nova" / "new.ibd").write_bytes(b"new")
    assert pod.restore(claims[0], restore_id="galera-restore/2").error is None
    assert _restored(claims[0]) == _live(pod)
    assert [path.name for path in (pod.cluster_directory / ".restore").iterdir()] == ["galera-restore_2"]


def test_bootstrap_position_is_the_one_that_innodb_recovered(pod: Pod, claims: list[Path]) -> None:
    """As after CREATE TABLE ... SELECT; with the server's own a joiner fails: 'IST started with wrong seqno'."""
    pod.backup()
    for ordinal in (0, 1):
        assert pod.restore(claims[ordinal], ordinal, FAKE_RECOVERED=f"{UUID}:17").error is None
        assert "seqno:   17\n" in (claims[ordinal] / "grastate.dat").read_text()


def test_list_prints_complete_backups_only(pod: Pod, capfd: pytest.CaptureFixture[str]) -> None:
    pod.backup("20261121T010000Z-full")
    pod.backup("20261122T010000Z-full")
    pod.backup("20261123T010000Z-full", FAKE_FAULT="status")
    capfd.readouterr()
    assert pod.run(ListJob(cluster=CLUSTER)).report == ListReport(count=2)
    lines = capfd.readouterr().out.splitlines()
    ids = [Manifest.model_validate(json.loads(line)["backup"]).backup_id for line in lines]
    assert ids == ["20261121T010000Z-full", "20261122T010000Z-full"]


def test_the_stream_is_not_slowed_down_while_the_tool_holds_up_its_server(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "MB_PER_SECOND_AND_PROCESSOR", 0.001)
    tool = pod.fake / "bin" / "mariadb-backup"
    said = 'echo "[00] 2026-11-30 07:39:14 Started BACKUP STAGE BLOCK_DDL" >&2; cat "$FAKE/stream"'
    tool.write_text(tool.read_text().replace('cat "$FAKE/stream"', said))
    began = time.monotonic()
    assert pod.backup().error is None
    assert time.monotonic() - began < 30, "8 MB at 1 kB/s for each processor"


def test_a_database_that_is_named_as_files_of_the_tool(pod: Pod, claims: list[Path]) -> None:
    """Only files at the top of a backup are the tool's own."""
    (pod.data / "mariadb_backup_monitor").mkdir()
    (pod.data / "mariadb_backup_monitor" / "t.frm").write_bytes(b"rows")
    assert pod.backup().error is None
    assert pod.restore(claims[0]).error is None
    assert (claims[0] / "mariadb_backup_monitor" / "t.frm").read_bytes() == b"rows"
    assert not (claims[0] / "xtrabackup_galera_info").exists()
