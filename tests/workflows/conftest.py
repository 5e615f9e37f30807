"""One pair of production workers for each module of workflow tests; each test has a cluster of its own on it."""

from __future__ import annotations

import pytest

from tests.support.together import run_together, stage

__all__ = ["stage"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a module run at the same time."""
    run_together(items, "workflows")
