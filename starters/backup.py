"""`galera-backup backup`: take a full backup now."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.console import RenderableType

from galera_backup.models.backup import BackupRequest, BackupResult
from galera_backup.workflow_types import BACKUP
from starters._backup_options import BackupOptions
from starters._grouped import grouped
from starters._options import AsJson, Cluster, NoWait, PlaceOptions, TemporalOptions, WaitForCluster, WorkflowId
from starters._request import request
from starters._screen import Screen, conduct, facts, moment, seconds, size
from starters._session import Session


@grouped
def backup(
    *,
    cluster: Cluster,
    what: BackupOptions,
    places: PlaceOptions,
    temporal: TemporalOptions,
    wait_for_cluster: WaitForCluster = None,
    workflow_id: WorkflowId = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Take a full backup of one replica, and wait for its end.

    The replica is out of flow control and out of the Services meanwhile; the cluster goes on serving.
    """

    async def work(screen: Screen) -> None:
        order = request(BackupRequest, cluster, backup_fields(what, places, wait_for_cluster))
        session = await Session.open(screen, temporal)
        await session.carry_out(BACKUP, order, shown, workflow_id=workflow_id, what="Backup", wait=not no_wait)

    conduct(as_json, work)


def backup_fields(what: BackupOptions, places: PlaceOptions, wait_for_cluster: str | None) -> dict[str, object]:
    """Of a `BackupRequest`, without the cluster."""
    waiting = {} if wait_for_cluster is None else {"wait_for_cluster": wait_for_cluster}
    return what.fields() | places.fields() | waiting


def shown(result: BackupResult) -> RenderableType:
    """The result as a person reads it."""
    manifest = result.manifest
    return facts(
        {
            "backup": manifest.backup_id,
            "path": result.path,
            "of": f"{manifest.replica} on {manifest.node}",
            "position": str(manifest.position),
            "size": f"{size(manifest.stored_bytes)} of {size(manifest.data_bytes)} data",
            "taken": f"{moment(manifest.started_at)} to {moment(manifest.finished_at)}",
            "desynced for": seconds(result.desynced_seconds)
            + ("" if result.drained else ", rejoined before it caught up"),
            "phases": ", ".join(f"{each.phase} {seconds(each.seconds)}" for each in result.phases),
            "kept": f"{result.kept} backups" + (f", removed {', '.join(result.pruned)}" if result.pruned else ""),
            "unsafe": "; ".join(result.problems) or None,
            "warnings": "; ".join(result.warnings) or None,
            "from the future": _from_the_future(result.future),
        }
    )


def _from_the_future(ids: Sequence[str]) -> str | None:
    """Names that sort behind every new backup, so retention leaves them alone for ever."""
    if not ids:
        return None
    return f"{', '.join(ids)}: a clock was ahead, or another site writes there; retention leaves them alone"


if __name__ == "__main__":
    typer.run(backup)
