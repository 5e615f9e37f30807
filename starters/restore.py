"""`galera-backup restore`: replace the data of a whole cluster by a backup."""

from __future__ import annotations

import typer
from rich.console import RenderableType

from galera_backup.models.common import ClusterRef
from galera_backup.models.proof import Proof
from galera_backup.models.restore import RestoreRequest, RestoreResult
from galera_backup.show import describe_passwords
from galera_backup.workflow_types import RESTORE
from starters._confirmation import confirmation, confirmed
from starters._grouped import grouped
from starters._options import AsJson, Cluster, NoWait, PlaceOptions, TemporalOptions, WaitForCluster, WorkflowId
from starters._proof import ProofOptions
from starters._request import request
from starters._restore_options import BackupIdArgument, Confirm, RestoreOptions, Source
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
    source: Source = None,
    confirm: Confirm = None,
    wait_for_cluster: WaitForCluster = None,
    workflow_id: WorkflowId = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Replace the data of every replica by a backup. The database is not available meanwhile."""
    asked = confirmation(cluster, confirm, as_json, warning(cluster, backup_id, source))

    async def work(screen: Screen) -> None:
        fields = (
            {"confirm": confirmed(cluster, asked, "restore")}
            | how.fields()
            | proof.fields()
            | places.fields()
            | {"backup_id": backup_id}
        )
        if source is not None:
            fields["source"] = source
        if wait_for_cluster is not None:
            fields["wait_for_cluster"] = wait_for_cluster
        order = request(RestoreRequest, cluster, fields)
        session = await Session.open(screen, temporal)
        await session.carry_out(
            RESTORE,
            order,
            lambda result: shown(result, order.cluster),
            workflow_id=workflow_id,
            what=f"Restore of {backup_id} into",
            wait=not no_wait,
        )

    conduct(as_json, work)


def warning(cluster: str, backup_id: str, source: str | None) -> str:
    """What will happen, before the person types the cluster's name."""
    whose = f" of {source}" if source is not None else ""
    lost = "What was written after that backup is lost" if source is None else "What it held is lost"
    return (
        f"This will stop {cluster}: the StatefulSet goes to 0 replicas, the data of every replica is replaced by the\n"
        f"backup {backup_id}{whose}, and the cluster starts again. {lost}."
    )


def shown(result: RestoreResult, cluster: ClusterRef) -> RenderableType:
    """The result as a person reads it."""
    manifest = result.manifest
    return facts(
        {
            "restored": f"{manifest.backup_id} ({size(manifest.data_bytes)} data)",
            **_cluster(result, cluster),
            "down for": seconds(result.outage_seconds),
            **(_proved(result.proof) if result.proof is not None else {}),
            "approved by": result.approved_by,
            "kept despite": result.kept_despite,
            "old data kept": kept(result, cluster),
            "copies left on": ", ".join(result.untidy) or None,
            "warnings": "; ".join(result.warnings) or None,
            "phases": ", ".join(f"{each.phase} {seconds(each.seconds)}" for each in result.phases),
        }
    )


def _cluster(result: RestoreResult, cluster: ClusterRef) -> dict[str, str]:
    manifest, ready = result.manifest, f"{cluster}, {result.replicas} replicas, Ready"
    if result.clone is None:
        return {"cluster": ready, "position": str(manifest.position)}
    return {"cluster": ready, "clone of": f"{manifest.cluster} at {manifest.position}", "wsrep uuid": result.clone.uuid}


def kept(result: RestoreResult, cluster: ClusterRef) -> str | None:
    """Until when it can be undone, and how."""
    if result.kept_until is None:
        return None
    return f"until {moment(result.kept_until)}; to undo: galera-backup rollback {cluster} {result.restore_id}"


def _proved(proof: Proof) -> dict[str, str]:
    tables = f"{proof.tables.checked} whole of {proof.tables.seen} seen"
    return {
        "checks": "; ".join(f"{each.query}: {each.seen}" for each in proof.checks) or "none",
        "tables": f"{tables} ({proof.tables.note})" if proof.tables.note else tables,
        "passwords": describe_passwords(proof.passwords),
    }


if __name__ == "__main__":
    typer.run(restore)
