"""GaleraRestore of another cluster's backup: the source is not touched, the clone is whole or was not begun."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.fakes.kill import Step
from tests.fakes.safety import faults_left
from tests.fakes.stage import BACKUP_ID, Handle, failure_of
from tests.fakes.volumes import CLUSTER_UUID
from tests.fakes.world import World
from tests.matrix.ends import failure_of_a_killed_restore
from tests.matrix.table import KILLS, REPEATS, WORKING, Call, Operation, Row, Scene, Way, Works

LOOK = Step("look_at_sides", "services_of", by_lease=False)
ROWS = (
    Row("look", Call(LOOK), (Way.FAILS, *REPEATS, *KILLS)),
    Row("the runner of claim 1 works", Works("restore", 1, started=2), WORKING),
)


async def _prepare(scene: Scene) -> None:
    """A source with a backup, and a target that sees the same backup volume."""
    source = scene.stage.world(backups=(BACKUP_ID,))
    scene.world.volume = source.volume
    scene.source = source


async def _start(scene: Scene, **options: Any) -> Handle:
    return await scene.stage.restore(scene.world, source=_source(scene).cluster, strategy="in_place", **options)


def _source(scene: Scene) -> World:
    assert scene.source is not None
    return scene.source


async def _check(scene: Scene) -> None:
    stage, world, source = scene.stage, scene.world, _source(scene)
    if scene.way in REPEATS:
        await scene.handle.result()
    elif scene.way == Way.FAILS:
        assert (await failure_of(scene.handle)).type == "KubernetesRefused"
    else:
        await failure_of_a_killed_restore(scene)
    await stage.assert_settled(world)
    [data] = scene.data()
    begun = scene.way in REPEATS or isinstance(scene.row.place, Works)
    assert data == (BACKUP_ID if begun else "live")
    assert bool([event for event in world.events if event.startswith("scale")]) == begun
    if begun:
        [uuid] = {claim.cluster_uuid for claim in world.claims.values()}
        assert uuid not in ("", CLUSTER_UUID)
    assert source.look().events == []
    assert not faults_left(source)
    assert await stage.status(stage.lease(source)) is None


CLONE = Operation(
    "clone",
    "restore",
    ROWS,
    _prepare,
    _start,
    _check,
    world={"network": "10.0.7"},
    times_out=("look", timedelta(seconds=20)),
)
