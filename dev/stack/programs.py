"""The programs of the stack.

One of a fitting version on PATH is used, any other is built from pinned Go modules. The Temporal CLI, which is a server
too, is a Python package of requirements.lock.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dev.stack import environment, paths, settings
from dev.stack.console import StackError

BUILD = "programs"
"""Name of the build in messages, and in the name of its log."""
_GO = Path("/usr/local/go/bin/go")  # where Go's own installer puts it: often not on root's PATH


@dataclass(frozen=True)
class Program:
    """A program that can be built, and how to tell whether one on PATH will do."""

    name: str
    version: str
    package: str
    version_argv: tuple[str, ...]
    fits: Callable[[tuple[int, ...]], bool]

    @property
    def built(self) -> Path:
        return paths.PROGRAMS / f"{self.name}-{self.version}" / self.name


def _kubernetes(name: str, fits: Callable[[tuple[int, ...]], bool], *version_argv: str) -> Program:
    return Program(
        name=name,
        version=settings.KUBERNETES,
        package=f"k8s.io/kubernetes/cmd/{name}",
        version_argv=version_argv or ("--version",),
        fits=fits,
    )


def _is_1_34(version: tuple[int, ...]) -> bool:
    return version[:2] == (1, 34)


BUILDABLE: tuple[Program, ...] = (
    _kubernetes("kube-apiserver", _is_1_34),
    _kubernetes("kube-controller-manager", _is_1_34),
    _kubernetes("kubelet", _is_1_34),
    _kubernetes("kube-scheduler", _is_1_34),
    _kubernetes("kube-proxy", _is_1_34),
    _kubernetes("kubectl", lambda v: (1, 33) <= v[:2] <= (1, 35), "version", "--client"),
    Program(
        name="coredns",
        version=settings.COREDNS,
        package="./cmd/coredns",
        version_argv=("-version",),
        fits=lambda v: v[:2] >= (1, 11),
    ),
)
_BY_NAME = {program.name: program for program in BUILDABLE}

_INSTALLED: dict[str, tuple[tuple[str, ...], Callable[[tuple[int, ...]], bool]]] = {
    "etcd": (("--version",), lambda v: v >= (3, 4)),
    "containerd": (("--version",), lambda v: v[:2] in ((1, 6), (1, 7)) or v[0] == 2),
    "runc": (("--version",), lambda v: v >= (1, 1)),
}


def _version_of(argv: tuple[str, ...]) -> tuple[int, ...] | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\bv?(\d+)\.(\d+)\.(\d+)", done.stdout + done.stderr)
    return tuple(int(part) for part in found.groups()) if found else None


@cache
def find(name: str) -> Path | None:
    """A usable program: what we built, else one on PATH whose version fits; None if it must be built."""
    program = _BY_NAME[name]
    if program.built.exists():
        return program.built
    on_path = shutil.which(name)
    if on_path is None:
        return None
    version = _version_of((on_path, *program.version_argv))
    return Path(on_path) if version is not None and program.fits(version) else None


@cache
def path(name: str) -> str:
    """The program to run, for one that `dev/up` has made sure of."""
    if name == "temporal":
        return str(environment.temporal())
    if name in _BY_NAME:
        found = find(name)
        if found is None:
            raise StackError(name, "not built yet: run dev/up")
        return str(found)
    on_path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if on_path is None:
        raise StackError(name, f"program {name!r} is not on PATH")
    if name in _INSTALLED:
        version_argv, fits = _INSTALLED[name]
        version = _version_of((on_path, *version_argv))
        if version is None or not fits(version):
            raise StackError(name, f"{on_path} has version {version}, which this stack was not made for")
    return on_path


def missing() -> list[Program]:
    """Programs to build."""
    return [program for program in BUILDABLE if find(program.name) is None]


def build(programs: Sequence[Program]) -> None:
    """Build from the pinned modules; each file appears under its name only when it is whole.

    By one command: what several of them need is compiled once, and all processors have work until the end.
    """
    go = shutil.which("go") or (str(_GO) if _GO.exists() else None)
    if go is None:
        raise StackError(BUILD, "Go (1.24 or newer) is needed to build the stack, and there is no 'go' on PATH")
    paths.PROGRAMS.mkdir(parents=True, exist_ok=True)
    new = paths.PROGRAMS / f".{os.getpid()}.new"
    log = paths.LOGS / f"build-{BUILD}.log"
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion=v{settings.KUBERNETES}"
    argv = [go, "build", "-trimpath", "-ldflags", flags, "-o", f"{new}/", *(program.package for program in programs)]
    try:
        with log.open("wb") as output:
            done = subprocess.run(
                argv,
                cwd=paths.DEV / "go",
                env={**os.environ, "CGO_ENABLED": "0"},
                stdout=output,
                stderr=output,
                check=False,
            )
        if done.returncode:
            raise StackError(BUILD, f"go build ended with {done.returncode}", log)
        for program in programs:
            program.built.parent.mkdir(parents=True, exist_ok=True)
            (new / program.name).replace(program.built)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    find.cache_clear()


def link_all() -> None:
    """Put kubectl and temporal under their plain names into one folder for PATH."""
    paths.BIN.mkdir(parents=True, exist_ok=True)
    for name in ("kubectl", "temporal"):
        link = paths.BIN / name
        new = link.with_name(f".{name}.{os.getpid()}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(path(name))
        new.replace(link)
