"""The Python environment of the tests and the demo: made from requirements.lock, outside the checkout."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from dev.stack import packages, paths
from dev.stack.console import StackError, say

LOCK = paths.CHECKOUT / "requirements.lock"
_PART = "python"


def ensure() -> Path:
    """Folder of a virtual environment with exactly what requirements.lock pins; made once for each content of it.

    The project itself is not in it: `variables` puts the checkout on the path, so that checkouts share environments.
    """
    version = ".".join(map(str, sys.version_info[:2]))
    key = hashlib.sha256(f"{sys.executable}\0{version}\0{LOCK.read_text()}".encode()).hexdigest()[:12]
    folder = paths.CACHE / "venvs" / key
    finished = folder / "finished"
    if finished.exists() and (folder / "bin" / "python").exists():
        return folder
    say(_PART, f"making {folder} from {LOCK.name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = paths.LOGS / "build-venv.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    if importlib.util.find_spec("ensurepip") is None:
        packages.install(["python3-venv"])  # Debian's Python comes without it
    for argv in _with_uv(folder) if _uv_works() else _with_pip(folder):
        _run(argv, log)
    finished.touch()
    return folder


def variables(venv: Path) -> dict[str, str]:
    """The environment of a process that uses it."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONHOME", "PYTHONPATH"}}
    environment["VIRTUAL_ENV"] = str(venv)
    environment["PATH"] = f"{venv / 'bin'}:{environment.get('PATH', os.defpath)}"
    environment["PYTHONPATH"] = str(paths.CHECKOUT)
    return environment


def _uv_works() -> bool:
    # A version manager may have put a `uv` into PATH that only says which version to install.
    found = shutil.which("uv")
    return found is not None and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0


def _with_uv(folder: Path) -> list[list[str]]:
    return [
        ["uv", "venv", "--no-project", "--python", sys.executable, str(folder)],
        ["uv", "pip", "install", "--python", str(folder / "bin" / "python"), "--require-hashes", "-r", str(LOCK)],
    ]


def _with_pip(folder: Path) -> list[list[str]]:
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    return [[sys.executable, "-m", "venv", str(folder)], [*pip, "--require-hashes", "-r", str(LOCK)]]


def _run(argv: list[str], log: Path) -> None:
    with log.open("ab") as output:
        code = subprocess.run(
            argv, cwd=paths.CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        ).returncode
    if code:
        raise StackError(_PART, f"{' '.join(argv[:4])!r} ended with {code}", log)
