"""dev/chaos: the stack up, and then the faulted runs of tests/chaos in the tests' environment."""

from __future__ import annotations

import os
import sys

from dev.stack import cli, console, environment, lifecycle, paths
from dev.stack.console import StackError


def main() -> int:
    """Bring up what is missing, then become the harness."""
    try:
        venv = environment.ensure()
        if not {"-h", "--help", "--table"} & set(sys.argv):
            lifecycle.up()
    except StackError as error:
        console.show(error)
        return 1
    variables = environment.variables(venv) | cli.environment()
    variables["PATH"] = f"{variables['PATH']}:{paths.BIN}"
    os.chdir(paths.CHECKOUT)
    python = str(venv / "bin" / "python")
    return os.execve(python, [python, "-m", "tests.chaos", *sys.argv[1:]], variables)
