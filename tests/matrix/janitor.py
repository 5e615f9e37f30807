"""GaleraJanitor killed: another one mends what is left."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import WorkflowExecutionStatus

from galera_backup import names
from galera_backup.models.common import LeaseRef, PrimaryLabel
from galera_backup.models.janitor import JanitorResult
from galera_backup.models.mark import Mark, PrimaryMove, ResyncRecipe, StartRecipe
from galera_backup.models.site import Site
from tests.fakes.kill import Step
from tests.fakes.safety import faults_left
from tests.fakes.stage import BACKUP_ID, Handle, assert_eventually
from tests.fakes.world import World
from tests.matrix.ends import ended
from tests.matrix.table import KILLS, REPEATS, Call, Operation, Row, Scene, Way, Works

NEVER_KNOWN = LeaseRef(workflow_id="galera-lease/lost", run_id="6c1ff9a5-9d1a-4c4d-9c7b-9b1f0f4a3f55")
"""A lease of a Temporal database that was lost."""


def put_mark(world: World, ordinal: int | None = 2, **fields: Any) -> Mark:
    """The mark of a lease that this server never knew; ordinal None: on the StatefulSet."""
    values = {"lease": NEVER_KNOWN, "owner": f"lost/{world.cluster}", "until": datetime.now(UTC)}
    mark = Mark.model_validate(values | {"since": datetime.now(UTC) - timedelta(hours=3)} | fields)
    with world.lock:
        carrier = world.statefulset if ordinal is None else world.member(ordinal)
        carrier.annotations[names.LEASE_ANNOTATION] = mark.model_dump_json()
        carrier.version += 1
    return mark


def recipe(world: World, **fields: Any) -> StartRecipe:
    """What the mark of a restore in place says."""
    values: dict[str, Any] = {
        "site": Site(cluster=world.cluster, backup_claim="backups"),
        "replicas_before": 3,
        "replicas": 3,
        "restore_id": "20261122t020000z",
        "claims": tuple(world.claims),
        "runner_pod_prefix": "restore",
        "primary_pod": "mariadb-server-0",
        "runner_timeout": timedelta(minutes=1),
        "backup_id": BACKUP_ID,
        "ready_timeout": timedelta(minutes=1),
    }
    return StartRecipe.model_validate(values | fields)


STEPS = {
    "survey": Step("survey_cluster", "statefulset", by_lease=False),
    "resync": Step("resync", "set_desync", by_lease=False),
    "in service": Step("wait_in_service", "services_that_select", by_lease=False),
    "unmark": Step("unmark_replica", "set_mark", by_lease=False),
}
ROWS = (
    Row("survey", Call(STEPS["survey"]), REPEATS),
    *(Row(step, Call(STEPS[step]), (*REPEATS, *KILLS)) for step in ("resync", "in service", "unmark")),
)
STOPPED_ROWS = (
    Row("a look works", Works("inspect", times=3), (Way.WORKER_KILLED, Way.CANCEL, Way.TERMINATE)),
    Row("scale up", Call(Step("scale_up", "scale", by_lease=False)), (*REPEATS, *KILLS)),
)


async def _start(scene: Scene, **options: Any) -> Handle:
    return await scene.stage.start("GaleraJanitor", {"cluster": scene.world.cluster}, JanitorResult, **options)


async def _prepare(scene: Scene) -> None:
    """A replica that is desynced, with the mark of a lease that is lost; its label was handed over, and is back."""
    moved = PrimaryMove(label=PrimaryLabel(), successor="mariadb-server-0", successor_role=None)
    put_mark(scene.world, undo=ResyncRecipe(moved=moved))
    with scene.world.lock:
        scene.world.member(2).set_desync(True)


async def _check(scene: Scene) -> None:
    world = scene.world
    if scene.way in REPEATS:
        result: JanitorResult = await scene.handle.result()
        assert [each.name for each in result.mended] == ["mariadb-server-2"]
        assert world.events.count("desync OFF mariadb-server-2") == 1
    await ended(scene)
    await assert_eventually(lambda: scene.stage.lease_is_closed(world))
    await _next_janitor(scene)
    await assert_eventually(lambda: not faults_left(world.look()), lambda: f"{faults_left(world)} {world.events}")
    await scene.stage.assert_settled(world, labels=world.labels())


async def _held(scene: Scene) -> None:
    """The janitor waits for its step, unless it is terminated itself."""
    await asyncio.sleep(1)
    running = await scene.stage.status(scene.handle) == WorkflowExecutionStatus.RUNNING
    assert scene.way == Way.TERMINATE or running


async def _next_janitor(scene: Scene) -> JanitorResult:
    handle = await scene.stage.janitor(scene.world)
    result: JanitorResult = await handle.result()
    return result


async def _prepare_stopped(scene: Scene) -> None:
    """A StatefulSet at 0 with the mark of a restore in place that is lost, and has touched no claim."""
    put_mark(scene.world, None, undo=recipe(scene.world, data_may_have_changed=True))
    scene.world.scale_by_hand(0)  # as the operation had that is lost


async def _check_stopped(scene: Scene) -> None:
    world = scene.world
    status = await ended(scene)
    await assert_eventually(lambda: scene.stage.lease_is_closed(world))
    if scene.way in REPEATS:
        assert status == WorkflowExecutionStatus.COMPLETED
    world.plans.clear()
    mended = await _next_janitor(scene)
    if scene.step == "a look works" and scene.way not in REPEATS:
        assert [each.name for each in mended.mended] == ["mariadb-server"]
    await scene.stage.assert_settled(world)
    assert scene.data() == {"live"}


JANITOR = Operation(
    "janitor", "janitor", ROWS, _prepare, _start, _check, _held, times_out=("resync", timedelta(seconds=30))
)
JANITOR_OF_A_STOP = Operation(
    "janitor of a stopped cluster", "janitor", STOPPED_ROWS, _prepare_stopped, _start, _check_stopped
)
