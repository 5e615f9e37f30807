"""`galera-backup restore`: replace the data of a whole cluster by a backup."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import typer
from rich.console import RenderableType

from galera_backup import names, proving
from galera_backup.errors import InvalidInput
from galera_backup.models.proof import Proof
from galera_backup.models.restore import RestoreRequest, RestoreResult
from starters._grouped import grouped
from starters._options import (
    AsJson,
    BackupIdArgument,
    Cluster,
    Confirm,
    NoWait,
    PlaceOptions,
    RestoreOptions,
    TemporalOptions,
    WaitForCluster,
    WorkflowId,
)
from starters._proof import ProofOptions
from starters._request import request
from starters._screen import Screen, conduct, facts, moment, seconds, size
from starters._session import Session


@grouped
def restore(
    *,
    cluster: Cluster,
    backup_id: BackupIdArgument,
    how: RestoreOptions,
    proof: ProofOptions,
    places: PlaceOptions,
    temporal: TemporalOptions,
    confirm: Confirm = None,
    wait_for_cluster: WaitForCluster = None,
    workflow_id: WorkflowId = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Replace the data of every replica by a backup. The database is not available meanwhile."""
    asked = ask(cluster, backup_id) if confirm is None and not as_json and sys.stdin.isatty() else confirm

    async def work(screen: Screen) -> None:
        if asked is None:
            raise InvalidInput(f"--confirm: a restore stops the cluster; without a terminal say --confirm {cluster}")
        fields = how.fields() | proof.fields() | places.fields() | {"backup_id": backup_id, "confirm": asked}
        if wait_for_cluster is not None:
            fields["wait_for_cluster"] = wait_for_cluster
        order = request(RestoreRequest, cluster, fields)
        session = await Session.open(screen, temporal)
        handle = await session.start(
            "GaleraRestore",
            order,
            RestoreResult,
            workflow_id=workflow_id or names.operation_id("restore", order.cluster, datetime.now(UTC)),
            cluster=order.cluster,
            what=f"Restore of {backup_id} into",
        )
        if no_wait:
            screen.answer({"workflow_id": handle.id, "run_id": handle.result_run_id}, handle.id)
            return
        result = await session.follow(handle)
        screen.answer(result, shown(result))

    conduct(as_json, work)


def ask(cluster: str, backup_id: str) -> str:
    """Say what will happen and let the person type the cluster's name."""
    typer.echo(
        f"This will stop {cluster}: the StatefulSet goes to 0 replicas, the data of every replica is replaced by the\n"
        f"backup {backup_id}, and the cluster starts again. What was written after that backup is lost.",
        err=True,
    )
    typed: str = typer.prompt(f"Type {cluster} to go on", default="", show_default=False, err=True)
    return typed


def shown(result: RestoreResult) -> RenderableType:
    """The result as a person reads it."""
    manifest = result.manifest
    return facts(
        {
            "restored": f"{manifest.backup_id} ({size(manifest.data_bytes)} data)",
            "cluster": f"{manifest.cluster}, {result.replicas} replicas, Ready",
            "position": str(manifest.position),
            "down for": seconds(result.outage_seconds),
            **(_proved(result.proof) if result.proof is not None else {}),
            "approved by": result.approved_by,
            "kept despite": result.kept_despite,
            "old data kept": kept(result),
            "copies left on": ", ".join(result.untidy) or None,
            "phases": ", ".join(f"{each.phase} {seconds(each.seconds)}" for each in result.phases),
        }
    )


def kept(result: RestoreResult) -> str | None:
    """Until when it can be undone, and how."""
    if result.kept_until is None:
        return None
    cluster = result.manifest.cluster
    return f"until {moment(result.kept_until)}; to undo: galera-backup rollback {cluster} {result.restore_id}"


def _proved(proof: Proof) -> dict[str, str]:
    tables = f"{proof.tables.checked} whole of {proof.tables.seen} seen"
    return {
        "checks": "; ".join(f"{each.query}: {each.seen}" for each in proof.checks) or "none",
        "tables": f"{tables} ({proof.tables.note})" if proof.tables.note else tables,
        "passwords": proving.describe_passwords(proof.passwords),
    }


if __name__ == "__main__":
    typer.run(restore)
