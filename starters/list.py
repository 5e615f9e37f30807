"""`galera-backup list`: the backups that a cluster has."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import RenderableType

from galera_backup import names
from galera_backup.models.catalog import Catalog, CatalogRequest
from galera_backup.models.jobs import PAGE_LIMIT
from galera_backup.models.manifest import Manifest
from galera_backup.text import bounded
from galera_backup.workflow_types import CATALOG
from starters._grouped import grouped
from starters._options import DURATION, AsJson, Cluster, RunnerOptions, TemporalOptions, given
from starters._request import request
from starters._restore_options import Source
from starters._screen import Screen, age, conduct, seconds, size, table
from starters._session import Session

_PROBLEM_LENGTH = 160
PATIENCE = timedelta(seconds=30)
"""How long a look at the volume waits for a worker to appear."""

Timeout = Annotated[
    str | None,
    typer.Option(
        "--timeout",
        metavar=DURATION,
        help="How long reading the volume may take (30m, 6h, PT30M or seconds).",
        show_default="5m",
    ),
]


@grouped
def list_backups(
    *,
    cluster: Cluster,
    runners: RunnerOptions,
    temporal: TemporalOptions,
    source: Source = None,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Show the complete backups of a cluster, oldest first, as their manifests on the backup volume say."""

    async def work(screen: Screen) -> None:
        order = request(CatalogRequest, cluster, runners.fields() | given(source=source, timeout=timeout))
        session = await Session.open(screen, temporal)
        catalog = await _all(session, order)
        screen.answer(catalog, shown(catalog, datetime.now(UTC)))

    conduct(as_json, work)


async def _all(session: Session, order: CatalogRequest) -> Catalog:
    """Every page: each is an operation of its own, with a pod of its own."""
    first = names.operation_id(CATALOG.word, order.cluster, datetime.now(UTC))
    backups: tuple[Manifest, ...] = ()
    before: str | None = None
    for number in itertools.count(1):
        handle = await session.start(
            CATALOG,
            order.model_copy(update={"before": before, "limit": PAGE_LIMIT}),
            workflow_id=first if number == 1 else f"{first}-{number}",
            cluster=order.cluster,
            what="List of the backups",
        )
        page = await session.follow(handle, patience=PATIENCE)
        backups, before = page.backups + backups, page.next
        if before is None:
            break
    return Catalog(backups=backups)


def shown(catalog: Catalog, now: datetime) -> RenderableType:
    """One row for each backup."""
    if not catalog.backups:
        return "no backups"
    rows = table("ID", "AGE", "SIZE", "DATA", "REPLICA", "POSITION", "TOOK", "UNSAFE")
    for each in catalog.backups:
        rows.add_row(
            each.backup_id,
            age(each.finished_at, now),
            size(each.stored_bytes),
            size(each.data_bytes),
            each.replica,
            str(each.position),
            seconds((each.finished_at - each.started_at).total_seconds()),
            _unsafe(each),
        )
    return rows


def _unsafe(manifest: Manifest) -> str:
    """What the backup lacks, or what was wrong with its cluster."""
    if not manifest.problems:
        return "unsafe" if manifest.unsafe else ""
    more = f" (+{len(manifest.problems) - 1})" if len(manifest.problems) > 1 else ""
    return bounded(manifest.problems[0], _PROBLEM_LENGTH) + more


if __name__ == "__main__":
    typer.run(list_backups)
