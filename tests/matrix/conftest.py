"""The cells of a run are played at the same time; of the whole table, each leaves a record."""

from __future__ import annotations

import pytest

from dev.tools import proofs, source
from tests.matrix import run
from tests.matrix.operations import CELLS
from tests.support.together import run_together, stage

__all__ = ["stage"]

BEGAN_WITH = source.product()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """At the same time."""
    for item in items:
        if isinstance(item, pytest.Function) and item.originalname == "test_cell":
            item.user_properties.append(("cell", item.callspec.params["name"]))
    run_together(items, "matrix")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the record of a cell as soon as it has ended."""
    name = next((value for key, value in report.user_properties if key == "cell"), None)
    if run.WHOLE and name is not None and (report.when == "call" or report.failed):
        if source.product() != BEGAN_WITH:
            pytest.exit("the product's source changed while its cells ran: start dev/test --matrix again")
        cell = CELLS[str(name)]
        proofs.MATRIX.keep(cell.name, cell.scope, passed=report.passed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Which cells these were, and what is still missing."""
    terminalreporter.write_line(run.summary())
    if run.WHOLE and not config.option.collectonly:
        stamp = proofs.MATRIX.finish(run.scopes())
        left = len(proofs.MATRIX.missing(run.scopes()))
        text = f"stamp: {stamp}" if stamp is not None else f"{left} cells to go: run {proofs.MATRIX.command} again"
        terminalreporter.write_line(f"kill matrix: {text}")
