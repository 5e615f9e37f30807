"""`galera-backup rollback`: undo a finished staged restore, as long as its old data is kept."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import RenderableType

from galera_backup.models.restore import RollbackRequest, RollbackResult
from galera_backup.workflow_types import ROLLBACK
from starters._confirmation import confirmation, confirmed
from starters._grouped import grouped
from starters._options import AsJson, Cluster, NoWait, PlaceOptions, TemporalOptions, WaitForCluster, WorkflowId
from starters._request import request
from starters._restore_options import Confirm, OutageOptions
from starters._screen import Screen, conduct, facts, seconds
from starters._session import Session

RestoreIdArgument = Annotated[
    str, typer.Argument(metavar="RESTORE_ID", help="`restore_id` in the result of the restore, as 20261122t010000z.")
]


@grouped
def rollback(
    *,
    cluster: Cluster,
    restore_id: RestoreIdArgument,
    how: OutageOptions,
    places: PlaceOptions,
    temporal: TemporalOptions,
    confirm: Confirm = None,
    wait_for_cluster: WaitForCluster = None,
    workflow_id: WorkflowId = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Put back the data that a staged restore has kept. The database is not available meanwhile."""
    asked = confirmation(cluster, confirm, as_json, warning(cluster, restore_id))

    async def work(screen: Screen) -> None:
        fields = (
            {"confirm": confirmed(cluster, asked, "rollback")}
            | how.fields()
            | places.fields()
            | {"restore_id": restore_id}
        )
        if wait_for_cluster is not None:
            fields["wait_for_cluster"] = wait_for_cluster
        order = request(RollbackRequest, cluster, fields)
        session = await Session.open(screen, temporal)
        await session.carry_out(
            ROLLBACK,
            order,
            shown,
            workflow_id=workflow_id,
            what=f"Rollback of restore {restore_id} of",
            wait=not no_wait,
        )

    conduct(as_json, work)


def warning(cluster: str, restore_id: str) -> str:
    """What will happen, before the person types the cluster's name."""
    return (
        f"This will stop {cluster}: the StatefulSet goes to 0 replicas, every replica gets the data back that it had\n"
        f"before restore {restore_id}, and the cluster starts again. What was written since then is lost."
    )


def shown(result: RollbackResult) -> RenderableType:
    """The result as a person reads it."""
    return facts(
        {
            "undone": f"restore {result.restore_id}",
            "replicas": f"{result.replicas}, Ready",
            "down for": seconds(result.outage_seconds),
            "filled by a state transfer": ", ".join(result.emptied) or None,
            "copies left on": ", ".join(result.untidy) or None,
            "warnings": "; ".join(result.warnings) or None,
            "phases": ", ".join(f"{each.phase} {seconds(each.seconds)}" for each in result.phases),
        }
    )
