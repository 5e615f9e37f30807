"""The images of the stack: pause, MariaDB with Galera, and this checkout's own agent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from dev.stack import containers, debian, oci, packages, paths, settings
from dev.stack.console import StackError, run, say

_AGENT_REPOSITORY = "docker.io/galera-backup/agent"
_AGENT_ROOT = "opt/galera-backup"
_AGENT_PYTHON = (3, 11)  # Debian bookworm's
_MARIADB_FILES = {
    "etc/mysql/mariadb.conf.d/98-galera.cnf": ("galera.cnf", 0o644),
    "usr/local/share/galera/init.sql": ("init.sql", 0o644),
    "usr/local/bin/galera-start": ("galera-start", 0o755),
    "usr/local/bin/galera-probes": ("galera-probes", 0o755),
}


def pause() -> oci.Image:
    """The image of pod sandboxes: one static program that waits."""
    layer = _cached_layer("pause", {"catatonit": (Path(_which("catatonit")), 0o755)})
    return oci.Image(containers.PAUSE_REFERENCE, (layer,), {"Entrypoint": ["/catatonit", "-P"]})


def mariadb() -> oci.Image:
    """MariaDB of Debian with Galera and mariadb-backup, and the start script and probes of this checkout."""
    files = {name: (paths.DEV / "mariadb" / source, mode) for name, (source, mode) in _MARIADB_FILES.items()}
    base = oci.Layer.of(debian.MARIADB.path)
    own = _cached_layer("mariadb", files)
    tag = oci.content_hash((base.digest, own.digest))[:12]
    return oci.Image(
        f"docker.io/galera-backup/mariadb:10.11-{tag}",
        (base, own),
        {
            "Entrypoint": ["/usr/bin/catatonit", "--"],
            "Cmd": ["galera-start"],
            "User": str(settings.MYSQL_UID),
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
    )


def agent() -> oci.Image:
    """The image of the backup agent: Python, the pinned third-party packages, and this checkout's own package."""
    if not debian.AGENT.built:
        if shutil.which("mmdebstrap") is None:
            packages.install(["mmdebstrap"])
        say("agent image", "building its base")
        debian.AGENT.build()
    base = oci.Layer.of(debian.AGENT.path)
    layers = (base, _wheels_layer(), _package_layer())
    tag = oci.content_hash(layer.digest for layer in layers)[:12]
    return oci.Image(
        f"{_AGENT_REPOSITORY}:{tag}",
        layers,
        {
            "Entrypoint": ["python3", "-m", "galera_backup.runner"],
            "User": str(settings.AGENT_UID),
            "WorkingDir": f"/{_AGENT_ROOT}",
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                f"PYTHONPATH=/{_AGENT_ROOT}:/{_AGENT_ROOT}/lib",
                "PYTHONUNBUFFERED=1",
                "PYTHONDONTWRITEBYTECODE=1",
            ],
        },
    )


def ensure_loaded(image: oci.Image) -> bool:
    """Load an image into the stack's containerd unless it is there; True if it was loaded now."""
    if image.reference in containers.references():
        return False
    say("images", f"loading {image.reference}")
    containers.load(image)
    return True


def _cached_layer(name: str, files: Mapping[str, tuple[Path, int]]) -> oci.Layer:
    """A layer of a few files, cached by their contents."""
    parts: list[str | bytes] = []
    for target, (content, mode) in sorted(files.items()):
        parts += [target, oct(mode), content.read_bytes()]
    path = paths.LAYERS / f"{name}-{oci.content_hash(parts)[:12]}.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        oci.write_layer(path, files)
    return oci.Layer.of(path)


def _package_layer() -> oci.Layer:
    root = paths.CHECKOUT / "galera_backup"
    files = [file for file in sorted(root.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
    parts = [part for file in files for part in (str(file.relative_to(root)), oct(_mode(file)), file.read_bytes())]
    without_bytecode = shutil.ignore_patterns("__pycache__")
    return _python_layer(
        "agent-package",
        parts,
        f"{_AGENT_ROOT}/galera_backup",
        lambda to: shutil.copytree(root, to, ignore=without_bytecode),
    )


def _wheels_layer() -> oci.Layer:
    lock = paths.CHECKOUT / "requirements-agent.lock"
    return _python_layer("agent-wheels", [lock.read_bytes()], f"{_AGENT_ROOT}/lib", lambda to: _pip_install(lock, to))


def _python_layer(name: str, parts: list[str | bytes], target: str, make: Callable[[Path], object]) -> oci.Layer:
    """A layer of Python files and their bytecode, cached by `parts`; `make` puts the files into a folder."""
    path = paths.LAYERS / f"{name}-{oci.content_hash([target, *parts])[:12]}.tar"
    if not path.exists():
        folder = path.with_suffix(f".{os.getpid()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            make(folder)
            _compile(folder, target)
            files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
            oci.write_layer(path, {f"{target}/{file.relative_to(folder)}": (file, _mode(file)) for file in files})
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return oci.Layer.of(path)


def _mode(file: Path) -> int:
    return 0o755 if os.access(file, os.X_OK) else 0o644


def _compile(folder: Path, target: str) -> None:
    """The agent cannot write to its image, and without bytecode it starts a second later."""
    if sys.version_info[:2] != _AGENT_PYTHON:
        return
    # The check by time stamp would reject it: layers have no times.
    argv = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    run("agent image", [*argv, "-s", str(folder), "-p", f"/{target}", str(folder)])


def _pip_install(lock: Path, folder: Path) -> None:
    say("agent image", f"installing what {lock.name} pins")
    version = ".".join(map(str, _AGENT_PYTHON))
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        packages.install(["python3-pip"])
        pip = ["/usr/bin/python3", "-m", "pip"]
    log = paths.LOGS / "build-agent-wheels.log"
    argv = [*pip, "install", "--no-input", "--no-compile", "--target", str(folder), "--python-version", version]
    argv += ["--implementation", "cp", "--only-binary=:all:", "--require-hashes", "-r", str(lock)]
    with log.open("wb") as output:
        if subprocess.run(argv, stdout=output, stderr=output, check=False).returncode:
            raise StackError("agent image", "pip install failed", log)


def _which(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise StackError("images", f"program {program!r} is not on PATH")
    return found
