"""dev/test: everything that CI checks, by one command."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.stack import cli, console, lifecycle, packages, paths, processes, programs
from dev.stack.console import StackError, say
from dev.tools import environment

FAST = ("tests/unit", "tests/activities", "tests/workflows", "tests/matrix", "tests/replay")
SLOW = ("tests/integration", "tests/chaos")


@dataclass(frozen=True)
class Step:
    """One command of the run."""

    name: str
    argv: tuple[str, ...]


def main() -> int:
    """Parse the command line and run; 0 when everything passed."""
    own, after = _split(sys.argv[1:])
    parser = argparse.ArgumentParser(
        prog="dev/test",
        description="Lint, types, fast tests, then the integration tests and a part of dev/chaos on the local stack.",
        epilog="What follows -- goes to pytest and replaces all of it but the stack: dev/test -- tests/unit -k lease",
    )
    parser.add_argument("--fast", action="store_true", help="no stack and no integration tests")
    parser.add_argument(
        "--matrix",
        action="store_true",
        help="no stack; those cells of the kill matrix that have not passed with this source",
    )
    parser.add_argument("--keep", action="store_true", help="leave the stack up if this command started it")
    arguments = parser.parse_args(own)
    signal.signal(signal.SIGTERM, _interrupt)
    if arguments.matrix:
        os.environ["MATRIX"] = "all"  # for tests/matrix/run.py
        after = ["tests/matrix", *after]
    try:
        return _run(arguments.fast or arguments.matrix, arguments.keep, after)
    except StackError as error:
        console.show(error)
        print(f"\nFAILED  {error.part}; logs: {paths.LOGS}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nINTERRUPTED", file=sys.stderr)
        return 130


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _run(fast: bool, keep: bool, pytest_arguments: list[str]) -> int:
    started = time.monotonic()
    venv = environment.ensure()
    with _stack(wanted=not fast, keep=keep):
        variables = environment.variables(venv)
        if fast:
            # Only the `temporal` command, of PATH or built: the fast tests start servers of their own.
            variables["TEMPORAL_CLI"] = _temporal()
        else:
            variables |= cli.environment()
            variables["PATH"] = f"{variables['PATH']}:{paths.BIN}"
        failed = [step.name for step in _steps(fast, pytest_arguments) if not _passes(step, venv, variables)]
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    took = f"{minutes} min {seconds:02d} s"
    if failed:
        print(f"\nFAILED in {took}: {', '.join(failed)}; logs of the stack and the worker: {paths.LOGS}")
        return 1
    print(f"\npassed in {took}: everything")
    return 0


def _steps(fast: bool, pytest_arguments: list[str]) -> list[Step]:
    pytest = ("pytest", "--color=auto")
    if pytest_arguments:
        return [Step("pytest", (*pytest, *pytest_arguments))]
    steps = [
        Step("ruff check", ("ruff", "check", ".")),
        Step("ruff format", ("ruff", "format", "--check", ".")),
        Step("mypy", ("mypy",)),
    ]
    # One pytest run, so that its last line counts everything.
    folders = [
        folder for folder in (FAST if fast else FAST + SLOW) if any((paths.CHECKOUT / folder).rglob("test_*.py"))
    ]
    return [*steps, Step("pytest", (*pytest, *folders))]


def _passes(step: Step, venv: Path, variables: dict[str, str]) -> bool:
    say("test", f"{step.name}: {' '.join(step.argv)}")
    began = time.monotonic()
    program = [str(venv / "bin" / "python"), "-m", *step.argv]
    # In a session of its own: Ctrl-C reaches it once, from here, and not a second time in the middle of its clean-up.
    with subprocess.Popen(
        program, cwd=paths.CHECKOUT, stdin=subprocess.DEVNULL, env=variables, start_new_session=True
    ) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            _end(process)
            raise
    say("test", f"{step.name} {'passed' if code == 0 else f'FAILED ({code})'} in {time.monotonic() - began:.0f} s")
    return code == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let pytest run its fixtures' ends: they end the worker and free the cluster."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def _stack(*, wanted: bool, keep: bool) -> Iterator[None]:
    """The stack, up; down again afterwards if it was down before."""
    if not wanted:
        yield
        return
    was_up = processes.running("kube-apiserver") is not None
    try:
        lifecycle.up()
        yield
    finally:
        if not was_up and not keep:
            lifecycle.down()


def _temporal() -> str:
    """Path of the `temporal` command; built when there is none."""
    if programs.find("temporal") is None:
        if missing := packages.missing():
            packages.install(missing)
        programs.build(next(program for program in programs.BUILDABLE if program.name == "temporal"))
        programs.find.cache_clear()
    return programs.path("temporal")
