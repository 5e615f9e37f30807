"""A restore that failed says whether the data directory was touched, and works when it is run again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from galera_backup.runner import datadir
from galera_backup.runner.volumes import read_marker
from tests.unit.runner.pod import UUID, Pod, content, failure


@pytest.fixture
def claim(pod: Pod, claims: list[Path]) -> Path:
    """The first data volume, when there is a backup."""
    assert pod.backup().error is None
    return claims[0]


def _flip_a_bit(pod: Pod) -> None:
    stream = pod.directory() / "backup.mbs.zst"
    damaged = bytearray(stream.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    stream.write_bytes(damaged)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("FAKE_FAULT", "mbstream", "No space left on device"),
        ("FAKE_FAULT", "mbstream_late", "mbstream's exit status is 1"),
        ("FAKE_FAULT", "prepare", "InnoDB: corrupted"),
        ("FAKE_FAULT", "unprepared", "backup_type is 'full-backuped'"),
        ("FAKE_RECOVERED", f"{UUID}:19", "expected"),
        ("FAKE_RECOVERED", f"{UUID.replace('0', '1')}:18", "expected"),
    ],
)
def test_failure_before_the_copy_touches_nothing(pod: Pod, claim: Path, variable: str, value: str, says: str) -> None:
    before = content(claim)
    healthy = dict(pod.environment)
    pod.environment[variable] = value
    kind, message = failure(pod.restore(claim))
    assert kind == "RestoreFailed"
    assert says in message
    assert content(claim) == before
    pod.environment = healthy
    assert pod.restore(claim).error is None, "run again, from a fresh unpack"


def test_damaged_stream_touches_nothing(pod: Pod, claim: Path) -> None:
    _flip_a_bit(pod)
    before = content(claim)
    assert failure(pod.restore(claim))[0] == "BackupDamaged"
    assert content(claim) == before
    assert "--prepare" not in (pod.fake / "arguments").read_text()


def test_killed_while_unpacking(pod: Pod, claim: Path) -> None:
    half = pod.cluster_directory / ".restore" / "galera-restore_1" / "data"
    (half / "nova").mkdir(parents=True)
    (half / "nova" / "not_in_the_backup.ibd").write_bytes(b"half")
    assert pod.restore(claim).error is None
    assert not (claim / "nova" / "not_in_the_backup.ibd").exists()
    assert (claim / "nova" / "instances.ibd").exists()


def test_killed_while_copying(pod: Pod, claim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(source: Path, data_directory: Path, stays: object, every: object) -> int:
        (data_directory / "ibdata1").write_bytes(b"half a file")
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(datadir, "copy", dies)
        kind, message = failure(pod.restore(claim))
    assert kind == "RestoreFailed"
    assert "marked as 'restoring'" in message
    marker = read_marker(claim)
    assert marker is not None
    assert marker.state == "restoring"
    result = pod.restore(claim).report
    assert result is not None
    assert result.unpack_seconds == 0, "what is prepared is not unpacked again"
    assert (claim / "ibdata1").read_bytes() == (pod.data / "ibdata1").read_bytes()


def test_old_data_that_cannot_be_removed_is_left_aside(pod: Pod, claim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the files in a directory of root, deep in one of ours: found only by trying."""
    stuck = claim / "old_database" / "of_root" / "stuck"
    stuck.parent.mkdir()
    stuck.write_bytes(b"root")
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == "stuck":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        real(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        for restore_id in ("first", "second"):
            assert pod.restore(claim, restore_id=restore_id).error is None
    aside = claim / datadir.ASIDE
    assert content(aside) == {"old_database/of_root/stuck": b"root"}
    assert (claim / "ibdata1").read_bytes() == (pod.data / "ibdata1").read_bytes()
    report = pod.check(None, claim).report
    assert report is not None
    assert (report.data_at, report.in_the_way) == ((), ())
    (claim / "old_database").mkdir()
    assert pod.restore(claim, restore_id="third").error is None
    assert not aside.exists()


def test_an_error_that_is_no_refusal_ends_the_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / datadir.ASIDE).mkdir()
    (tmp_path / datadir.ASIDE / "ibdata1").write_bytes(b"")

    def broken(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "unlink", broken)
    with pytest.raises(OSError, match="Input/output"):
        datadir.wipe(tmp_path)


def test_what_is_left_aside_and_new_data_may_have_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / datadir.ASIDE / "nova"
    left.mkdir(parents=True)
    (left / "stuck").write_bytes(b"root")
    (tmp_path / "nova").mkdir()
    (tmp_path / "nova" / "t.ibd").write_bytes(b"new")
    (tmp_path / "zabbix").mkdir()
    before = content(tmp_path)
    real = os.rename

    def one_refuses(source: Path, target: Path) -> None:
        if source.name == "zabbix":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", one_refuses)
        with pytest.raises(PermissionError):
            datadir.set_aside(tmp_path, ())
    assert content(tmp_path) == before
    datadir.set_aside(tmp_path, ())
    assert content(tmp_path / datadir.ASIDE) == {"nova/stuck": b"root", "nova.1/t.ibd": b"new"}


def test_prepared_directory_that_is_not_whole_is_made_again(pod: Pod, claim: Path) -> None:
    pod.restore(claim)
    (pod.cluster_directory / ".restore" / "galera-restore_1" / "data" / "ibdata1").write_bytes(b"short")
    (claim / ".galera-backup-restore.json").unlink()
    result = pod.restore(claim).report
    assert result is not None
    assert result.unpack_seconds > 0
    assert (claim / "ibdata1").read_bytes() == (pod.data / "ibdata1").read_bytes()


def test_copy_that_lost_a_byte_is_noticed(pod: Pod, claim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.sendfile

    def short(out: int, source: int, offset: int, count: int) -> int:
        return real(out, source, offset, 99_999) if os.fstat(out).st_size < 99_999 else 0

    monkeypatch.setattr(os, "sendfile", short)
    kind, message = failure(pod.restore(claim))
    assert kind == "RestoreFailed"
    assert "ended at byte 99999, expected" in message
    marker = read_marker(claim)
    assert marker is not None
    assert marker.state == "restoring"


def test_data_volume_too_small(pod: Pod, claim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datadir, "free_kb", lambda path: 1)
    before = content(claim)
    kind, message = failure(pod.restore(claim))
    assert kind == "NotEnoughSpace"
    assert "Nothing was changed" in message
    assert content(claim) == before


def test_last_removes_what_was_unpacked_even_when_its_claim_was_done(pod: Pod, claim: Path) -> None:
    pod.restore(claim)
    assert list((pod.cluster_directory / ".restore").iterdir())
    assert pod.restore(claim, last=True).error is None
    assert list((pod.cluster_directory / ".restore").iterdir()) == []
