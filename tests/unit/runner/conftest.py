"""The volumes of a runner pod, in temporary directories."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from galera_backup.runner import prepare
from galera_backup.runner.reporting import log
from galera_backup.runner.staged import stage
from tests.unit.runner.pod import Pod, make_pod
from tests.unit.runner.staged import GRASTATE, TOTAL_KB


@pytest.fixture
def pod(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Pod:
    """Empty backup volume, a live data directory, tools on PATH."""
    caplog.set_level(logging.INFO, logger=log.name)
    return make_pod(tmp_path)


@pytest.fixture
def claims(tmp_path: Path) -> list[Path]:
    """Three data volumes with an old cluster on them."""
    found = []
    for ordinal in range(3):
        claim = tmp_path / f"claim-{ordinal}"
        (claim / "lost+found").mkdir(parents=True)
        (claim / "old_database").mkdir()
        (claim / "old_database" / "t.ibd").write_bytes(b"old")
        (claim / "galera.cache").write_bytes(b"old")
        (claim / "gvwstate.dat").write_bytes(b"old")
        (claim / "grastate.dat").write_text("seqno: -1\n")
        found.append(claim)
    return found


@pytest.fixture(scope="session")
def small_backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup volume with one small backup; to be copied."""
    pod = make_pod(tmp_path_factory.mktemp("small"))
    shutil.rmtree(pod.data)
    for name in ("nova", "mysql"):
        (pod.data / name).mkdir(parents=True)
        (pod.data / name / "t.ibd").write_bytes(f"backup of {name}".encode())
    (pod.data / "ibdata1").write_bytes(b"backup")
    assert pod.backup().error is None
    return pod.root


@pytest.fixture(params=["volume", "subdirectory"])
def data(request: pytest.FixtureRequest, pod: Pod, small_backup: Path, tmp_path: Path) -> Path:
    """A small data directory with a server's files, which is the volume or in it; and a small backup."""
    return live_data(pod, small_backup, tmp_path, request.param)


@pytest.fixture(scope="session")
def staged_volumes(tmp_path_factory: pytest.TempPathFactory, small_backup: Path) -> Callable[[bool], Path]:
    """Volumes to be copied: a backup is staged beside `data`, in a subdirectory or not, that a server has left."""
    made: dict[bool, Path] = {}

    def volume(below: bool) -> Path:
        if below not in made:
            directory = tmp_path_factory.mktemp("staged")
            pod = make_pod(directory)
            data = live_data(pod, small_backup, directory, "subdirectory" if below else "volume")
            (data / "grastate.dat").write_text(GRASTATE)
            assert pod.stage(data).error is None
            assert pod.volume is not None
            made[below] = pod.volume
        return made[below]

    return volume


def live_data(pod: Pod, small_backup: Path, tmp_path: Path, where: str) -> Path:
    """See `data`."""
    shutil.copytree(small_backup, pod.root, dirs_exist_ok=True)
    pod.volume = tmp_path / "claim"
    directory = pod.volume / "mysql" if where == "subdirectory" else pod.volume
    (directory / "nova").mkdir(parents=True)
    (directory / "only_old").mkdir()
    (pod.volume / "lost+found").mkdir()
    (pod.volume / "lost+found" / "#12").write_bytes(b"found")
    (directory / "nova" / "t.ibd").write_bytes(b"old")
    (directory / "ibdata1").write_bytes(b"old")
    (directory / "galera.cache").write_bytes(b"old")
    return directory


@pytest.fixture
def volume_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume with room, whatever the machine has."""
    monkeypatch.setattr(stage, "total_kb", lambda path: TOTAL_KB)
    monkeypatch.setattr(prepare, "free_kb", lambda path: TOTAL_KB // 2)
