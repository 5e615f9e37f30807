"""`galera-backup check`: what could keep a backup or a restore of a cluster from succeeding, before one is started."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from galera_backup import names
from galera_backup.models.check import CheckRequest, CheckResult
from galera_backup.models.preflight import Finding, Undertaking
from galera_backup.workflow_types import CHECK
from starters._exit import ExitCode
from starters._grouped import grouped
from starters._options import AsJson, Cluster, PlaceOptions, TemporalOptions, default_of, given, request_option
from starters._request import request
from starters._screen import Screen, conduct, table
from starters._session import Session

PATIENCE = timedelta(seconds=30)
"""How long the look waits for a worker to appear."""


class What(StrEnum):
    """Which operations the exit code is for."""

    BACKUP = "backup"
    RESTORE = "restore"
    ALL = "all"


ForWhat = Annotated[
    What, typer.Option("--for", help="The exit code is 1 when such an operation would be refused.", show_default=True)
]
Replicas = Annotated[
    str | None,
    request_option("--replicas", "Size of the cluster, where its StatefulSet is at 0 replicas.", "COUNT"),
]
HowTo = Annotated[
    str | None,
    request_option("--strategy", "By which a restore would be done.", "STRATEGY", default_of(CheckRequest, "strategy")),
]


@grouped
def check(
    *,
    cluster: Cluster,
    places: PlaceOptions,
    temporal: TemporalOptions,
    replicas: Replicas = None,
    strategy: HowTo = None,
    for_what: ForWhat = What.ALL,
    as_json: AsJson = False,
) -> None:
    """Look at a cluster as a backup or a restore does before it begins. Changes nothing.

    Each finding says what was seen, which operation it refuses, and the remedy. It does not look at volumes: that takes
    pods, which the operations start.
    """

    async def work(screen: Screen) -> None:
        order = request(CheckRequest, cluster, places.fields() | given(replicas=replicas, strategy=strategy))
        session = await Session.open(screen, temporal)
        handle = await session.start(
            CHECK,
            order,
            workflow_id=names.operation_id(CHECK.word, order.cluster, datetime.now(UTC)),
            cluster=order.cluster,
            what="Check",
        )
        result = await session.follow(handle, patience=PATIENCE)
        screen.answer(result, shown(result))
        if any(result.refuses(undertaking) for undertaking in _undertakings(for_what)):
            raise typer.Exit(ExitCode.FAILED)

    conduct(as_json, work)


def _undertakings(what: What) -> tuple[Undertaking, ...]:
    every: tuple[Undertaking, ...] = ("backup", "restore")
    return tuple(each for each in every if what in (What.ALL, each))


def shown(result: CheckResult) -> RenderableType:
    """The findings, the remedies below them."""
    verdicts = [
        f"{undertaking}: {'refused' if result.refuses(undertaking) else 'nothing is in the way'}"
        for undertaking in _undertakings(What.ALL)
    ]
    rows = table("FINDING", "BACKUP", "RESTORE", "SEEN")
    for each in result.findings:
        rows.add_row(each.kind, *_effects(each, result), f"{each.about}: {each.saw}")
    for problem in result.health:
        rows.add_row("health", "refuses", "none", problem)
    remedies = [f"{each.kind}: {each.remedy}" for each in result.findings if each.remedy]
    parts: list[RenderableType] = [rows, *dict.fromkeys(remedies)] if rows.row_count else []
    return Group(*parts, "; ".join(verdicts))


def _effects(finding: Finding, result: CheckResult) -> tuple[str, str]:
    return finding.effect("backup", result.accepted), finding.effect("restore", result.accepted)


if __name__ == "__main__":
    typer.run(check)
