"""Every step of every operation, times every way in which it can die there: `operations` is the table."""

from __future__ import annotations

import pytest

from tests.fakes.stage import Stage
from tests.matrix import run
from tests.matrix.operations import CELLS
from tests.matrix.play import play


@pytest.mark.parametrize("name", run.names())
async def test_cell(stage: Stage, name: str) -> None:
    await play(stage, CELLS[name])
