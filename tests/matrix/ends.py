"""How operations end, and what their failures say: what the checks of several operations share."""

from __future__ import annotations

import re

from temporalio.client import WorkflowExecutionStatus

from galera_backup.errors import GaleraBackupError
from galera_backup.models.janitor import Mended
from tests.fakes.stage import BACKUP_ID, Stage, assert_eventually, failure_of
from tests.fakes.world import World
from tests.matrix.table import Scene, Way

STATUSES = {
    Way.CANCEL: WorkflowExecutionStatus.CANCELED,
    Way.TERMINATE: WorkflowExecutionStatus.TERMINATED,
    Way.TIME_OUT: WorkflowExecutionStatus.TIMED_OUT,
}
"""Of operations, where the lease has nothing else to say."""


_NEXT_STEP = re.compile(r"\b(check|look at|mend|make room|start (the|a)|run the|restore a backup)\b", re.IGNORECASE)


def is_for_an_operator(message: str) -> bool:
    """It says what to do next; that something "was started again" does not."""
    return _NEXT_STEP.search(message) is not None


async def ended(scene: Scene) -> WorkflowExecutionStatus:
    """Wait for the end of the operation; its status."""
    await assert_eventually(lambda: _is_closed(scene), lambda: f"still open: {scene.world.events}")
    status = await scene.stage.status(scene.handle)
    assert status is not None
    return status


async def _is_closed(scene: Scene) -> bool:
    return await scene.stage.status(scene.handle) != WorkflowExecutionStatus.RUNNING


async def failure_of_a_killed_restore(scene: Scene) -> GaleraBackupError | None:
    """Wait for the end; its failure, if it failed, has one of two types and names the next step."""
    if await ended(scene) != WorkflowExecutionStatus.FAILED:
        return None
    failure = await failure_of(scene.handle)
    assert failure.type in ("RestoreFailed", "LeaseLost")
    assert is_for_an_operator(failure.message), failure.message
    return failure


async def assert_whole(stage: Stage, world: World) -> str:
    """All replicas on the data from before the restore, or all on the restored; which."""
    await stage.assert_settled(world)
    assert world.statefulset.replicas == 3
    [data] = {claim.data for claim in world.claims.values()}
    assert data in ("live", BACKUP_ID)
    return data


async def check_mark_removed(scene: Scene) -> None:
    """However the operation ends, the cluster is whole."""
    await ended(scene)
    await assert_whole(scene.stage, scene.world)


async def mended_statefulset(scene: Scene) -> Mended:
    """What the janitor says that it has mended of the StatefulSet."""
    [mended] = [each for each in (await scene.janitor.result()).mended if each.name == "mariadb-server"]
    assert isinstance(mended, Mended)
    return mended
