"""The volumes of a runner pod, in temporary directories."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from galera_backup.runner.reporting import log
from tests.unit.runner.pod import MARIADB_BACKUP, MARIADBD, MBSTREAM, UUID, Pod


@pytest.fixture
def pod(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Pod:
    """Empty backup volume, a live data directory, tools on PATH."""
    caplog.set_level(logging.INFO, logger=log.name)
    fake, data, credentials = tmp_path / "fake", tmp_path / "data", tmp_path / "credentials"
    for directory in (
        fake / "bin",
        fake / "metadata",
        data / "nova",
        data / "mysql",
        credentials,
        tmp_path / "backups",
        tmp_path / "accounts" / "0",
    ):
        directory.mkdir(parents=True)
    for name, text in {"mariadb-backup": MARIADB_BACKUP, "mbstream": MBSTREAM, "mariadbd": MARIADBD}.items():
        (fake / "bin" / name).write_text(text)
        (fake / "bin" / name).chmod(0o755)
    (fake / "metadata" / "xtrabackup_checkpoints").write_text("backup_type = full-backuped\n")
    (fake / "metadata" / "xtrabackup_galera_info").write_text(f"{UUID}:18 100")
    (fake / "metadata" / "backup-my.cnf").write_text("[mysqld]\n")
    (data / "nova" / "instances.ibd").write_bytes(os.urandom(3_000_000))
    (data / "nova" / "zeros.ibd").write_bytes(bytes(5_000_000))
    (data / "mysql" / "global_priv.MAD").write_bytes(os.urandom(8192))
    (data / "ibdata1").write_bytes(os.urandom(100_000))
    (data / "galera.cache").write_bytes(os.urandom(500_000))
    (data / "gvwstate.dat").write_text("my_uuid: x\n")
    (credentials / "username").write_text("backup")
    (credentials / "password").write_text("secret-word")
    (tmp_path / "accounts" / "0" / "username").write_text("backup")
    (tmp_path / "accounts" / "0" / "password").write_text("it's \"secret\\word")
    environment = {
        "PATH": f"{fake / 'bin'}:{os.environ['PATH']}",
        "FAKE": str(fake),
        "FAKE_FAULT": "",
        "FAKE_POSITION": f"{UUID}:18",
        "CREDENTIALS": str(credentials),
        "ACCOUNTS": str(tmp_path / "accounts"),
        "MARIADB_HOST": "10.0.0.3",
        "MARIADB_PORT": "3306",
    }
    return Pod(root=tmp_path / "backups", data=data, fake=fake, environment=environment)


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


@pytest.fixture(params=["volume", "subdirectory"])
def data(request: pytest.FixtureRequest, pod: Pod, tmp_path: Path) -> Path:
    """A small data directory with a server's files, which is the volume or in it; and a small backup."""
    shutil.rmtree(pod.data)
    for name in ("nova", "mysql"):
        (pod.data / name).mkdir(parents=True)
        (pod.data / name / "t.ibd").write_bytes(f"backup of {name}".encode())
    (pod.data / "ibdata1").write_bytes(b"backup")
    assert pod.backup().error is None
    pod.volume = tmp_path / "claim"
    directory = pod.volume / "mysql" if request.param == "subdirectory" else pod.volume
    (directory / "nova").mkdir(parents=True)
    (directory / "only_old").mkdir()
    (pod.volume / "lost+found").mkdir()
    (pod.volume / "lost+found" / "#12").write_bytes(b"found")
    (directory / "nova" / "t.ibd").write_bytes(b"old")
    (directory / "ibdata1").write_bytes(b"old")
    (directory / "galera.cache").write_bytes(b"old")
    return directory
