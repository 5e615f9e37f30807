"""GaleraRestore, strategy staged: whatever fails, one of two clusters, both whole."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.fakes.faults import ALWAYS
from tests.fakes.kill import Step
from tests.fakes.stage import BACKUP_ID, Handle, assert_eventually, failure_of
from tests.fakes.world import World
from tests.matrix.ends import assert_whole, check_mark_removed, failure_of_a_killed_restore, mended_statefulset
from tests.matrix.steps import HOLD, LET_GO, NOTE_CHANGE, UNMARK, create, release, remove
from tests.matrix.table import KILLS, REMOVED, REPEATS, Call, Operation, Row, Scene, Way, Works

BEFORE = {
    "tidy": create("tidy-1", by_lease=True),
    "try": Step("try_checks", "credentials", by_lease=False),
    "check": create("check-1"),
    "stage": create("stage-1"),
    "remove": remove("stage-2"),
    "verify": create("verify-1"),
    "scale down": Step("scale_down", "scale"),
}
OUTAGE = {
    "stopped": Step("wait_stopped", "members"),
    "hold": HOLD,
    "swap": create("in-1"),
    "let go": LET_GO,
    "scale up": Step("scale_up", "scale"),
    "formed": Step("wait_formed", "members"),
    "prove": Step("check_tables", "check_table", by_lease=False),
}
STEPS = {**BEFORE, **OUTAGE}
HOLDING = ("stopped", "hold", "swap", "let go", "scale up", "formed")
"""Steps in which somebody removes the mark."""
NO_FAILURE = ("remove", "formed")
"""Steps without the way `fails`: their failure is retried, or is that of another test."""


def _row(step: str) -> Row:
    ways = (*REPEATS, *KILLS) if step in NO_FAILURE else (Way.FAILS, *REPEATS, *KILLS)
    ways = (*ways, *REMOVED) if step in HOLDING else ways
    return Row(step, Call(STEPS[step]), ways, fails=1 if step in ("let go", "scale up") else ALWAYS)


ROWS = (
    *(_row(step) for step in STEPS),
    Row("note swap", Call(NOTE_CHANGE), (Way.FAILS, *REPEATS, *KILLS, *REMOVED), fails=ALWAYS),
    Row("release", Call(release("in-1")), REMOVED, part_of="swap"),
    Row("unmark", Call(UNMARK), REMOVED),
    Row("the swap of claim 0 works", Works("swap", 0, started=3), (Way.BOTH,)),
    Row("the swap of claim 2 works", Works("swap", 2, started=3), (Way.BOTH,)),
)
BACK_ROWS = (
    Row("note swap", Call(NOTE_CHANGE), REMOVED),
    Row("swap back", Call(create("back-1")), REMOVED),
    Row("release", Call(release("back-1")), REMOVED, part_of="swap back"),
)


async def _prepare(scene: Scene) -> None:
    """A healthy cluster with a backup."""


async def _prepare_to_go_back(scene: Scene) -> None:
    """Servers on the restored data end again and again."""
    scene.world.ends_on = {BACKUP_ID}


async def start(scene: Scene, **options: Any) -> Handle:
    return await scene.stage.restore(scene.world, strategy="staged", **options)


async def _check(scene: Scene) -> None:
    stage, world, step = scene.stage, scene.world, scene.step
    match scene.way:
        case Way.FAILS:
            failure = await failure_of(scene.handle)
            assert "Check the worker's role" in failure.message or step == "tidy"
            assert await assert_whole(stage, world) == "live"
        case Way.RESULT_LOST | Way.WORKER_KILLED:
            await scene.handle.result()
            assert await assert_whole(stage, world) == BACKUP_ID
            assert [event for event in world.events if event.startswith("scale")] == ["scale 0", "scale 3"]
        case Way.BOTH:  # the janitor finds a mixture, and puts the old data back
            ordinal = 0 if "claim 0" in step else 2
            assert scene.data_left[ordinal] == "incomplete"
            assert f"{world.claim_name(ordinal)} untouched" in (await mended_statefulset(scene)).text
            assert await assert_whole(stage, world) == "live"
        case way if way in REMOVED:
            await check_mark_removed(scene)
        case _:
            await _check_end(scene)


async def _check_end(scene: Scene) -> None:
    stage, world, way = scene.stage, scene.world, scene.way
    await failure_of_a_killed_restore(scene)
    await assert_eventually(lambda: not _is_dirty(world) or way == Way.TERMINATE_LEASE)
    if way == Way.TERMINATE_LEASE:  # nobody is left who would remove the copies: the next staged restore does
        await assert_eventually(lambda: stage.lease_is_closed(world))
        await (await start(scene)).result()
    data = await assert_whole(stage, world)
    if scene.step in BEFORE and way != Way.TERMINATE_LEASE:
        assert data == "live"


def _is_dirty(world: World) -> bool:
    return any(claim.journal is not None for claim in world.look().claims.values())


STAGED = Operation(
    "staged",
    "restore",
    ROWS,
    _prepare,
    start,
    _check,
    world={"backups": (BACKUP_ID,)},
    times_out=("tidy", timedelta(seconds=30)),
)
STAGED_AND_BACK = Operation(
    "staged, goes back",
    "restore",
    BACK_ROWS,
    _prepare_to_go_back,
    start,
    check_mark_removed,
    world={"backups": (BACKUP_ID,)},
)
