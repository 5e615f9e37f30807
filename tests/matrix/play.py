"""Play one cell: bring the operation to its step, let it die there, and check what must hold."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import get_args
from uuid import uuid4

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError

from galera_backup import names
from tests.fakes.kill import Kill, kill
from tests.fakes.safety import faults_left
from tests.fakes.stage import Stage, assert_eventually, serving
from tests.fakes.world import World
from tests.matrix.table import REMOVED, REMOVED_IN_UNDO, Call, Cell, Hold, Scene, Way

DEAD = ConnectionError("the worker is dead")
"""Of a call that never has its effect; its activity is not tried again, because its workflow is gone."""
LONGER_THAN_AN_UNDO = 1.5
"""Seconds: longer than an undo takes that does not wait for the end of the step."""
HEARD = 2.5
"""Seconds in which a step that was under way has its effect, and hears that its workflow is gone."""
_BY_WAY: dict[Way, Kill] = {Way(how): how for how in get_args(Kill)}
_BEFORE_THE_UNDO: dict[Way, Kill] = {
    Way.TERMINATE_MARK_REMOVED: "terminate",
    Way.TERMINATE_ANNOTATIONS_REMOVED: "terminate",
    Way.TERMINATE_LEASE_ANNOTATIONS_REMOVED: "terminate lease",
}


async def play(stage: Stage, cell: Cell) -> None:
    """Run one cell on this stage; a cell in which workers are killed has two of its own."""
    if cell.way == Way.WORKER_KILLED:
        await _worker_killed(stage, cell)
        return
    scene = await _scene(stage, cell)
    match cell.way:
        case Way.FAILS | Way.FAILS_AFTER | Way.RESULT_LOST:
            await _with_fault(scene, cell)
        case Way.BOTH | Way.BOTH_LOST | Way.BOTH_LATE:
            await _both_terminated(scene, cell)
        case Way.TIME_OUT:
            await _timed_out(scene, cell)
        case way if way in REMOVED:
            await _mark_removed(scene, cell)
        case way if way in REMOVED_IN_UNDO:
            await _mark_removed_in_undo(scene, cell)
        case _:
            await _killed(scene, cell, _BY_WAY[cell.way])
    await cell.operation.check(scene)
    assert scene.fault is None or scene.fault.taken, f"never came to {scene.step!r}; {scene.world.events}"


async def _scene(stage: Stage, cell: Cell) -> Scene:
    scene = Scene(stage, stage.world(**cell.operation.world), cell.row, cell.way)
    await cell.operation.prepare(scene)
    return scene


async def _entered(scene: Scene, hold: Hold) -> None:
    await assert_eventually(hold.entered, lambda: f"never came to {scene.step!r}; {scene.world.events}")


async def _with_fault(scene: Scene, cell: Cell) -> None:
    assert isinstance(cell.row.place, Call)
    step = cell.row.place.step
    match cell.way:
        case Way.FAILS:
            fault = step.fails(times=cell.row.fails)
        case Way.FAILS_AFTER:
            fault = step.fails_after_its_effect()
        case _:
            fault = step.result_is_lost()
    scene.fault = scene.world.faults.add(fault)
    scene.handle = await cell.operation.start(scene)


async def _killed(scene: Scene, cell: Cell, how: Kill) -> None:
    place = cell.row.place
    hold = place.hold(scene.world)
    scene.handle = await cell.operation.start(scene)
    await _entered(scene, hold)
    try:
        await kill(scene.stage, scene.world, scene.handle, how)
        orphaned = how == "terminate lease" if place.by_lease else how != "cancel"
        if not orphaned and hold.fault is not None:  # whoever runs the step waits for its end, however long it takes
            await asyncio.sleep(LONGER_THAN_AN_UNDO)
        if cell.operation.held is not None and hold.fault is not None:
            await cell.operation.held(scene)
    except RPCError as error:
        raise AssertionError(f"nothing to {how}: {scene.world.events}") from error
    finally:
        hold.go()


async def _timed_out(scene: Scene, cell: Cell) -> None:
    assert cell.operation.times_out is not None
    hold = cell.row.place.hold(scene.world)
    scene.handle = await cell.operation.start(scene, execution_timeout=cell.operation.times_out[1])
    await _entered(scene, hold)
    try:
        await assert_eventually(lambda: _has_timed_out(scene))
    finally:
        hold.go()


async def _has_timed_out(scene: Scene) -> bool:
    return await scene.stage.status(scene.handle) == WorkflowExecutionStatus.TIMED_OUT


async def _mark_removed(scene: Scene, cell: Cell) -> None:
    hold = cell.row.place.hold(scene.world)
    scene.handle = await cell.operation.start(scene)
    await _remove_mark(scene, cell, hold)


async def _mark_removed_in_undo(scene: Scene, cell: Cell) -> None:
    assert cell.operation.dies is not None
    dying = cell.operation.dies.hold(scene.world)
    scene.handle = await cell.operation.start(scene)
    await assert_eventually(dying.entered, lambda: f"nothing to undo; {scene.world.events}")
    hold = cell.row.place.hold(scene.world)
    await kill(scene.stage, scene.world, scene.handle, _BEFORE_THE_UNDO[cell.way])
    await _remove_mark(scene, cell, hold)


async def _remove_mark(scene: Scene, cell: Cell, hold: Hold) -> None:
    world, ordinal = scene.world, cell.operation.marked
    try:
        await _entered(scene, hold)
        with world.lock:
            carrier = world.statefulset if ordinal is None else world.member(ordinal)
            assert _is_marked(carrier.annotations), f"no mark to remove; {world.events}"
            only_mark = cell.way in (Way.MARK_REMOVED, Way.TERMINATE_MARK_REMOVED)
            world.remove_mark(ordinal, all_annotations=not only_mark)
    finally:
        hold.go()


async def _both_terminated(scene: Scene, cell: Cell) -> None:
    stage, world = scene.stage, scene.world
    hold = cell.row.place.hold(world)
    scene.handle = await cell.operation.start(scene)
    await _entered(scene, hold)
    if hold.fault is None:
        await asyncio.sleep(0.5)  # until what works has done something
    await asyncio.gather(stage.lease(world).terminate("by a test"), scene.handle.terminate("by a test"))
    if cell.way == Way.BOTH_LATE:
        before = _marked(world)
        scene.janitor = janitor = await stage.janitor(world)

        async def has_begun() -> bool:  # to undo; when there is nothing to undo it ends
            return _marked(world) != before or await stage.status(janitor) != WorkflowExecutionStatus.RUNNING

        await assert_eventually(has_begun, lambda: world.events)
        hold.go()
        return
    if cell.way == Way.BOTH_LOST:
        assert hold.fault is not None
        hold.fault.before = DEAD
    hold.go()
    await asyncio.sleep(HEARD)
    with world.lock:
        scene.left = tuple(faults_left(world.look()))
        scene.replicas_left = world.statefulset.replicas
        scene.data_left = tuple(claim.data for claim in world.claims.values())
    scene.janitor = await stage.janitor(world)


def _marked(world: World) -> dict[str, int]:
    """The versions of the objects that carry a mark. Who undoes changes the object first."""
    with world.lock:
        found = {each.name: each.version for each in world.look().members.values() if _is_marked(each.annotations)}
        statefulset = world.statefulset
        return found | ({"statefulset": statefulset.version} if _is_marked(statefulset.annotations) else {})


def _is_marked(annotations: Mapping[str, str]) -> bool:
    return names.LEASE_ANNOTATION in annotations


async def _worker_killed(stage: Stage, cell: Cell) -> None:
    own = Stage(stage.client, stage.worlds, f"{stage.queue}-{uuid4()}")
    async with AsyncExitStack() as first:
        await first.enter_async_context(serving(own))
        scene = await _scene(own, cell)
        hold = cell.row.place.hold(scene.world, result_is_lost=True)
        scene.handle = await cell.operation.start(scene)
        try:
            await _entered(scene, hold)
            ending = asyncio.ensure_future(first.aclose())
            await asyncio.sleep(0.5)  # they poll no more, and their activities are cancelled
        finally:
            hold.go()
        await ending
    async with serving(own):
        hold.resume()
        await cell.operation.check(scene)
