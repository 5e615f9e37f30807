"""GaleraRestore, strategy rolling: no replica ever joins on other data, and what the first one wrote is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from tests.fakes.kill import Step
from tests.fakes.stage import BACKUP_ID, Handle, Stage, assert_eventually, failure_of
from tests.fakes.world import World
from tests.matrix.ends import failure_of_a_killed_restore
from tests.matrix.table import KILLS, REPEATS, WORKING, Call, Operation, Row, Scene, Way, Works


def _pod(name: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda arguments: str(arguments["pod"].metadata.name).endswith(f"z-{name}")


def _to(replicas: int) -> Callable[[Mapping[str, Any]], bool]:
    return lambda arguments: bool(arguments["replicas"] == replicas)


BEFORE = {
    "tidy": Step("run_runner", "create_pod", _pod("discard")),
    "check": Step("run_runner", "create_pod", _pod("check-1"), by_lease=False),
    "unpack": Step("run_runner", "create_pod", _pod("unpack"), by_lease=False),
    "scale down": Step("scale_down", "scale", _to(0)),
}
OUTAGE = {
    "stopped": Step("wait_stopped", "members"),
    "restore-0": Step("run_runner", "create_pod", _pod("0"), by_lease=False),
    "start first": Step("scale_up", "scale", _to(1)),
    "first formed": Step("wait_formed", "members"),
}
SERVING = {
    "restore-1": Step("run_runner", "create_pod", _pod("1"), by_lease=False),
    "remove-1": Step("remove_runners", "delete_pod", lambda arguments: arguments["name"].endswith("z-1"), False),
    "restore-2": Step("run_runner", "create_pod", _pod("2"), by_lease=False),
    "start all": Step("scale_up", "scale", _to(3)),
}
STEPS = {**BEFORE, **OUTAGE, **SERVING}
EITHER = ("stopped", "restore-0")
"""Whoever is killed here may hear of it when the first volume is touched: then the restore is finished."""
AGAIN = ("start first", "start all", "first formed", "remove-1")
"""The lease that finishes the restore takes these steps again."""
LATE = ("start first", "first formed", "start all")


def _row(step: str) -> Row:
    ways = (Way.FAILS, *REPEATS, *KILLS, *((Way.BOTH_LATE,) if step in LATE else ()))
    return Row(step, Call(STEPS[step]), ways, **({"fails": 1} if step in AGAIN else {}))


ROWS = (
    *(_row(step) for step in STEPS),
    *(
        Row(f"the runner of claim {ordinal} works", Works("restore", ordinal, ordinal + 1), (*WORKING, Way.BOTH))
        for ordinal in (0, 1, 2)
    ),
)


async def assert_whole(stage: Stage, world: World) -> str:
    """All replicas on the old data, or all on the restored; which."""
    await stage.assert_settled(world)
    assert world.statefulset.replicas == 3
    [data] = {claim.data for claim in world.claims.values()}
    assert data in ("live", BACKUP_ID)
    return data


def scaled(world: World) -> list[str]:
    """In which steps the StatefulSet was scaled."""
    return [event for event in world.events if event.startswith("scale")]


def written(world: World) -> list[int]:
    """How often each claim was written."""
    return [claim.written for claim in world.claims.values()]


async def _prepare(scene: Scene) -> None:
    """A healthy cluster with a backup."""


async def _start(scene: Scene, **options: Any) -> Handle:
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
    assert data == ("live" if scene.step in (*BEFORE, "stopped", "restore-0") else BACKUP_ID)


async def _check_janitor(scene: Scene) -> None:
    """The janitor goes on from the mark and from what it finds."""
    await scene.janitor.result()
    if scene.way == Way.BOTH:
        ordinal = int(scene.step.split()[-2])
        assert scene.data_left[ordinal] == "incomplete"
        assert scene.replicas_left == (1 if ordinal else 0)
    assert await assert_whole(scene.stage, scene.world) == BACKUP_ID
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
    _start,
    _check,
    world={"backups": (BACKUP_ID,)},
    times_out=("tidy", timedelta(seconds=30)),
)
