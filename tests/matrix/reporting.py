"""What a run of the tests says of the cells that it played, and the records of the whole table.

A plugin of the process that pytest was started in: the cells may be played by others.
"""

from __future__ import annotations

import os

import pytest

from dev.tools import proofs, source

CELL = "cell"
"""Property of a test that plays one: its name."""


class Reporting:
    """The plugin. It imports the table only when a cell was played: that takes a second."""

    def __init__(self) -> None:
        self._began_with = source.product()
        self._seen = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the record of a cell as soon as it has ended."""
        name = next((value for key, value in report.user_properties if key == CELL), None)
        if name is None:
            return
        from tests.matrix import operations, run  # noqa: PLC0415

        self._seen = True
        if run.WHOLE and (report.when == "call" or report.failed):
            if source.product() != self._began_with:
                pytest.exit("the product's source changed while its cells ran: start dev/test --matrix again")
            cell = operations.CELLS[str(name)]
            proofs.MATRIX.keep(cell.name, cell.scope, passed=report.passed)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """Which cells these were, and what is still missing."""
        if config.option.collectonly or not (self._seen or os.environ.get("MATRIX")):
            return
        from tests.matrix import run  # noqa: PLC0415

        terminalreporter.write_line(run.summary())
        if run.WHOLE:
            stamp = proofs.MATRIX.finish(run.scopes())
            left = len(proofs.MATRIX.missing(run.scopes()))
            text = f"stamp: {stamp}" if stamp is not None else f"{left} cells to go: run {proofs.MATRIX.command} again"
            terminalreporter.write_line(f"kill matrix: {text}")
