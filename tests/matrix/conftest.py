"""The cells of a run are played at the same time."""

from __future__ import annotations

import pytest

from tests.matrix import run
from tests.matrix.reporting import CELL
from tests.support import together

stage = together.sandboxed_stage if run.WHOLE else together.stage


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """At the same time."""
    for item in items:
        if isinstance(item, pytest.Function) and item.originalname == "test_cell":
            item.user_properties.append((CELL, item.callspec.params["name"]))
    together.run_together(items, "matrix")
