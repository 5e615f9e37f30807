"""A staged restore on one data volume: from a crash anywhere it goes on, or back, and nothing is ever lost."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from galera_backup.models.jobs import Inspection, InspectJob
from galera_backup.models.runner import RunnerResult
from galera_backup.models.volumes import Journal, SwapState
from galera_backup.runner import prepare
from galera_backup.runner.staged import journal as journal_module
from galera_backup.runner.staged import stage as stage_module
from galera_backup.runner.staged.journal import StagedRestore
from galera_backup.runner.volumes import MARKER, used_kb
from tests.unit.runner.pod import BACKUP_ID, CLUSTER, UUID, Pod, Report, content, failure

RESTORE = "galera-restore/1"
HIDDEN = ".galera-backup"
Direction = Literal["in", "back"]
TOTAL_KB, RESERVE_KB = 1_000_000, 100_000


class Crash(BaseException):
    """The process is killed: nothing catches it."""


@pytest.fixture(autouse=True)
def volume_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume with room, whatever the machine has."""
    monkeypatch.setattr(stage_module, "total_kb", lambda path: TOTAL_KB)
    monkeypatch.setattr(prepare, "free_kb", lambda path: TOTAL_KB // 2)


def _volume(pod: Pod) -> Path:
    assert pod.volume is not None
    return pod.volume


def _journal(pod: Pod) -> Journal | None:
    return StagedRestore(_volume(pod), RESTORE).journal()


def _state(pod: Pod) -> SwapState | None:
    journal = _journal(pod)
    return journal.state if journal else None


def _names(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*")}


def _live(data: Path) -> tuple[set[str], dict[str, bytes]]:
    """All that a server would see, empty directories too; of the marker not its time."""
    names = {name for name in _names(data) if name.partition("/")[0] != HIDDEN}
    files = {name: text for name, text in content(data).items() if name in names}
    return names, files | ({MARKER: b""} if MARKER in files else {})


def _works(result: RunnerResult[Report]) -> Report:
    assert result.report is not None, result.error
    return result.report


def _swapped_to(pod: Pod, data: Path, direction: Direction) -> SwapState | None:
    return _works(pod.swap(data, direction)).state


def _server_writes(data: Path) -> None:
    (data / "galera.cache").write_bytes(b"new cache")
    (data / "made_by_the_server").mkdir()
    (data / "made_by_the_server" / "t.ibd").write_bytes(b"new")
    (data / "ibdata1").write_bytes(b"changed")


def _inspect(pod: Pod, data: Path) -> Inspection:
    return _works(pod.run(InspectJob(cluster=CLUSTER, restore_id=RESTORE), data))


class _Crashing:
    """Kills at the nth system call that changes a name; `calls` is how many there were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.calls = 0
        self._at = at
        for name in ("rename", "unlink", "rmdir", "mkdir"):
            monkeypatch.setattr(os, name, self._wrapped(getattr(os, name)))

    def _wrapped(self, real: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object, **options: object) -> None:
            self.calls += 1
            if self.calls >= self._at:  # a dead process makes no further call, in no `finally` either
                raise Crash
            real(*arguments, **options)

        return call


def _crashes(pod: Pod, work: Callable[[], object], before: Path) -> Iterator[int]:
    """For every n: the volume as it was `before`, and `work` killed at its nth call. Ends when it is not killed."""
    for nth in itertools.count(1):
        shutil.rmtree(_volume(pod))
        shutil.copytree(before, _volume(pod))
        (pod.root.parent / "runs").mkdir(exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            pod.places()  # a pod's own mounts are made by the kubelet
            crashing = _Crashing(patch, nth)
            patch.setattr(Pod, "places", _ready_places(pod))
            try:
                work()
            except Crash:
                pass
            else:
                assert crashing.calls < nth
                assert nth > 3, "there was something to kill"
                return
        yield nth


def _ready_places(pod: Pod) -> Callable[..., object]:
    real = type(pod).places
    runs = pod.runs - 1

    def places(self: Pod, data: Path | None = None) -> object:
        self.runs = runs
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "mkdir", lambda *arguments, **options: None)
            return real(self, data)

    return places


def _copy(pod: Pod, name: str) -> Path:
    return Path(shutil.copytree(_volume(pod), pod.root.parent / name))


# --- the way that nothing disturbs


def test_stage_swap_back_and_tidy(pod: Pod, data: Path) -> None:
    old = _live(data)
    report = _works(pod.stage(data))
    assert report.unpack_seconds > 0
    assert _live(data) == old, "the server goes on"
    journal = _journal(pod)
    assert journal is not None
    assert (journal.state, journal.backup_id, str(journal.position)) == (SwapState.STAGED, BACKUP_ID, f"{UUID}:18")
    assert journal.bytes == report.staged_bytes
    restore = StagedRestore(_volume(pod), RESTORE)
    expected = _live(restore.staged)
    assert expected[1]["nova/t.ibd"] == b"backup of nova"
    assert b"seqno:   18\nsafe_to_bootstrap: 1\n" in expected[1]["grastate.dat"]
    assert not {name for name in expected[0] if "backup" in name}, "the tool's own files are gone"
    assert (restore.staged / "nova").stat().st_mode & 0o777 == 0o700
    assert {(restore.staged / name).stat().st_mode & 0o777 for name in expected[1]} == {0o660}

    assert _swapped_to(pod, data, "in") == SwapState.SWAPPED
    found = {name for name in old[0] if name.startswith("lost+found")}
    assert _live(data)[0] == expected[0] | found | {MARKER}
    assert _swapped_to(pod, data, "in") == SwapState.SWAPPED, "again, from SWAPPED"
    _server_writes(data)
    assert _swapped_to(pod, data, "back") == SwapState.RETURNED
    assert _swapped_to(pod, data, "back") == SwapState.RETURNED
    assert _live(data) == old
    _works(pod.tidy(data))
    assert not (_volume(pod) / HIDDEN).exists()
    assert _live(data) == old


def test_stage_swap_and_tidy_removes_the_old_data(pod: Pod, data: Path) -> None:
    pod.stage(data, ordinal=1)
    pod.swap(data, "in")
    swapped = _live(data)
    assert b"safe_to_bootstrap: 0\n" in swapped[1]["grastate.dat"]
    _works(pod.tidy(data))
    assert _live(data) == swapped
    assert not (_volume(pod) / HIDDEN).exists()
    assert failure(pod.swap(data, "back"))[0] == "RestoreFailed", "what is removed cannot come back"
    assert _live(data) == swapped
    assert not (_volume(pod) / HIDDEN).exists()


def test_empty_data_directory(pod: Pod, data: Path) -> None:
    for name in ("nova", "only_old", "ibdata1", "galera.cache"):
        path = data / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    pod.stage(data)
    assert _swapped_to(pod, data, "in") == SwapState.SWAPPED
    assert _swapped_to(pod, data, "back") == SwapState.RETURNED
    assert not (data / "ibdata1").exists()


def test_staged_data_does_not_count_as_used(pod: Pod, data: Path) -> None:
    before = used_kb(data)
    pod.stage(data)
    assert used_kb(data) == before
    assert _works(pod.check(None, data)).data_used_kb == before


# --- crashes


def test_crash_anywhere_in_a_swap_in(pod: Pod, data: Path) -> None:
    old = _live(data)
    pod.stage(data)
    before = _copy(pod, "staged")
    pod.swap(data, "in")
    expected = _live(data)
    states = set()
    for nth in _crashes(pod, lambda: pod.swap(data, "in"), before):
        states.add(_state(pod))
        half = _copy(pod, f"half-{nth}")
        assert _swapped_to(pod, data, "in") == SwapState.SWAPPED
        assert _live(data) == expected, nth
        shutil.rmtree(_volume(pod))
        shutil.copytree(half, _volume(pod))
        assert _swapped_to(pod, data, "back") in (SwapState.STAGED, SwapState.RETURNED)
        assert _live(data) == old, nth
        _works(pod.tidy(data))
        assert not (_volume(pod) / HIDDEN).exists()
    assert states == {SwapState.STAGED, SwapState.OUT, SwapState.IN}


def test_crash_anywhere_in_a_swap_back(pod: Pod, data: Path) -> None:
    old = _live(data)
    pod.stage(data)
    pod.swap(data, "in")
    _server_writes(data)
    restored = _live(data)
    before = _copy(pod, "swapped")
    states = set()
    for nth in _crashes(pod, lambda: pod.swap(data, "back"), before):
        state = _state(pod)
        states.add(state)
        if state == SwapState.SWAPPED:
            assert _live(data) == restored
        else:
            assert failure(pod.swap(data, "in"))[0] == "RestoreFailed", "a late pod"
            assert failure(pod.stage(data))[0] == "RestoreFailed"
            assert failure(pod.tidy(data))[0] == "RestoreFailed"
        assert _swapped_to(pod, data, "back") == SwapState.RETURNED
        assert _live(data) == old, nth
    assert states == {SwapState.SWAPPED, SwapState.BACK_OUT, SwapState.BACK_IN}


@pytest.mark.parametrize("stop", range(4, 14, 3))
def test_crash_anywhere_in_a_swap_back_from_half_a_swap_in(pod: Pod, data: Path, stop: int) -> None:
    old = _live(data)
    pod.stage(data)
    for nth in _crashes(pod, lambda: pod.swap(data, "in"), _copy(pod, "staged")):
        if nth == stop:
            break
    before = _copy(pod, "half")
    assert _state(pod) in (SwapState.OUT, SwapState.IN)
    for nth in _crashes(pod, lambda: pod.swap(data, "back"), before):
        assert _swapped_to(pod, data, "back") == SwapState.RETURNED
        assert _live(data) == old, nth


@pytest.mark.parametrize("direction", ["none", "in", "back"])
def test_crash_anywhere_in_a_tidy(pod: Pod, data: Path, direction: str) -> None:
    pod.stage(data)
    if direction != "none":
        pod.swap(data, "in")
    if direction == "back":
        pod.swap(data, "back")
    live = _live(data)
    for nth in _crashes(pod, lambda: pod.tidy(data), _copy(pod, "before")):
        half = _copy(pod, f"half-{nth}")
        if not (_volume(pod) / HIDDEN / "galera-restore_1").exists():
            assert failure(pod.swap(data, "in"))[0] == "RestoreFailed"
            assert failure(pod.swap(data, "back"))[0] == "RestoreFailed"
            assert _live(data) == live
        shutil.rmtree(_volume(pod))
        shutil.copytree(half, _volume(pod))
        _works(pod.tidy(data))
        assert _live(data) == live
        assert not (_volume(pod) / HIDDEN).exists()


# --- refusals


def test_swap_in_needs_staged_data_that_is_whole(pod: Pod, data: Path) -> None:
    old = _live(data)
    kind, message = failure(pod.swap(data, "in"))
    assert kind == "RestoreFailed"
    assert "an SST has wiped it" in message
    assert not (_volume(pod) / HIDDEN).exists()
    pod.stage(data)
    assert _inspect(pod, data).staged_whole
    (StagedRestore(_volume(pod), RESTORE).staged / "nova" / "t.ibd").unlink()
    report = _inspect(pod, data)
    assert report.journal == _journal(pod)
    assert not report.staged_whole
    kind, message = failure(pod.swap(data, "in"))
    assert kind == "RestoreFailed"
    assert "Nothing was changed" in message
    assert _state(pod) == SwapState.STAGED
    assert _live(data) == old


def test_sst_wiped_everything(pod: Pod, data: Path) -> None:
    pod.stage(data)
    shutil.rmtree(_volume(pod) / HIDDEN)
    report = _inspect(pod, data)
    assert report.journal is None
    assert not report.staged_whole
    assert failure(pod.swap(data, "in"))[0] == "RestoreFailed"
    _works(pod.stage(data))


def test_old_data_that_is_gone_is_not_put_back(pod: Pod, data: Path) -> None:
    pod.stage(data)
    pod.swap(data, "in")
    shutil.rmtree(StagedRestore(_volume(pod), RESTORE).previous)
    live = _live(data)
    kind, message = failure(pod.swap(data, "back"))
    assert kind == "RestoreFailed"
    assert "Nothing was changed" in message
    assert _live(data) == live


def test_back_of_what_was_only_staged(pod: Pod, data: Path) -> None:
    old = _live(data)
    assert "no journal" in failure(pod.swap(data, "back"))[1]
    pod.stage(data)
    assert _swapped_to(pod, data, "back") == SwapState.STAGED
    assert _live(data) == old


def test_late_swap_in_after_the_old_data_is_back(pod: Pod, data: Path) -> None:
    old = _live(data)
    pod.stage(data)
    pod.swap(data, "in")
    pod.swap(data, "back")
    kind, message = failure(pod.swap(data, "in"))
    assert kind == "RestoreFailed"
    assert "'returned'" in message
    assert failure(pod.stage(data))[0] == "RestoreFailed"
    assert _live(data) == old


def test_nothing_is_overwritten(pod: Pod, data: Path) -> None:
    old = _live(data)
    pod.stage(data)
    for nth in _crashes(pod, lambda: pod.swap(data, "in"), _copy(pod, "staged")):
        if _state(pod) == SwapState.IN and not (data / "mysql").exists():
            assert nth
            break
    (data / "mysql").mkdir()  # os.rename would replace an empty directory
    kind, message = failure(pod.swap(data, "in"))
    assert kind == "RestoreFailed"
    assert "'mysql'" in message
    assert (StagedRestore(_volume(pod), RESTORE).staged / "mysql" / "t.ibd").exists()
    (data / "mysql").rmdir()
    assert _swapped_to(pod, data, "in") == SwapState.SWAPPED
    (StagedRestore(_volume(pod), RESTORE).staged / "ibdata1").write_bytes(b"in the way")
    kind, message = failure(pod.swap(data, "back"))
    assert kind == "RestoreFailed"
    assert "'ibdata1'" in message
    assert (data / "ibdata1").read_bytes() == b"backup"
    (StagedRestore(_volume(pod), RESTORE).staged / "ibdata1").unlink()
    assert _swapped_to(pod, data, "back") == SwapState.RETURNED
    assert _live(data) == old


def test_journal_that_cannot_be_read(pod: Pod, data: Path) -> None:
    pod.stage(data)
    pod.swap(data, "in")
    (_volume(pod) / HIDDEN / "galera-restore_1" / "journal.json").write_text("{")
    for direction in ("in", "back"):
        assert failure(pod.swap(data, direction))[0] == "RestoreFailed"
    kind, message = failure(pod.tidy(data))
    assert kind == "RestoreFailed"
    assert "holds old data" in message
    shutil.rmtree(_volume(pod) / HIDDEN / "galera-restore_1" / "previous")
    _works(pod.tidy(data))
    assert not (_volume(pod) / HIDDEN).exists()


# --- staging


def test_stage_twice(pod: Pod, data: Path) -> None:
    first = _works(pod.stage(data))
    before = content(_volume(pod))
    second = _works(pod.stage(data))
    assert (second.unpack_seconds, second.staged_bytes) == (0, first.staged_bytes)
    assert pod.script_status == 0
    assert content(_volume(pod)) == before


def test_stage_that_is_not_whole_is_made_again(pod: Pod, data: Path) -> None:
    pod.stage(data)
    staged_data = StagedRestore(_volume(pod), RESTORE).staged
    (staged_data / "ibdata1").write_bytes(b"short")
    (staged_data / "half").write_bytes(b"half")
    report = _works(pod.stage(data))
    assert report.unpack_seconds > 0
    assert not (staged_data / "half").exists()
    assert _inspect(pod, data).staged_whole


@pytest.mark.parametrize("fault", ["mbstream", "mbstream_late", "prepare", "unprepared"])
def test_failed_stage_takes_no_room(pod: Pod, data: Path, fault: str) -> None:
    before = content(_volume(pod))
    pod.environment["FAKE_FAULT"] = fault
    assert failure(pod.stage(data))[0] == "RestoreFailed"
    assert content(_volume(pod)) == before
    assert not (_volume(pod) / HIDDEN).exists()


def test_too_little_room(pod: Pod, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "free_kb", lambda path: RESERVE_KB + 64 * 1024)
    kind, message = failure(pod.stage(data))
    assert kind == "NotEnoughSpace"
    assert "KB are missing" in message
    assert "in_place" in message
    assert not (_volume(pod) / HIDDEN).exists()


def test_reserve_is_watched_while_it_unpacks(pod: Pod, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([TOTAL_KB // 2, RESERVE_KB // 2])
    seen = []

    def free_kb(path: Path) -> int:
        seen.append(_state(pod))
        return next(answers, RESERVE_KB // 2 - 1)

    monkeypatch.setattr(prepare, "free_kb", free_kb)
    kind, message = failure(pod.stage(data))
    assert kind == "NotEnoughSpace"
    assert "in_place" in message
    assert len(seen) == 3
    assert seen[-1] == SwapState.STAGING
    assert not (_volume(pod) / HIDDEN).exists()


def test_killed_stage_is_made_again_or_tidied(pod: Pod, data: Path) -> None:
    old = _live(data)
    pod.stage(data)
    restore = StagedRestore(_volume(pod), RESTORE)
    journal = _journal(pod)
    assert journal is not None
    restore.write(journal.model_copy(update={"state": SwapState.STAGING, "files": 0, "bytes": 0}))
    assert failure(pod.swap(data, "in"))[0] == "RestoreFailed"
    assert _swapped_to(pod, data, "back") == SwapState.STAGING
    _works(pod.stage(data))
    assert _state(pod) == SwapState.STAGED
    _works(pod.tidy(data))
    assert _live(data) == old


# --- tidy and lock


def test_tidy_removes_the_others_before_it_refuses(pod: Pod, data: Path) -> None:
    for restore_id in (RESTORE, "other", "third"):
        _works(pod.stage(data, restore_id=restore_id))
    for _ in _crashes(pod, lambda: pod.swap(data, "in"), _copy(pod, "staged")):
        if _state(pod) == SwapState.OUT:
            break
    (_volume(pod) / HIDDEN / "no_journal" / "staged").mkdir(parents=True)
    kind, message = failure(pod.tidy(data, keep="third"))
    assert kind == "RestoreFailed"
    assert "'galera-restore_1' (moving the previous data out)" in message
    left = {path.name for path in (_volume(pod) / HIDDEN).iterdir()}
    assert left == {"galera-restore_1", "third", "lock"}
    _works(pod.tidy(data, keep=RESTORE))
    assert {path.name for path in (_volume(pod) / HIDDEN).iterdir()} == {"galera-restore_1", "lock"}


def test_tidy_of_nothing(pod: Pod, data: Path) -> None:
    before = _names(_volume(pod))
    _works(pod.tidy(data))
    assert _names(_volume(pod)) == before


def test_two_at_once(pod: Pod, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "LOCK_WAIT_SECONDS", 0.3)
    old = _live(data)
    pod.stage(data)
    with journal_module.locked(_volume(pod)):
        for result in (pod.swap(data, "in"), pod.stage(data), pod.tidy(data)):
            kind, message = failure(result)
            assert kind == "RunnerFailed"
            assert "another runner pod" in message
        assert _live(data) == old
    assert _swapped_to(pod, data, "in") == SwapState.SWAPPED


def test_lock_of_a_removed_file_is_not_one(pod: Pod, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waited while another one tidied must not work beside the one that came after."""
    real = fcntl.flock
    path = _volume(pod) / HIDDEN / "lock"
    calls = []

    def flock(descriptor: int, operation: int) -> None:
        calls.append(operation)
        if len(calls) == 1:  # opened, and tidied before it is locked
            path.unlink()
            path.parent.rmdir()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with journal_module.locked(_volume(pod)):
        assert len(calls) == 2
        assert path.exists()
    assert not path.parent.exists()


def test_restore_in_place_removes_what_is_staged(pod: Pod, data: Path) -> None:
    pod.stage(data)
    _works(pod.restore(data))
    assert (data / "ibdata1").read_bytes() == b"backup"
    assert (data / ".galera-backup-restore.json").exists()
    assert (_volume(pod) / HIDDEN).exists() == (data != _volume(pod)), "it knows the data directory only"
