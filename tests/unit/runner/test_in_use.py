"""A server that runs on a data directory is found by its locks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from galera_backup.failure import AgentError
from galera_backup.models.jobs import BootstrapJob, EmptyJob, SwapJob
from galera_backup.models.layout import Layout, NamedDirectory
from galera_backup.models.runner import AnyJob
from galera_backup.runner.in_use import check_not_in_use
from tests.unit.runner.pod import CLUSTER, Pod, content, failure

HOLD = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, 2); print(flush=True); sys.stdin.read()"
LAYOUT = Layout(directories=(NamedDirectory(variable="innodb_data_home_dir", path="system"),))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """By another process, as a server does."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        server.stdout.readline()
        yield
        server.stdin.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "system").mkdir()
    for name in ("ibdata1", "aria_log_control", "system/ibdata1"):
        (tmp_path / name).write_bytes(b"content")
    return tmp_path


@pytest.mark.parametrize("name", ["ibdata1", "aria_log_control", "system/ibdata1"])
def test_a_server_runs(directory: Path, name: str) -> None:
    with locked(directory / name), pytest.raises(AgentError, match=f"RestoreFailed.*has locked '{Path(name).name}'"):
        check_not_in_use(directory, LAYOUT)
    check_not_in_use(directory, LAYOUT)
    assert (directory / name).read_bytes() == b"content"


def test_an_empty_directory(tmp_path: Path) -> None:
    check_not_in_use(tmp_path, Layout())


@pytest.mark.parametrize(
    "job",
    [
        SwapJob(cluster=CLUSTER, restore_id="r", direction="in"),
        SwapJob(cluster=CLUSTER, restore_id="r", direction="back"),
        EmptyJob(cluster=CLUSTER, restore_id="r"),
        BootstrapJob(cluster=CLUSTER),
    ],
    ids=lambda job: f"{job.mode} {getattr(job, 'direction', '')}",
)
def test_no_job_changes_the_data_of_a_server(pod: Pod, data: Path, job: AnyJob) -> None:
    before = content(data)
    with locked(data / "ibdata1"):
        kind, message = failure(pod.run(job, data))
    assert (kind, "has locked 'ibdata1'" in message) == ("RestoreFailed", True)
    assert content(data) == before
