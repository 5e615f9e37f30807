"""Somebody removes the mark while what an operation did is undone: it is undone all the same."""

from __future__ import annotations

from tests.fakes.kill import Step
from tests.fakes.stage import BACKUP_ID, assert_eventually
from tests.matrix import backup, in_place, rolling, staged
from tests.matrix.ends import assert_whole, ended
from tests.matrix.steps import FORMED, LET_GO, REMOVE_PODS, REVOKE, UNMARK, create, release, scale_to
from tests.matrix.table import REMOVED_IN_UNDO, Call, Later, Operation, Place, Row, Scene, Way, Works

UNDO = "undo"
"""Of the steps of an undo one cell covers all."""
STOP: dict[str, Place] = {
    "revoke": Call(REVOKE),
    "remove pods": Call(REMOVE_PODS),
    "look": Call(create("look-1", by_lease=True)),
}
START: dict[str, Place] = {
    "let go": Call(LET_GO),
    "scale up": Call(scale_to(3)),
    "formed": Later(FORMED, "scale 3"),
    "unmark": Call(UNMARK),
}
FIRST: dict[str, Place] = {"start first": Call(scale_to(1)), "first formed": Call(FORMED)}


def _pod(name: str) -> dict[str, Place]:
    return {
        f"create {name}": Call(create(name, by_lease=True)),
        f"release {name}": Call(release(name, by_lease=True)),
    }


def _rows(places: dict[str, Place], *ways: Way) -> tuple[Row, ...]:
    return tuple(Row(step, place, ways, part_of=UNDO) for step, place in places.items())


async def _prepare(scene: Scene) -> None:
    """A healthy cluster with a backup."""


async def _check(scene: Scene) -> None:
    await ended(scene)
    world = scene.world
    if scene.way == Way.TERMINATE_LEASE_ANNOTATIONS_REMOVED:
        # Nobody is left who would remove copies: the next restore does.
        await assert_eventually(lambda: scene.stage.lease_is_closed(world))
        world.volume.unpacked.clear()
        world.copies_may_stay = True
    await assert_whole(scene.stage, world)


async def _check_backup(scene: Scene) -> None:
    await ended(scene)
    await backup.check_undone(scene)


def _restore(of: Operation, dies: Place, places: dict[str, Place], name: str = "undone") -> Operation:
    rows = _rows(places, *REMOVED_IN_UNDO)
    world = {"backups": (BACKUP_ID,)}
    return Operation(f"{of.name}, {name}", of.reaches, rows, _prepare, of.start, _check, world=world, dies=dies)


IN_PLACE_UNDONE = _restore(in_place.IN_PLACE, Works("restore", 1, started=2), {**STOP, **_pod("finish-1"), **START})
ROLLING_UNDONE = _restore(rolling.ROLLING, Works("restore", 1, started=2), {**STOP, **_pod("finish-1"), **START})
ROLLING_UNDONE_EARLY = _restore(
    rolling.ROLLING,
    Works("restore", 0, started=1),
    {**_pod("finish-0"), **FIRST, **_pod("finish-2"), **START},
    "undone before one serves",
)
STAGED_UNDONE = _restore(staged.STAGED, Works("swap", 1, started=3), {**STOP, **_pod("back-1"), **START})
BACKUP_UNDONE = Operation(
    "backup, undone",
    "backup",
    _rows(
        {
            "revoke": Call(Step("revoke_replica", "revoke")),
            **{step: Call(backup.STEPS[step]) for step in backup.UNDO},
        },
        Way.TERMINATE_LEASE_ANNOTATIONS_REMOVED,  # the backup knows that its lease has desynced the replica
    ),
    _prepare,
    backup.start,
    _check_backup,
    world={"primary": 2},
    marked=2,
    dies=Works("backup"),
)
OPERATIONS = (IN_PLACE_UNDONE, ROLLING_UNDONE, ROLLING_UNDONE_EARLY, STAGED_UNDONE, BACKUP_UNDONE)
