"""The volumes of a runner pod, in temporary directories."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from galera_backup.runner.reporting import log
from tests.unit.runner.pod import Pod, make_pod


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
