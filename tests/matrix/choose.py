"""Which cells a commit runs: every step, every way, what ever failed, and a sample that the source chooses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

EVER_FAILED = Path(__file__).parent / "ever_failed.txt"
SAMPLE = 12
"""Cells beyond those that must run: what fits into the time that the tests on fakes may take."""


class _Cell(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def step_name(self) -> str:
        """Of its step, with its operation."""

    @property
    def way(self) -> str: ...


@dataclass(frozen=True)
class Choice:
    """Names of the chosen cells, in the order of the table, and why so many."""

    names: tuple[str, ...]
    covering: int
    """For a step or a way that no other chosen cell has."""
    failed: int
    """That have ever failed."""
    sample: int


def choose(cells: Sequence[_Cell], ever_failed: Iterable[str], seed: str, sample: int = SAMPLE) -> Choice:
    """The same for the same seed, another one for another seed."""
    shuffled = sorted(cells, key=lambda cell: hashlib.sha256(f"{seed}/{cell.name}".encode()).digest())
    failed = set(ever_failed)
    chosen = [cell for cell in shuffled if cell.name in failed]
    covering = _covering([cell for cell in shuffled if cell.name not in failed], chosen)
    chosen += covering
    names = {cell.name for cell in chosen}
    rest = [cell for cell in shuffled if cell.name not in names][:sample]
    names |= {cell.name for cell in rest}
    in_order = tuple(cell.name for cell in cells if cell.name in names)
    return Choice(in_order, covering=len(covering), failed=len(chosen) - len(covering), sample=len(rest))


def _covering(cells: Sequence[_Cell], chosen: Sequence[_Cell]) -> list[_Cell]:
    """Cells for the steps and ways that are in no chosen one; rare ways first, each then takes a step with it."""
    steps, ways = {cell.step_name for cell in chosen}, {cell.way for cell in chosen}
    count = {way: sum(cell.way == way for cell in cells) for way in {cell.way for cell in cells}}
    found = []
    for cell in sorted(cells, key=lambda cell: count[cell.way]):
        if cell.way not in ways:
            found.append(cell)
            ways.add(cell.way)
            steps.add(cell.step_name)
    for cell in cells:
        if cell.step_name not in steps:
            found.append(cell)
            steps.add(cell.step_name)
    return found


def read_ever_failed(path: Path = EVER_FAILED) -> list[str]:
    """Names of the cells that have ever failed: one a line, with a date and a reason behind two spaces."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return [line.partition("  ")[0] for line in lines]
