"""A staged restore on one data volume, as its tests see it: what is there, and crashes at every place."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from galera_backup.models.jobs import InspectJob
from galera_backup.models.reports import Inspection
from galera_backup.models.runner import RunnerResult
from galera_backup.models.volumes import STAGED_RESTORES, Journal, SwapState
from galera_backup.runner.staged.journal import StagedRestore
from galera_backup.runner.volumes import MARKER
from tests.unit.runner.pod import CLUSTER, UUID, Pod, Report, content

RESTORE = "galera-restore/1"
GRASTATE = f"# GALERA saved state\nversion: 2.1\nuuid:    {UUID}\nseqno:   41\nsafe_to_bootstrap: 0\n"
HIDDEN = STAGED_RESTORES
TOTAL_KB, RESERVE_KB = 1_000_000, 100_000
Direction = Literal["in", "back"]


class Crash(BaseException):
    """The process is killed: nothing catches it."""


def volume(pod: Pod) -> Path:
    """The data volume."""
    assert pod.volume is not None
    return pod.volume


def journal_of(pod: Pod) -> Journal | None:
    """Of RESTORE."""
    return StagedRestore(volume(pod), RESTORE).journal()


def state_of(pod: Pod) -> SwapState | None:
    """As the journal says it."""
    journal = journal_of(pod)
    return journal.state if journal else None


def names_in(directory: Path) -> set[str]:
    """All paths below it."""
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*")}


def live_files(data: Path) -> tuple[set[str], dict[str, bytes]]:
    """All that a server would see, empty directories too; of the marker not its time."""
    names = {name for name in names_in(data) if name.partition("/")[0] != HIDDEN}
    files = {name: text for name, text in content(data).items() if name in names}
    return names, files | ({MARKER: b""} if MARKER in files else {})


def works(result: RunnerResult[Report]) -> Report:
    """The report of a job that must not fail."""
    assert result.report is not None, result.error
    return result.report


def swapped_to(pod: Pod, data: Path, direction: Direction) -> SwapState | None:
    """The state after a swap that must not fail."""
    return works(pod.swap(data, direction)).state


def server_writes(data: Path) -> None:
    """As a server does that has run on the data."""
    (data / "galera.cache").write_bytes(b"new cache")
    (data / "made_by_the_server").mkdir()
    (data / "made_by_the_server" / "t.ibd").write_bytes(b"new")
    (data / "ibdata1").write_bytes(b"changed")


def inspect(pod: Pod, data: Path) -> Inspection:
    """What a restore reads of the volume."""
    return works(pod.run(InspectJob(cluster=CLUSTER, restore_id=RESTORE), data))


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


def crashes(pod: Pod, work: Callable[[], object], before: Path) -> Iterator[int]:
    """For every n: the volume as it was `before`, and `work` killed at its nth call. Ends when it is not killed."""
    for nth in itertools.count(1):
        shutil.rmtree(volume(pod))
        shutil.copytree(before, volume(pod))
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


def copy(pod: Pod, name: str) -> Path:
    """The volume as it is now, beside it."""
    return Path(shutil.copytree(volume(pod), pod.root.parent / name))
