"""GaleraRestore, strategy in_place: the cluster starts again on data that fits together, or says why not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from tests.fakes.kill import Step
from tests.fakes.stage import BACKUP_ID, Handle, Stage, assert_eventually, failure_of
from tests.fakes.world import World
from tests.matrix.ends import assert_whole, check_mark_removed, failure_of_a_killed_restore, mended_statefulset
from tests.matrix.steps import FORMED, HOLD, INSPECT, LET_GO, NOTE_CHANGE, TRY_PODS, UNMARK, create, release, remove
from tests.matrix.table import ALL, JANITOR, KILLS, REMOVED, REPEATS, WORKING, Call, Operation, Row, Scene, Way, Works

BEFORE = {
    "inspect": INSPECT,
    "try pods": TRY_PODS,
    "plan": Step("observe_cluster", "statefulset", by_lease=False),
    "check": Step("run_runner", "create_pod", by_lease=False),
    "first step down": Step("scale_down", "scale", lambda arguments: bool(arguments["replicas"] == 2)),
    "scale down": Step("scale_down", "scale"),
}
OUTAGE = {
    "stopped": Step("wait_stopped", "members"),
    "hold": HOLD,
    "note": NOTE_CHANGE,
    "restore-0": create("0"),
    "restore-1": create("1"),
    "restore-2": create("2"),
    "remove": remove("1"),
}
START = {
    "let go": LET_GO,
    "scale up": Step("scale_up", "scale"),
    "formed": FORMED,
}
STEPS = {**BEFORE, **OUTAGE, **START}
TOUCHED = {"restore-1", "restore-2", "remove"}
"""Steps at whose begin some claims are restored, and others are not."""


def _row(step: str, *ways: Way, **options: Any) -> Row:
    return Row(step, Call(STEPS[step]), ways, **options)


ROWS = (
    *(_row(step, *ALL) for step in BEFORE if step != "try pods"),
    _row("try pods", *REPEATS, *KILLS),  # what Kubernetes refuses is a finding, as tests of the preflight have it
    _row("stopped", *ALL, Way.BOTH, *REMOVED),
    _row("hold", *ALL, *JANITOR, *REMOVED),
    _row("note", *ALL, *REMOVED),
    _row("restore-0", *ALL, Way.BOTH_LOST, *REMOVED),
    _row("restore-1", *ALL, Way.BOTH_LOST, *REMOVED),
    _row("restore-2", *ALL, *REMOVED),
    *(Row(f"release-{each}", Call(release(each)), REMOVED, part_of=f"restore-{each}") for each in "012"),
    _row("remove", *ALL, fails=1),
    _row("let go", Way.FAILS, *REPEATS, *KILLS, *JANITOR, *REMOVED, fails=1),
    _row("scale up", Way.FAILS, *REPEATS, *KILLS, Way.BOTH_LOST, *REMOVED, fails=1),  # tried until it works
    _row("formed", *REPEATS, *KILLS, *REMOVED),
    Row("unmark", Call(UNMARK), REMOVED),
    Row("the runner of claim 0 works", Works("restore", 0, started=1), WORKING),
    Row("the runner of claim 1 works", Works("restore", 1, started=2), WORKING),
)


async def _prepare(scene: Scene) -> None:
    """A healthy cluster with a backup."""


async def start(scene: Scene, **options: Any) -> Handle:
    return await scene.stage.restore(scene.world, **options)


async def _check(scene: Scene) -> None:
    stage, world, step = scene.stage, scene.world, scene.step
    match scene.way:
        case Way.FAILS if step in START:
            await scene.handle.result()
            await stage.assert_settled(world)
        case Way.FAILS:
            await _check_failure(scene)
        case Way.FAILS_AFTER:
            await failure_of(scene.handle)
            await assert_whole_or_told(stage, world, scene.handle)
        case Way.RESULT_LOST | Way.WORKER_KILLED:
            await scene.handle.result()
            await stage.assert_settled(world)
            assert sum("started: restore" in event for event in world.events) == 3
            assert [event for event in world.events if event.startswith("scale")] == ["scale 0", "scale 3"]
        case Way.BOTH | Way.BOTH_LOST:
            await _check_janitor(scene)
        case way if way in REMOVED:
            await check_mark_removed(scene)
        case _:
            await failure_of_a_killed_restore(scene)
            await assert_whole_or_told(stage, world, scene.handle)
    if isinstance(scene.row.place, Works):
        assert scene.data() == {BACKUP_ID}


async def _check_failure(scene: Scene) -> None:
    world, step = scene.world, scene.step
    failure = await failure_of(scene.handle)
    assert failure.type == ("KubernetesRefused" if step in ("inspect", "plan", "check") else "RestoreFailed")
    assert "Check the worker's role" in failure.message
    if step in OUTAGE:
        assert world.claim_name(0) in failure.message
    assert scene.fault is not None
    scene.fault.times = 0
    await assert_whole_or_told(scene.stage, world, scene.handle)
    if step in TOUCHED:
        assert f"{world.claim_name(2)} restored" in failure.message
        assert scene.data() == {BACKUP_ID}


async def _check_janitor(scene: Scene) -> None:
    """Untouched claims are started as they are; a restore that has begun is finished."""
    stopping, untouched = scene.step == "stopped", scene.step in ("stopped", "hold", "restore-0")
    assert 0 < scene.replicas_left < 3 if stopping else scene.replicas_left == 0
    mended = await mended_statefulset(scene)
    if stopping:  # nobody has to look at a claim
        assert mended.text == "primary label as before, mark removed"
    else:
        assert f"mysql-data-mariadb-server-0 {'untouched' if untouched else 'restored'}" in mended.text
    assert scene.data() == {"live" if untouched else BACKUP_ID}
    await scene.stage.assert_settled(scene.world)


async def assert_whole_or_told(stage: Stage, world: World, handle: Handle) -> None:
    """Up on data that fits together; or at 0, the state of each claim is told, and a second restore mends it."""
    await assert_eventually(lambda: stage.lease_is_closed(world), lambda: f"open lease; {world.events}")
    if world.look().statefulset.replicas:
        await assert_whole(stage, world)
        return
    assert not world.members
    assert not list(world.present_runners())
    assert world.violations == []
    assert len({claim.data for claim in world.claims.values()}) > 1 or world.claims_are_incomplete()
    for text in await _last_words(stage, world, handle):
        for claim in world.claims:
            assert f"{claim} " in text
        assert "Start the restore again" in text
    result = await (await stage.restore(world, replicas=3)).result()
    assert result.replicas == 3
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}
    await stage.assert_settled(world)


async def _last_words(stage: Stage, world: World, handle: Handle) -> list[str]:
    """What the operation and its lease say of their end, as far as they could."""
    texts = []
    for each in (handle, stage.lease(world)):
        try:
            await each.result()
        except WorkflowFailureError as error:
            if isinstance(error.cause, ApplicationError):
                texts.append(error.cause.message)
    assert texts, "nobody said that the database is down"
    return texts


IN_PLACE = Operation(
    "in_place",
    "restore",
    ROWS,
    _prepare,
    start,
    _check,
    world={"backups": (BACKUP_ID,)},
    times_out=("check", timedelta(seconds=30)),
)
