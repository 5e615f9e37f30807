"""The wheel, laid out as pyproject.toml says: one package holds everything, and its console script starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from galera_backup import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A directory with what a wheel installs. The build itself would need the network for its back end."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    sources = {each: each for each in wheel["packages"]} | wheel["force-include"]
    for source, place in sources.items():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, tmp_path / place)
    return tmp_path


def test_everything_is_in_one_package(wheel: Path) -> None:
    assert [each.name for each in wheel.iterdir()] == ["galera_backup"]


def test_commands_start(wheel: Path) -> None:
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["galera-backup"]
    entry = EntryPoint("galera-backup", script, "console_scripts")
    for command in (["-m", "galera_backup"], ["-c", f"from {entry.module} import {entry.attr} as main; main()"]):
        ran = subprocess.run(
            [sys.executable, *command, "--version"],
            cwd=wheel,
            env={**os.environ, "PYTHONPATH": str(wheel)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.strip() == __version__, ran.stderr
