"""GaleraRestore, strategy rolling: no replica ever joins on other data, and what the first one wrote is kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.fakes.faults import ALWAYS
from tests.fakes.kill import Step
from tests.fakes.stage import BACKUP_ID, Handle, assert_eventually, failure_of
from tests.fakes.world import World
from tests.matrix.ends import assert_whole, check_mark_removed, failure_of_a_killed_restore
from tests.matrix.steps import FORMED, HOLD, LET_GO, NOTE_CHANGE, UNMARK, create, release, remove, scale_to
from tests.matrix.table import KILLS, REMOVED, REPEATS, WORKING, Call, Later, Operation, Row, Scene, Way, Works

BEFORE = {
    "tidy": create("discard", by_lease=True),
    "check": create("check-1"),
    "unpack": create("unpack"),
    "scale down": Step("scale_down", "scale"),
}
OUTAGE = {
    "stopped": Step("wait_stopped", "members"),
    "hold": HOLD,
    "note": NOTE_CHANGE,
    "restore-0": create("0"),
    "let first go": LET_GO,
    "start first": scale_to(1),
    "first formed": FORMED,
}
SERVING = {
    "restore-1": create("1"),
    "remove-1": remove("1"),
    "restore-2": create("2"),
    "start all": scale_to(3),
}
STEPS = {**BEFORE, **OUTAGE, **SERVING}
EITHER = ("stopped", "hold", "note", "restore-0")
"""Whoever is killed here may hear of it when the first volume is touched: then the restore is finished."""
AGAIN = ("let first go", "start first", "start all", "first formed", "remove-1")
"""The lease that finishes the restore takes these steps again."""
LATE = ("hold", "let first go", "start first", "first formed", "start all")
HOLDING = (
    "stopped",
    "hold",
    "note",
    "restore-0",
    "let first go",
    "start first",
    "first formed",
    "restore-1",
    "restore-2",
    "start all",
)
"""Steps in which somebody removes the mark."""


def _row(step: str) -> Row:
    ways = (Way.FAILS, *REPEATS, *KILLS, *((Way.BOTH_LATE,) if step in LATE else ()))
    ways = (*ways, *REMOVED) if step in HOLDING else ways
    return Row(step, Call(STEPS[step]), ways, fails=1 if step in AGAIN else ALWAYS)


ROWS = (
    *(_row(step) for step in STEPS),
    *(Row(f"release-{each}", Call(release(each)), REMOVED, part_of=f"restore-{each}") for each in "012"),
    Row("formed", Later(FORMED, "scale 3"), REMOVED),
    Row("unmark", Call(UNMARK), REMOVED),
    *(
        Row(f"the runner of claim {ordinal} works", Works("restore", ordinal, ordinal + 1), (*WORKING, Way.BOTH))
        for ordinal in (0, 1, 2)
    ),
)


def scaled(world: World) -> list[str]:
    """In which steps the StatefulSet was scaled."""
    return [event for event in world.events if event.startswith("scale")]


def written(world: World) -> list[int]:
    """How often each claim was written."""
    return [claim.written for claim in world.claims.values()]


async def _prepare(scene: Scene) -> None:
    """A healthy cluster with a backup."""


async def start(scene: Scene, **options: Any) -> Handle:
    return await scene.stage.restore(scene.world, strategy="rolling", **options)


async def _check(scene: Scene) -> None:
    stage, world = scene.stage, scene.world
    match scene.way:
        case Way.FAILS:
            await _check_failure(scene)
        case Way.RESULT_LOST | Way.WORKER_KILLED:
            await scene.handle.result()
            assert await assert_whole(stage, world) == BACKUP_ID
        case Way.BOTH | Way.BOTH_LATE:
            await _check_janitor(scene)
        case way if way in REMOVED:
            await check_mark_removed(scene)
        case _:
            await _check_end(scene)
    if scene.way == Way.BOTH:
        return
    assert max(written(world)) <= 1
    if scene.way in REPEATS or isinstance(scene.row.place, Works):
        assert written(world) == [1, 1, 1]
        assert scaled(world) == ["scale 0", "scale 1", "scale 3"]  # also when the lease finishes it


async def _check_failure(scene: Scene) -> None:
    """The restore's own attempts fail; those of the lease that finishes it succeed."""
    if scene.step == "start all":  # by the lease alone, which never gives up
        await scene.handle.result()
    else:
        failure = await failure_of(scene.handle)
        assert "Check the worker's role" in failure.message or scene.step == "tidy"
    data = await assert_whole(scene.stage, scene.world)
    assert data == ("live" if scene.step in (*BEFORE, "stopped", "hold", "note", "restore-0") else BACKUP_ID)


async def _check_janitor(scene: Scene) -> None:
    """The janitor goes on from the mark and from what it finds."""
    await scene.janitor.result()
    if scene.way == Way.BOTH:
        ordinal = int(scene.step.split()[-2])
        assert scene.data_left[ordinal] == "incomplete"
        assert scene.replicas_left == (1 if ordinal else 0)
    data = await assert_whole(scene.stage, scene.world)
    if scene.step == "hold":  # nothing was begun
        assert (data, written(scene.world)) == ("live", [0, 0, 0])
        return
    assert data == BACKUP_ID
    assert written(scene.world) == [1, 1, 1] if scene.way == Way.BOTH_LATE else written(scene.world)[0] == 1


async def _check_end(scene: Scene) -> None:
    stage, world, step = scene.stage, scene.world, scene.step
    await failure_of_a_killed_restore(scene)
    works = isinstance(scene.row.place, Works)
    if scene.way == Way.TERMINATE_LEASE and not works:
        # Nobody is left who would remove what was unpacked: the next rolling restore does.
        await assert_eventually(lambda: not list(world.look().present_runners()))
        world.volume.unpacked.clear()
    data = await assert_whole(stage, world)
    if step not in EITHER:
        assert data == ("live" if step in BEFORE else BACKUP_ID)


ROLLING = Operation(
    "rolling",
    "restore",
    ROWS,
    _prepare,
    start,
    _check,
    world={"backups": (BACKUP_ID,)},
    times_out=("tidy", timedelta(seconds=30)),
)
