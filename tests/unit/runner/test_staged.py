"""A staged restore on one data volume: staged, swapped in and back, tidied."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest

from galera_backup.models.volumes import SwapState
from galera_backup.runner import prepare
from galera_backup.runner.staged import journal as journal_module
from galera_backup.runner.staged.journal import StagedRestore
from galera_backup.runner.volumes import MARKER, used_kb
from tests.unit.runner.pod import BACKUP_ID, UUID, Pod, content, failure
from tests.unit.runner.staged import (
    HIDDEN,
    RESERVE_KB,
    RESTORE,
    TOTAL_KB,
    copy,
    crashes,
    inspect,
    journal_of,
    live_files,
    names_in,
    server_writes,
    state_of,
    swapped_to,
    volume,
    works,
)

pytestmark = pytest.mark.usefixtures("volume_size")


def test_stage_swap_back_and_tidy(pod: Pod, data: Path) -> None:
    old = live_files(data)
    report = works(pod.stage(data))
    assert report.unpack_seconds > 0
    assert live_files(data) == old, "the server goes on"
    journal = journal_of(pod)
    assert journal is not None
    assert (journal.state, journal.backup_id, str(journal.position)) == (SwapState.STAGED, BACKUP_ID, f"{UUID}:18")
    assert journal.bytes == report.staged_bytes
    restore = StagedRestore(volume(pod), RESTORE)
    expected = live_files(restore.staged)
    assert expected[1]["nova/t.ibd"] == b"backup of nova"
    assert b"seqno:   18\nsafe_to_bootstrap: 1\n" in expected[1]["grastate.dat"]
    assert not {name for name in expected[0] if "backup" in name}, "the tool's own files are gone"
    assert (restore.staged / "nova").stat().st_mode & 0o777 == 0o700
    assert {(restore.staged / name).stat().st_mode & 0o777 for name in expected[1]} == {0o660}

    assert swapped_to(pod, data, "in") == SwapState.SWAPPED
    found = {name for name in old[0] if name.startswith("lost+found")}
    assert live_files(data)[0] == expected[0] | found | {MARKER}
    assert swapped_to(pod, data, "in") == SwapState.SWAPPED, "again, from SWAPPED"
    server_writes(data)
    assert swapped_to(pod, data, "back") == SwapState.RETURNED
    assert swapped_to(pod, data, "back") == SwapState.RETURNED
    assert live_files(data) == old
    works(pod.tidy(data))
    assert not (volume(pod) / HIDDEN).exists()
    assert live_files(data) == old


def test_stage_swap_and_tidy_removes_the_old_data(pod: Pod, data: Path) -> None:
    pod.stage(data, ordinal=1)
    pod.swap(data, "in")
    swapped = live_files(data)
    assert b"safe_to_bootstrap: 0\n" in swapped[1]["grastate.dat"]
    works(pod.tidy(data))
    assert live_files(data) == swapped
    assert not (volume(pod) / HIDDEN).exists()
    assert failure(pod.swap(data, "back"))[0] == "RestoreFailed", "what is removed cannot come back"
    assert live_files(data) == swapped
    assert not (volume(pod) / HIDDEN).exists()


def test_empty_data_directory(pod: Pod, data: Path) -> None:
    for name in ("nova", "only_old", "ibdata1", "galera.cache"):
        path = data / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    pod.stage(data)
    assert swapped_to(pod, data, "in") == SwapState.SWAPPED
    assert swapped_to(pod, data, "back") == SwapState.RETURNED
    assert not (data / "ibdata1").exists()


def test_staged_data_does_not_count_as_used(pod: Pod, data: Path) -> None:
    before = used_kb(data)
    pod.stage(data)
    assert used_kb(data) == before
    assert works(pod.check(None, data)).data_used_kb == before


# --- staging


def test_stage_twice(pod: Pod, data: Path) -> None:
    first = works(pod.stage(data))
    before = content(volume(pod))
    second = works(pod.stage(data))
    assert (second.unpack_seconds, second.staged_bytes) == (0, first.staged_bytes)
    assert pod.script_status == 0
    assert content(volume(pod)) == before


def test_stage_that_is_not_whole_is_made_again(pod: Pod, data: Path) -> None:
    pod.stage(data)
    staged_data = StagedRestore(volume(pod), RESTORE).staged
    (staged_data / "ibdata1").write_bytes(b"short")
    (staged_data / "half").write_bytes(b"half")
    report = works(pod.stage(data))
    assert report.unpack_seconds > 0
    assert not (staged_data / "half").exists()
    assert inspect(pod, data).staged_whole


@pytest.mark.parametrize("fault", ["mbstream", "mbstream_late", "prepare", "unprepared"])
def test_failed_stage_takes_no_room(pod: Pod, data: Path, fault: str) -> None:
    before = content(volume(pod))
    pod.environment["FAKE_FAULT"] = fault
    assert failure(pod.stage(data))[0] == "RestoreFailed"
    assert content(volume(pod)) == before
    assert not (volume(pod) / HIDDEN).exists()


def test_too_little_room(pod: Pod, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "free_kb", lambda path: RESERVE_KB + 64 * 1024)
    kind, message = failure(pod.stage(data))
    assert kind == "NotEnoughSpace"
    assert "KB are missing" in message
    assert "in_place" in message
    assert not (volume(pod) / HIDDEN).exists()


def test_reserve_is_watched_while_it_unpacks(pod: Pod, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([TOTAL_KB // 2, RESERVE_KB // 2])
    seen = []

    def free_kb(path: Path) -> int:
        seen.append(state_of(pod))
        return next(answers, RESERVE_KB // 2 - 1)

    monkeypatch.setattr(prepare, "free_kb", free_kb)
    kind, message = failure(pod.stage(data))
    assert kind == "NotEnoughSpace"
    assert "in_place" in message
    assert len(seen) == 3
    assert seen[-1] == SwapState.STAGING
    assert not (volume(pod) / HIDDEN).exists()


def test_killed_stage_is_made_again_or_tidied(pod: Pod, data: Path) -> None:
    old = live_files(data)
    pod.stage(data)
    restore = StagedRestore(volume(pod), RESTORE)
    journal = journal_of(pod)
    assert journal is not None
    restore.write(journal.model_copy(update={"state": SwapState.STAGING, "files": 0, "bytes": 0}))
    assert failure(pod.swap(data, "in"))[0] == "RestoreFailed"
    assert swapped_to(pod, data, "back") == SwapState.STAGING
    works(pod.stage(data))
    assert state_of(pod) == SwapState.STAGED
    works(pod.tidy(data))
    assert live_files(data) == old


# --- tidy and lock


def test_tidy_removes_the_others_before_it_refuses(pod: Pod, data: Path) -> None:
    for restore_id in (RESTORE, "other", "third"):
        works(pod.stage(data, restore_id=restore_id))
    for _ in crashes(pod, lambda: pod.swap(data, "in"), copy(pod, "staged")):
        if state_of(pod) == SwapState.OUT:
            break
    (volume(pod) / HIDDEN / "no_journal" / "staged").mkdir(parents=True)
    kind, message = failure(pod.tidy(data, keep="third"))
    assert kind == "RestoreFailed"
    assert "'galera-restore_1' (moving the previous data out)" in message
    left = {path.name for path in (volume(pod) / HIDDEN).iterdir()}
    assert left == {"galera-restore_1", "third", "lock"}
    works(pod.tidy(data, keep=RESTORE))
    assert {path.name for path in (volume(pod) / HIDDEN).iterdir()} == {"galera-restore_1", "lock"}


def test_tidy_of_nothing(pod: Pod, data: Path) -> None:
    before = names_in(volume(pod))
    works(pod.tidy(data))
    assert names_in(volume(pod)) == before


def test_two_at_once(pod: Pod, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "LOCK_WAIT_SECONDS", 0.3)
    old = live_files(data)
    pod.stage(data)
    with journal_module.locked(volume(pod)):
        for result in (pod.swap(data, "in"), pod.stage(data), pod.tidy(data)):
            kind, message = failure(result)
            assert kind == "RunnerFailed"
            assert "another runner pod" in message
        assert live_files(data) == old
    assert swapped_to(pod, data, "in") == SwapState.SWAPPED


def test_lock_of_a_removed_file_is_not_one(pod: Pod, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waited while another one tidied must not work beside the one that came after."""
    real = fcntl.flock
    path = volume(pod) / HIDDEN / "lock"
    calls = []

    def flock(descriptor: int, operation: int) -> None:
        calls.append(operation)
        if len(calls) == 1:  # opened, and tidied before it is locked
            path.unlink()
            path.parent.rmdir()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with journal_module.locked(volume(pod)):
        assert len(calls) == 2
        assert path.exists()
    assert not path.parent.exists()


def test_restore_in_place_removes_what_is_staged(pod: Pod, data: Path) -> None:
    pod.stage(data)
    works(pod.restore(data))
    assert (data / "ibdata1").read_bytes() == b"backup"
    assert (data / ".galera-backup-restore.json").exists()
    assert (volume(pod) / HIDDEN).exists() == (data != volume(pod)), "it knows the data directory only"
