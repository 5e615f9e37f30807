"""GaleraBackup: the replica always comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowExecutionStatus

from galera_backup.models.janitor import JanitorResult
from tests.fakes.kill import Step
from tests.fakes.stage import Handle, assert_eventually, failure_of
from tests.matrix.ends import STATUSES, ended, is_for_an_operator
from tests.matrix.steps import INSPECT, TRY_PODS, create, release, remove
from tests.matrix.table import (
    ALL,
    JANITOR,
    KILLS,
    REMOVED,
    REPEATS,
    UNDONE,
    WORKING,
    Blocked,
    Call,
    Operation,
    Row,
    Scene,
    Way,
    Works,
)

STEPS = {
    "inspect": INSPECT,
    "try pods": TRY_PODS,
    "check": Step("observe_cluster", "statefulset", by_lease=False),
    "look": create("look"),
    "mark": Step("mark_replica", "set_mark"),
    "move primary": Step("move_primary", "set_label"),
    "between the labels": Step("move_primary", "set_label", lambda arguments: arguments["value"] == "backup"),
    "desync": Step("desync", "set_desync"),
    "out of service": Step("wait_out_of_service", "services_that_list"),
    "run": create("backup"),
    "release": release("backup"),
    "remove": remove("backup"),
    "prune": create("prune"),
    "resync": Step("resync", "set_desync"),
    "in service": Step("wait_in_service", "services_that_list"),
    "move primary back": Step("move_primary_back", "set_label"),
    "unmark": Step("unmark_replica", "set_mark"),
}
UNDO = ("resync", "in service", "move primary back", "unmark")


def _row(step: str, *ways: Way, **options: Any) -> Row:
    return Row(step, Call(STEPS[step]), ways, **options)


ROWS = (
    _row("inspect", *ALL),
    _row("try pods", *REPEATS, *KILLS),
    _row("check", *ALL),
    _row("look", *ALL),
    _row("mark", *ALL),
    _row("move primary", *ALL, *JANITOR, *REMOVED),
    _row("between the labels", *JANITOR),
    _row("desync", *ALL, *JANITOR, *REMOVED),
    _row("out of service", *ALL, *JANITOR, *REMOVED),
    _row("run", *ALL, *REMOVED),
    _row("release", *REMOVED, part_of="run"),
    _row("remove", *ALL, fails=1),
    _row("prune", *ALL),
    _row("resync", *UNDONE, *JANITOR, *REMOVED, fails=2),
    _row("in service", *UNDONE, *JANITOR, *REMOVED, fails=1),
    _row("move primary back", *UNDONE, *JANITOR, *REMOVED, fails=1),
    _row("unmark", *UNDONE, *JANITOR, *REMOVED, fails=1),
    Row("the runner works", Works("backup", times=9), WORKING),
    Row("ON is blocked", Blocked(), WORKING),
)
PLAIN = tuple(_row(step, *JANITOR) for step in ("desync", "out of service", "resync", "in service", "unmark"))


async def _prepare(scene: Scene) -> None:
    """A healthy cluster."""


async def start(scene: Scene, **options: Any) -> Handle:
    return await scene.stage.backup(scene.world, **options)


async def _check(scene: Scene) -> None:
    world, step = scene.world, scene.step
    match scene.way:
        case Way.FAILS if step in UNDO:  # it is tried until it works
            await scene.handle.result()
        case Way.FAILS:
            failure = await failure_of(scene.handle)
            expected = {"desync": "DatabaseRefused", "prune": "PruneFailed"}.get(step, "KubernetesRefused")
            assert failure.type == expected
            assert is_for_an_operator(failure.message)
        case Way.FAILS_AFTER:
            assert is_for_an_operator((await failure_of(scene.handle)).message)
        case Way.RESULT_LOST | Way.WORKER_KILLED:
            result = await scene.handle.result()
            assert list(world.volume.manifests) == [result.manifest.backup_id]
        case Way.BOTH | Way.BOTH_LOST:
            await _check_janitor(scene)
        case way if way in REMOVED:
            await ended(scene)
        case _:
            await _check_end(scene)
    if scene.way in REPEATS or step == "the runner works":
        assert sum(event.endswith("started: backup") for event in world.events) == 1
    await check_undone(scene)


async def check_undone(scene: Scene) -> None:
    """In sync, in service, labels as before, no mark, no runner, no lease; and in the right order."""
    await scene.stage.assert_settled(scene.world)
    switched = [each for each in scene.world.events if each.startswith("desync O") and not each.endswith("blocked")]
    once = ["desync ON mariadb-server-2", "desync OFF mariadb-server-2"]
    if scene.step == "ON is blocked":  # the client may give up several times, and each ON have its effect
        assert switched[-1:] == once[-1:]
    else:
        assert switched in ([], once)


async def _check_end(scene: Scene) -> None:
    if scene.way in STATUSES:
        assert await ended(scene) == STATUSES[scene.way]
        return
    failure = await failure_of(scene.handle)
    assert failure.type in ("LeaseLost", "PruneFailed"), failure.message
    assert is_for_an_operator(failure.message)


async def _check_janitor(scene: Scene) -> None:
    """The janitor has mended what was left, and says so; the next one finds nothing."""
    assert scene.left or (scene.step, scene.way) == ("unmark", Way.BOTH), scene.world.events
    result: JanitorResult = await scene.janitor.result()
    await scene.stage.assert_settled(scene.world)
    assert [each.name for each in result.mended] == (["mariadb-server-2"] if scene.left else [])
    for mended in result.mended:
        assert "mark removed" in mended.text
        assert (mended.desynced_seconds is not None) == ("mariadb-server-2 desynced" in scene.left)
    again: JanitorResult = await (await scene.stage.janitor(scene.world)).result()
    assert again.mended == ()
    await assert_eventually(lambda: scene.stage.lease_is_closed(scene.world))
    assert await ended(scene) == WorkflowExecutionStatus.TERMINATED


BACKUP = Operation(
    "backup",
    "backup",
    ROWS,
    _prepare,
    start,
    _check,
    world={"primary": 2},  # the replica that is backed up: so every step happens
    times_out=("run", timedelta(seconds=40)),
    marked=2,
)
BACKUP_OF_ANOTHER = Operation("backup, not of the primary", "backup", PLAIN, _prepare, start, _check)
