"""dev/test: everything that CI checks, by one command."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.stack import cli, console, environment, lifecycle, paths, processes
from dev.stack.console import StackError, say
from dev.tools import times

_PROCESSES = min((os.cpu_count() or 1) + 2, 8)
"""Two more than processors: some modules wait most of their time."""
_FAST = ("-m", "not integration", f"--numprocesses={_PROCESSES}", "--dist=loadscope", "--maxfail=10")
"""Of all folders below tests/: what needs the stack is marked. Each process takes one module after another.

Where something breaks all of them the run ends early, and says why.
"""
_FAST_REPORT, _REPORT = paths.LOGS / "tests-fast.xml", paths.LOGS / "tests.xml"


@dataclass(frozen=True)
class Step:
    """One command of the run."""

    name: str
    argv: tuple[str, ...]


_ON_STACK = Step("tests on the stack", ("pytest", f"--junitxml={_REPORT}", "-m", "integration"))


def main() -> int:
    """Parse the command line and run; 0 when everything passed."""
    own, after = _split(sys.argv[1:])
    parser = argparse.ArgumentParser(
        prog="dev/test",
        description="Lint, types, fast tests, then those that need the local stack, among them a part of dev/chaos.",
        epilog="What follows -- goes to pytest and replaces all of it but the stack: dev/test -- tests/unit -k lease",
    )
    parser.add_argument("--fast", action="store_true", help="no stack, and no test that needs it")
    parser.add_argument("--matrix", action="store_true", help="no stack; what is missing of the kill matrix")
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
    variables = environment.variables(venv) | _for_tests()
    for report in (_FAST_REPORT, _REPORT):
        report.unlink(missing_ok=True)
    chosen = Step("pytest", ("pytest", f"--junitxml={_REPORT}", *pytest_arguments)) if pytest_arguments else None
    first = _without_stack() if chosen is None else [chosen] if fast else []
    failed = _failed(first, venv, variables)
    if not fast:
        with _stack(keep=keep):
            variables |= cli.environment()
            variables["PATH"] = f"{variables['PATH']}:{paths.BIN}"
            failed += _failed([chosen or _ON_STACK], venv, variables)
    reports = [report for report in (_FAST_REPORT, _REPORT) if report.exists()]
    tests = [test for report in reports for test in times.read(report)]
    if tests:
        print(f"\n{times.table(tests)}\n\nall of them: {' '.join(map(str, reports))}")
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    took = f"{minutes} min {seconds:02d} s"
    if failed:
        print(f"\nFAILED in {took}: {', '.join(failed)}; logs of the stack and the worker: {paths.LOGS}")
        if told := times.failures(tests):
            print(told)  # the last lines: a record of CI may keep no more than those
        return 1
    print(f"\npassed in {took}: everything")
    return 0


def _for_tests() -> dict[str, str]:
    """What makes checks and tests faster, where the caller's environment does not say otherwise."""
    found = {"MYPY_CACHE_DIR": str(paths.CACHE / "mypy")}
    found["GOGC"] = "400"  # the Temporal servers of tests have memory, and no processor to spare
    if memory := paths.in_memory(2**31):
        found["PYTEST_DEBUG_TEMPROOT"] = str(memory)  # tests of the agent sync thousands of files
    return {name: os.environ.get(name, value) for name, value in found.items()}


def _failed(steps: Iterable[Step], venv: Path, variables: dict[str, str]) -> list[str]:
    """Run all of them; the names of those that did not pass."""
    return [step.name for step in steps if not _passes(step, venv, variables)]


def _without_stack() -> list[Step]:
    """They come before the stack is up: it would take a tenth of two processors from them."""
    return [
        Step("ruff check", ("ruff", "check", ".")),
        Step("ruff format", ("ruff", "format", "--check", ".")),
        Step("mypy", ("mypy",)),
        Step("shellcheck", ("shellcheck", *_shell_scripts())),
        Step("fast tests", ("pytest", f"--junitxml={_FAST_REPORT}", *_FAST)),
    ]


def _shell_scripts() -> list[str]:
    """Every shell script of the checkout, by its name or its first line."""
    found = []
    for top in paths.CHECKOUT.iterdir():
        if top.is_dir() and (top.name == ".ci" or not top.name.startswith(".")):
            found += [file for file in top.rglob("*") if file.is_file() and _is_shell_script(file)]
    return sorted(str(file.relative_to(paths.CHECKOUT)) for file in found)


def _is_shell_script(file: Path) -> bool:
    if file.suffix == ".sh":
        return True
    with file.open("rb") as content:
        return re.match(rb"#!.*[/ ](ba|da)?sh\b", content.readline(100)) is not None


def _passes(step: Step, venv: Path, variables: dict[str, str]) -> bool:
    say("test", f"{step.name}: {' '.join(step.argv)}")
    began = time.monotonic()
    program = [str(venv / "bin" / step.argv[0]), *step.argv[1:]]
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
    """Let pytest run its fixtures' ends: they end the workers, free the cluster and remove the small ones."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(150)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def _stack(*, keep: bool) -> Iterator[None]:
    """The stack, up; down again afterwards if it was down before."""
    was_up = processes.running("kube-apiserver") is not None
    try:
        lifecycle.up()
        yield
    finally:
        if not was_up and not keep:
            lifecycle.down()
