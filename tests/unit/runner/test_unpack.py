"""What a rolling restore makes ready on the backup volume while the cluster serves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from galera_backup.runner import prepare
from tests.unit.runner.pod import Pod, content, failure

RESTORE = "galera-restore_1"


@pytest.fixture(autouse=True)
def a_backup(pod: Pod) -> None:
    assert pod.backup().error is None


def _unpacked(pod: Pod) -> Path:
    return pod.cluster_directory / ".restore" / RESTORE


def test_what_is_unpacked_is_only_copied(pod: Pod, claims: list[Path]) -> None:
    report = pod.unpack().report
    assert report is not None
    assert report.unpack_seconds > 0
    assert report.prepared_bytes > 0
    assert (_unpacked(pod) / ".prepared").exists()
    assert "unpack" in (pod.directory() / f"restore-{RESTORE}-unpack.log").read_text()
    for ordinal, claim in enumerate(claims):
        restored = pod.restore(claim, ordinal, last=ordinal == len(claims) - 1).report
        assert restored is not None
        assert (restored.unpack_seconds, restored.prepare_seconds) == (0, 0)
    assert not _unpacked(pod).exists()


@pytest.mark.parametrize(
    ("file", "limit", "mebibytes"),
    [
        ("memory.max", "max", 512),
        ("memory.max", str(4 << 30), 512),
        ("memory.max", str(256 << 20), 128),
        ("memory/memory.limit_in_bytes", str(600 << 20), 300),
        ("memory/memory.limit_in_bytes", "9223372036854771712", 512),
    ],
)
def test_prepares_within_the_memory_of_its_container(
    pod: Pod, tmp_path: Path, file: str, limit: str, mebibytes: int
) -> None:
    path = tmp_path / "cgroup" / file
    path.parent.mkdir(parents=True)
    path.write_text(f"{limit}\n")
    assert pod.unpack(CGROUP=str(tmp_path / "cgroup")).error is None
    assert f"--use-memory={mebibytes}M" in (pod.fake / "arguments").read_text()


def test_touches_no_data_directory(pod: Pod) -> None:
    before = content(pod.data)
    assert pod.unpack().error is None
    assert content(pod.data) == before


def test_a_second_time_there_is_nothing_to_do(pod: Pod) -> None:
    first, second = pod.unpack().report, pod.unpack().report
    assert first is not None
    assert second is not None
    assert (second.unpack_seconds, second.prepare_seconds) == (0, 0)
    assert second.prepared_bytes == first.prepared_bytes


@pytest.mark.parametrize("fault", ["mbstream_late", "prepare"])
def test_half_of_it_is_never_continued(pod: Pod, fault: str) -> None:
    assert failure(pod.unpack(FAKE_FAULT=fault))[0] == "RestoreFailed"
    assert not (_unpacked(pod) / ".prepared").exists()
    report = pod.unpack().report
    assert report is not None
    assert report.unpack_seconds > 0


def test_no_room(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "free_kb", lambda path: 10)
    kind, message = failure(pod.unpack())
    assert kind == "NotEnoughSpace"
    assert "the backup volume has 10 KB free" in message


def test_what_was_lost_is_unpacked_by_the_copy(pod: Pod, claims: list[Path]) -> None:
    pod.unpack()
    shutil.rmtree(_unpacked(pod))
    restored = pod.restore(claims[1], 1).report
    assert restored is not None
    assert restored.unpack_seconds > 0


def test_discard(pod: Pod) -> None:
    assert pod.discard().error is None, "nothing there"
    pod.unpack("an-older-one")
    pod.unpack()
    assert [path.name for path in _unpacked(pod).parent.iterdir()] == [RESTORE], "one restore at a time"
    assert pod.discard(keep="galera-restore/1").error is None
    assert (_unpacked(pod) / ".prepared").exists()
    assert pod.discard().error is None
    assert not _unpacked(pod).exists()
    assert pod.directory().exists()


def test_passwords_are_compared_once(pod: Pod) -> None:
    """A pod that comes after finds the backup prepared, and runs no server."""
    different = {"FAKE_REPORT": "asked 6261636B7570\\ndifferent 6261636B7570 25\\nend"}
    first, second = pod.unpack(**different).report, pod.unpack(**different).report
    assert first is not None
    assert first.passwords is not None
    assert first.passwords.different == ("'backup'@'%'",)
    assert second is not None
    assert second.passwords == first.passwords
    assert len((pod.fake / "server_arguments").read_text().splitlines()) == 1
