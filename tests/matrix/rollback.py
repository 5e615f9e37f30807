"""GaleraRollback and GaleraTidy: the data from before a staged restore is put back whole, or removed, or neither."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import WorkflowExecutionStatus

from galera_backup.models.restore import TidyRequest
from tests.fakes.kill import Step
from tests.fakes.stage import BACKUP_ID, Handle, failure_of
from tests.fakes.world import World
from tests.matrix.ends import (
    check_mark_removed,
    ended,
    failure_of_a_killed_restore,
    is_for_an_operator,
    mended_statefulset,
)
from tests.matrix.steps import FORMED, HOLD, LET_GO, NOTE_CHANGE, UNMARK, create, release
from tests.matrix.table import KILLS, REMOVED, REPEATS, WORKING, Call, Operation, Row, Scene, Way, Works

HOUR = 3600


STEPS = {
    "check": create("kept-1"),
    "look": create("check-1"),
    "scale down": Step("scale_down", "scale"),
    "stopped": Step("wait_stopped", "members"),
    "hold": HOLD,
    "swap": create("back-1"),
    "let go": LET_GO,
    "scale up": Step("scale_up", "scale"),
    "formed": FORMED,
}
ROWS = (
    *(Row(step, Call(STEPS[step]), (Way.FAILS, *REPEATS, *KILLS), fails=1) for step in ("check", "look", "scale down")),
    *(
        Row(step, Call(STEPS[step]), (Way.FAILS, *REPEATS, *KILLS, *REMOVED), fails=1)
        for step in ("stopped", "hold", "swap", "let go", "scale up")
    ),
    Row("formed", Call(STEPS["formed"]), (*REPEATS, *KILLS, *REMOVED)),
    Row("note swap", Call(NOTE_CHANGE), (Way.FAILS, *REPEATS, *KILLS, *REMOVED), fails=1),
    Row("release", Call(release("back-1")), REMOVED, part_of="swap"),
    Row("unmark", Call(UNMARK), REMOVED),
    Row("the swap of claim 2 works", Works("swap", 2, started=3), (Way.BOTH,)),
)
TIDY_ROWS = (
    Row("look", Call(Step("observe_cluster", "statefulset", by_lease=False)), (*REPEATS, *KILLS)),
    Row("remove", Call(STEPS["check"]), (Way.FAILS, *REPEATS, *KILLS), fails=1),
    Row("the runner works", Works("tidy", 1, started=3), WORKING),
)


async def prepare(scene: Scene) -> None:
    """A staged restore that has kept the old data."""
    scene.world.copies_may_stay = True
    handle = await scene.stage.restore(scene.world, strategy="staged", keep_previous_for=HOUR)
    scene.restore_id = (await handle.result()).restore_id
    assert scene.data() == {BACKUP_ID}
    await scene.stage.assert_settled(scene.world)


def kept(world: World) -> set[str | None]:
    """What lies aside on the claims."""
    return {claim.previous for claim in world.look().claims.values()}


async def _start(scene: Scene, **options: Any) -> Handle:
    return await scene.stage.rollback(scene.world, scene.restore_id, **options)


async def _check(scene: Scene) -> None:
    world = scene.world
    if scene.way in REMOVED:
        await check_mark_removed(scene)
        return
    if scene.way in REPEATS:
        await scene.handle.result()
    elif scene.way == Way.FAILS and scene.step not in ("let go", "scale up"):  # that is tried until it works
        assert "Check the worker's role" in (await failure_of(scene.handle)).message
    else:
        await failure_of_a_killed_restore(scene)
    if scene.way == Way.BOTH:
        assert f"{world.claim_name(2)} untouched" in (await mended_statefulset(scene)).text
    await scene.stage.assert_settled(world)
    [data] = scene.data()
    assert data in ("live", BACKUP_ID)
    assert data == "live" or scene.way not in (*REPEATS, Way.BOTH)
    if data == BACKUP_ID:  # it can be asked for again
        await (await scene.stage.rollback(world, scene.restore_id)).result()
        await scene.stage.assert_settled(world)
        assert scene.data() == {"live"}
    assert kept(world) == {None}


async def _start_tidy(scene: Scene, **options: Any) -> Handle:
    request = TidyRequest(cluster=scene.world.cluster, restore_id=scene.restore_id, until=datetime.now(UTC))
    return await scene.stage.start("GaleraTidy", request, **options)


async def _check_tidy(scene: Scene) -> None:
    """Nothing but what was kept is removed; what is left of it can be removed again."""
    status = await ended(scene)
    await scene.stage.assert_settled(scene.world)
    if scene.way in REPEATS:
        assert status == WorkflowExecutionStatus.COMPLETED
    if status == WorkflowExecutionStatus.COMPLETED:
        assert kept(scene.world) == {None}
    if status == WorkflowExecutionStatus.FAILED:
        assert is_for_an_operator((await failure_of(scene.handle)).message)
    await (await _start_tidy(scene)).result()
    await scene.stage.assert_settled(scene.world)
    assert kept(scene.world) == {None}
    assert scene.data() == {BACKUP_ID}
    assert scene.world.events.count("scale 0") == 1


ROLLBACK = Operation(
    "rollback",
    "rollback",
    ROWS,
    prepare,
    _start,
    _check,
    world={"backups": (BACKUP_ID,)},
    times_out=("check", timedelta(seconds=20)),
)
TIDY = Operation("tidy", "tidy", TIDY_ROWS, prepare, _start_tidy, _check_tidy, world={"backups": (BACKUP_ID,)})
