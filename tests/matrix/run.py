"""What one run of the tests plays: the cells of a commit, or what is missing of the whole table.

MATRIX_SEED=<hash> chooses the cells of another source; MATRIX=<text> takes the cells with this in their name, as
`staged/verify`; MATRIX=all, as `dev/test --matrix` sets it, takes all cells that have not passed with the present
source, and keeps a record of each.
"""

from __future__ import annotations

import os
from functools import cache

from dev.tools import proofs, source
from tests.matrix.choose import Choice, choose, read_ever_failed
from tests.matrix.operations import CELLS

ASKED = os.environ.get("MATRIX", "")
WHOLE = ASKED == "all"


@cache
def seed() -> str:
    """Of the sample."""
    return os.environ.get("MATRIX_SEED") or source.product()


@cache
def _choice() -> Choice:
    return choose(tuple(CELLS.values()), read_ever_failed(), seed())


@cache
def names() -> tuple[str, ...]:
    """Of the cells of this run."""
    if WHOLE:
        return tuple(proofs.MATRIX.missing(scopes()))
    return tuple(name for name in CELLS if ASKED in name) if ASKED else _choice().names


def scopes() -> dict[str, str]:
    """Name of each cell, and the hash of what it can reach."""
    return {name: cell.scope for name, cell in CELLS.items()}


def summary() -> str:
    """What this run plays, and how to do it again."""
    if WHOLE:
        return f"kill matrix: {len(names())} of {len(CELLS)} cells are missing for this source"
    if ASKED:
        return f"kill matrix: {len(names())} of {len(CELLS)} cells have {ASKED!r} in their name"
    choice = _choice()
    parts = f"{choice.covering} for each step and way, {choice.failed} that ever failed, {choice.sample} by sample"
    again = f"MATRIX_SEED={seed()} dev/test --fast -- tests/matrix"
    return f"kill matrix: {len(choice.names)} of {len(CELLS)} cells ({parts}); again: {again}"
