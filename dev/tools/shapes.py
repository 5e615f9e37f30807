"""dev/shapes: clusters as others make them, on the stack, with waits as long as theirs."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev.stack import cli, console, environment, lifecycle, paths
from dev.stack.console import StackError
from dev.tools import proofs, source, times

_REPORT = paths.LOGS / "tests-shapes.xml"


def main() -> int:
    """0 when every case has passed with the present source."""
    parser = argparse.ArgumentParser(prog="dev/shapes", description=__doc__)
    parser.add_argument("--all", action="store_true", required=True, help="what has not passed with this source yet")
    parser.parse_args()
    try:
        venv = environment.ensure()
        lifecycle.up()
    except StackError as error:
        console.show(error)
        return 1
    variables = environment.variables(venv) | cli.environment() | {"SHAPES": "all"}  # for tests/support/shape.py
    variables["PATH"] = f"{variables['PATH']}:{paths.BIN}"
    pytest = [str(venv / "bin" / "pytest"), "-p", "no:cacheprovider"]
    scope = source.product()
    scopes = dict.fromkeys(_collected(pytest, variables), scope)
    for test in _run(pytest, proofs.SHAPES.missing(scopes), variables):
        proofs.SHAPES.keep(test.name, scope, passed=test.passed, seen={"seconds": round(test.own)})
    stamp = proofs.SHAPES.finish(scopes)
    print(f"{len(scopes)} cases, {len(proofs.SHAPES.missing(scopes))} have not passed")
    return 0 if stamp is not None else 1


def _collected(pytest: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    modules = [each for each in proofs.SHAPES.judges if Path(each).name.startswith("test_")]
    argv = [*pytest, "--collect-only", "--quiet", *modules]
    found = subprocess.run(argv, cwd=paths.CHECKOUT, env=variables, check=True, capture_output=True, text=True)
    return [_name(line) for line in found.stdout.splitlines() if "::" in line]


def _name(node: str) -> str:
    """As a JUnit report names the test."""
    module, _, test = node.partition("::")
    return f"{Path(module).with_suffix('').as_posix().replace('/', '.')}.{test}"


def _node(name: str) -> str:
    head, bracket, parameters = name.partition("[")
    module, _, test = head.rpartition(".")
    return f"{module.replace('.', '/')}.py::{test}{bracket}{parameters}"


def _run(pytest: Sequence[str], names: Sequence[str], variables: Mapping[str, str]) -> list[times.Test]:
    """The tests that have ended."""
    _REPORT.unlink(missing_ok=True)
    if names:
        argv = [*pytest, f"--junitxml={_REPORT}", *map(_node, names)]
        subprocess.run(argv, cwd=paths.CHECKOUT, env=variables, check=False)
    return times.read(_REPORT)
