"""Which cells of the kill matrix a commit runs."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.matrix.choose import choose, read_ever_failed
from tests.matrix.operations import CELLS, OPERATIONS
from tests.matrix.table import REMOVED, REMOVED_IN_UNDO, Call, Cell, Operation, Way

TABLE = tuple(CELLS.values())
SEEDS = ("3515f3958591f76b", "0", "another")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sample", [0, 1, 40, 10_000])
def test_every_step_and_every_way_and_what_ever_failed(seed: str, sample: int) -> None:
    failed = read_ever_failed()
    choice = choose(TABLE, failed, seed, sample)
    chosen = [CELLS[name] for name in choice.names]
    assert {cell.step_name for cell in chosen} == {cell.step_name for cell in TABLE}
    assert {cell.way for cell in chosen} == set(Way)
    assert set(failed) <= set(choice.names)
    assert len(choice.names) == len(set(choice.names)) == choice.covering + choice.failed + choice.sample
    assert choice.sample == min(sample, len(TABLE) - choice.covering - choice.failed)


def test_same_seed_same_cells() -> None:
    assert choose(TABLE, (), "a") == choose(TABLE, (), "a")
    assert choose(TABLE, (), "a").names == choose(tuple(reversed(TABLE)), (), "a").names[::-1]


def test_another_seed_other_cells() -> None:
    first, second = (set(choose(TABLE, (), seed).names) for seed in ("a", "b"))
    assert len(first & second) < len(first) * 0.7


def test_every_cell_has_its_turn() -> None:
    """No cell is left out by every seed, and none of the sample is preferred."""
    turns = Counter(name for seed in range(300) for name in choose(TABLE, (), str(seed)).names)
    assert set(turns) == set(CELLS)


def test_what_covers_is_about_one_cell_for_each_step() -> None:
    steps = {cell.step_name for cell in TABLE}
    assert choose(TABLE, (), "a", 0).covering <= len(steps) + len(Way)


def test_one_cell_covers_a_step_with_its_parts() -> None:
    undone = [cell for cell in TABLE if cell.step_name == "staged, undone/undo"]
    assert {cell.operation.name for cell in undone} == {"staged, undone"}
    assert len(undone) > len(REMOVED_IN_UNDO) * 2
    assert choose(undone, (), "a", 0).covering == len(REMOVED_IN_UNDO)
    release = [cell for cell in TABLE if cell.row.step == "release-1" and cell.operation.name == "in_place"]
    restore = next(cell for cell in TABLE if cell.name == "in_place/restore-1/cancel")
    assert choose([*release, restore], [restore.name], "a", 0).covering == len(release) == len(REMOVED)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_part_is_of_a_step(operation: Operation) -> None:
    """Of the same operation; or all its steps are parts of the undo."""
    steps = {row.step for row in operation.rows if not row.part_of}
    parts = {row.part_of for row in operation.rows if row.part_of}
    assert parts <= steps if operation.dies is None else (steps, parts) == (set(), {"undo"})


def test_a_cell_that_failed_covers_its_step_and_its_way() -> None:
    every = [cell.name for cell in TABLE]
    assert choose(TABLE, every, "a").covering == 0


def test_cells_that_ever_failed_are_in_the_table() -> None:
    assert set(read_ever_failed()) <= set(CELLS)


# --- the table itself


def test_names_are_unique() -> None:
    assert len(CELLS) == sum(len(each.ways(row)) for each in OPERATIONS for row in each.rows)


@pytest.mark.parametrize("cell", TABLE, ids=lambda cell: cell.name)
def test_ways_fit_their_place(cell: Cell) -> None:
    """A failure needs a call, and an effect that is lost too; an undo needs a place to die at."""
    if cell.way in (Way.FAILS, Way.FAILS_AFTER, Way.RESULT_LOST, Way.BOTH_LOST):
        assert isinstance(cell.row.place, Call)
    assert (cell.way in REMOVED_IN_UNDO) == (cell.operation.dies is not None)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_result_is_lost_in_every_call(operation: object) -> None:
    """Every activity may run twice, and proves it; so does every step with a worker killed in it.

    A step that is there only for the removal of its mark is a part of another one, or is repeated in `activities/`.
    """
    for cell in TABLE:
        if cell.operation is operation and cell.operation.name != "backup, not of the primary":
            ways = cell.operation.ways(cell.row)
            if set(ways) <= {*REMOVED, *REMOVED_IN_UNDO}:
                continue
            repeated = Way.RESULT_LOST in ways or not isinstance(cell.row.place, Call)
            assert repeated or cell.row.step == "between the labels"
