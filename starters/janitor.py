"""`galera-backup janitor`: mend what an operation left when its lease was lost together with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)

from galera_backup import names
from galera_backup.durations import parse_duration
from galera_backup.errors import InvalidInput
from galera_backup.models.janitor import JanitorRequest, JanitorResult
from galera_backup.workflow_types import JANITOR
from starters._grouped import grouped
from starters._options import (
    DURATION,
    AsJson,
    Cluster,
    Container,
    NoWait,
    PasswordKey,
    PlaceOptions,
    Port,
    Secret,
    TemporalOptions,
    UserKey,
    WorkflowId,
)
from starters._request import request
from starters._screen import Screen, conduct, facts, seconds, table
from starters._session import Session, cluster_attributes, details

EVERY = "5m"
SHORTEST = timedelta(minutes=1)
CATCH_UP = timedelta(minutes=5)
"""Temporal does not start a look that it missed by more than this: the next look sees the same."""

Every = Annotated[
    str,
    typer.Option(
        "--janitor-every",
        metavar=DURATION,
        help="How often the janitor looks for what a lost operation left; 0s: no janitor (30m, 6h, PT30M or seconds).",
        rich_help_panel="Times",
    ),
]
Drain = Annotated[
    str | None,
    typer.Option(
        "--drain-timeout",
        metavar=DURATION,
        help="How long a replica may take to catch up before it rejoins flow control anyway"
        " (30m, 6h, PT30M or seconds).",
        show_default="10m",
        rich_help_panel="Request",
    ),
]
Step = Annotated[
    str | None,
    typer.Option(
        "--step-timeout",
        metavar=DURATION,
        help="How long bringing one replica back may take beside that (30m, 6h, PT30M or seconds).",
        show_default="5m",
        rich_help_panel="Request",
    ),
]


@dataclass(frozen=True)
class ServerOptions:
    """Where the janitor finds the user and the server: the part of `PlaceOptions` that it needs."""

    secret: Secret = None
    user_key: UserKey = None
    password_key: PasswordKey = None
    container: Container = None
    port: Port = None

    def fields(self) -> dict[str, Any]:
        """Of a `JanitorRequest`."""
        return janitor_fields(PlaceOptions(**vars(self)))


@grouped
def janitor(
    *,
    cluster: Cluster,
    servers: ServerOptions,
    temporal: TemporalOptions,
    drain_timeout: Drain = None,
    step_timeout: Step = None,
    workflow_id: WorkflowId = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Look once for what a lost operation left on the cluster, and mend it.

    For a lease that was terminated by hand with its operation, and for a Temporal database that was lost. It reports
    what galera-backup did not do, and does not touch that.
    """
    limits = {"drain_timeout": drain_timeout, "step_timeout": step_timeout}

    async def work(screen: Screen) -> None:
        typed = {name: value for name, value in limits.items() if value is not None}
        order = request(JanitorRequest, cluster, servers.fields() | typed)
        session = await Session.open(screen, temporal)
        await session.carry_out(JANITOR, order, shown, workflow_id=workflow_id, what="Janitor", wait=not no_wait)

    conduct(as_json, work)


def janitor_fields(places: PlaceOptions) -> dict[str, Any]:
    """Of a `JanitorRequest`, from the options of a backup."""
    return {name: value for name, value in places.fields().items() if name in JanitorRequest.model_fields}


def shown(result: JanitorResult) -> RenderableType:
    """The result as a person reads it."""
    rows = table("OBJECT", "VERDICT", "WHAT WAS SEEN")
    for each in result.found:
        rows.add_row(each.name, each.verdict, each.text)
    mended = [
        f"{each.name}: {each.text}"
        + (f", after {seconds(each.desynced_seconds)} desynced" if each.desynced_seconds is not None else "")
        + ("" if each.drained else ", rejoined before it caught up")
        for each in result.mended
    ]
    return Group(
        rows,
        facts(
            {
                "mended": "\n".join(mended) or "nothing",
                "left alone": "\n".join(result.left_alone) or "nothing",
                "busy": result.busy and f"the cluster is held, so nothing was mended: {result.busy}",
            }
        ),
    )


# --- its schedule


def interval(every: str) -> timedelta:
    """How often; zero: no janitor. Raises `InvalidInput`."""
    try:
        typed = parse_duration(every)
    except ValueError as error:
        raise InvalidInput(f"--janitor-every: {error}, got {every!r}") from error
    if timedelta(0) < typed < SHORTEST:
        raise InvalidInput(f"--janitor-every: expected 0s, or at least 1m, got {every!r}")
    return typed


def janitor_schedule(order: JanitorRequest, every: timedelta, task_queue: str) -> Schedule:
    """The schedule of a cluster's janitor."""
    action = ScheduleActionStartWorkflow(
        JANITOR.name,
        order,
        id=names.janitor_schedule_id(order.cluster),
        task_queue=task_queue,
        typed_search_attributes=cluster_attributes(order.cluster),
        static_summary=f"Scheduled janitor **{order.cluster}**",
        static_details=details("Scheduled janitor", order.cluster),
        memo={"started_by": "galera-backup schedule"},
    )
    return Schedule(
        action=action,
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
    )


if __name__ == "__main__":
    typer.run(janitor)
