"""The Python environment of the tests and the demo, with the Temporal CLI: made from requirements.lock, outside the
checkout."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from dev.stack import packages, paths
from dev.stack.console import StackError, say

LOCK = paths.CHECKOUT / "requirements.lock"
_PART = "python"
_INTERPRETER = os.path.realpath(sys.executable)
"""Of the system, also where a command of dev/ was started by the environment's own Python."""


def made() -> bool:
    """Whether it is there and whole."""
    folder = _folder()
    return (folder / "finished").exists() and (folder / "bin" / "python").exists()


def temporal() -> Path:
    """The Temporal CLI. Raises StackError when there is no environment yet."""
    if not made():
        raise StackError("temporal", "not installed yet: run dev/up")
    return _folder() / "bin" / "temporal"


def pinned(package: str) -> str:
    """The version of a package in requirements.lock."""
    found = re.search(rf"^{re.escape(package)}==(\S+)", LOCK.read_text(), re.MULTILINE)
    if found is None:
        raise StackError(_PART, f"{LOCK} does not pin {package!r}")
    return found[1]


def _folder() -> Path:
    version = ".".join(map(str, sys.version_info[:2]))
    key = hashlib.sha256(f"{_INTERPRETER}\0{version}\0{LOCK.read_text()}".encode()).hexdigest()[:12]
    return paths.CACHE / "venvs" / key


def ensure() -> Path:
    """Folder of a virtual environment with exactly what requirements.lock pins; made once for each content of it.

    The project itself is not in it: `variables` puts the checkout on the path, so that checkouts share environments.
    """
    folder = _folder()
    if made():
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
    (folder / "finished").touch()
    return folder


def variables(venv: Path) -> dict[str, str]:
    """The environment of a process that uses it."""
    not_ours = {"PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
    environment = {name: value for name, value in os.environ.items() if name not in not_ours}
    # A workflow's sandbox imports its modules in each run: without bytecode it compiles them each time.
    environment["PYTHONPYCACHEPREFIX"] = str(paths.CACHE / "bytecode")
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
        ["uv", "venv", "--no-project", "--python", _INTERPRETER, str(folder)],
        ["uv", "pip", "install", "--python", str(folder / "bin" / "python"), "--require-hashes", "-r", str(LOCK)],
    ]


def _with_pip(folder: Path) -> list[list[str]]:
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    return [[_INTERPRETER, "-m", "venv", str(folder)], [*pip, "--require-hashes", "-r", str(LOCK)]]


def _run(argv: list[str], log: Path) -> None:
    with log.open("ab") as output:
        code = subprocess.run(
            argv, cwd=paths.CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        ).returncode
    if code:
        raise StackError(_PART, f"{' '.join(argv[:4])!r} ended with {code}", log)
