"""`galera-backup schedule`: the periodic backup of a cluster and its janitor, two Temporal Schedules."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any

import typer
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)
from temporalio.service import RPCError, RPCStatusCode

from galera_backup import names
from galera_backup.durations import parse_duration
from galera_backup.errors import InvalidInput, NotFound
from galera_backup.models.backup import BackupRequest
from galera_backup.models.common import ClusterRef
from galera_backup.models.janitor import JanitorRequest
from galera_backup.workflow_types import BACKUP
from starters import _schedules
from starters._backup_options import BackupOptions
from starters._exit import EXIT_CODES
from starters._grouped import grouped
from starters._options import DURATION, AsJson, Cluster, PlaceOptions, TemporalOptions
from starters._request import cluster_of, request
from starters._screen import Screen, conduct
from starters._session import Session, cluster_attributes, details
from starters.backup import backup_fields
from starters.janitor import EVERY, Every, interval, janitor_fields, janitor_schedule

CATCH_UP = timedelta(hours=1)
"""Temporal does not start a run that it missed by more than this while it was down. The server's default is a year."""
DAILY_AT = "01:00"
WAIT_FOR_CLUSTER = "30m"

app = typer.Typer(no_args_is_help=True, help="The periodic backup of a cluster, and its janitor.", epilog=EXIT_CODES)

At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="HH:MM", help="Time of a daily backup.", show_default=DAILY_AT, rich_help_panel="Times"
    ),
]
Cron = Annotated[
    str | None,
    typer.Option(
        "--cron",
        metavar="EXPRESSION",
        help="Five cron fields, for example '30 2 * * sun'; in place of --at.",
        show_default="none",
        rich_help_panel="Times",
    ),
]
TimeZone = Annotated[
    str,
    typer.Option("--time-zone", metavar="NAME", help="IANA name, for example Europe/Berlin.", rich_help_panel="Times"),
]
Jitter = Annotated[
    str,
    typer.Option(
        "--jitter",
        metavar=DURATION,
        help="Each run starts up to this much later, at random (30m, 6h, PT30M or seconds).",
        rich_help_panel="Times",
    ),
]
ScheduledWait = Annotated[
    str,
    typer.Option(
        "--wait-for-cluster",
        metavar=DURATION,
        help="How long a run waits while another operation holds the cluster (30m, 6h, PT30M or seconds).",
        rich_help_panel="Request",
    ),
]
Note = Annotated[
    str | None, typer.Option("--note", metavar="TEXT", help="Why; shown with the schedule.", show_default="none")
]


@app.command("set", epilog=EXIT_CODES)
@grouped
def set_(
    *,
    cluster: Cluster,
    what: BackupOptions,
    places: PlaceOptions,
    temporal: TemporalOptions,
    at: At = None,
    cron: Cron = None,
    time_zone: TimeZone = "UTC",
    jitter: Jitter = "0s",
    wait_for_cluster: ScheduledWait = WAIT_FOR_CLUSTER,
    janitor_every: Every = EVERY,
    as_json: AsJson = False,
) -> None:
    """Create the schedules of the backup and of the janitor, or change them to these options.

    A paused schedule stays paused and keeps its note.
    """

    async def work(screen: Screen) -> None:
        order = request(BackupRequest, cluster, backup_fields(what, places, wait_for_cluster))
        wanted = Schedule(
            action=_action(order, temporal.task_queue),
            spec=_spec(at, cron, time_zone, jitter),
            policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
        )
        every = interval(janitor_every)
        cleaning = request(JanitorRequest, cluster, janitor_fields(places) | _limits(what))
        session = await Session.open(screen, temporal)
        backups, janitor = (each(session, order.cluster) for each in _BOTH)
        created = await _schedules.create_or_update(session, backups, order.cluster, wanted)
        screen.say("created" if created else "updated")
        if every:
            looks = janitor_schedule(cleaning, every, temporal.task_queue)
            await _schedules.create_or_update(session, janitor, order.cluster, looks)
        else:
            await _schedules.remove(janitor)
        await _show(session, order.cluster)

    conduct(as_json, work)


@app.command(epilog=EXIT_CODES)
@grouped
def show(*, cluster: Cluster, temporal: TemporalOptions, as_json: AsJson = False) -> None:
    """Show when the backups and the janitor run, whether they are paused, and the last backups."""
    _on_existing(cluster, temporal, as_json, lambda handle: asyncio.sleep(0))


@app.command(epilog=EXIT_CODES)
@grouped
def pause(*, cluster: Cluster, temporal: TemporalOptions, note: Note = None, as_json: AsJson = False) -> None:
    """Start no more backups until `resume`. A running backup and the janitor go on."""
    _on_existing(cluster, temporal, as_json, lambda handle: handle.pause(note=note or "paused by galera-backup"))


@app.command(epilog=EXIT_CODES)
@grouped
def resume(*, cluster: Cluster, temporal: TemporalOptions, note: Note = None, as_json: AsJson = False) -> None:
    """Start backups again."""
    _on_existing(cluster, temporal, as_json, lambda handle: handle.unpause(note=note or "resumed by galera-backup"))


@app.command(epilog=EXIT_CODES)
@grouped
def trigger(*, cluster: Cluster, temporal: TemporalOptions, as_json: AsJson = False) -> None:
    """Start a backup of the schedule now, paused or not; skipped when the last one is still running."""
    _on_existing(cluster, temporal, as_json, lambda handle: handle.trigger())


@app.command(epilog=EXIT_CODES)
@grouped
def delete(*, cluster: Cluster, temporal: TemporalOptions, as_json: AsJson = False) -> None:
    """Remove both schedules. Their runs and the backups stay. Succeeds too when there is none."""

    async def work(screen: Screen) -> None:
        where = cluster_of(cluster)
        session = await Session.open(screen, temporal)
        deleted = [await _schedules.remove(each(session, where)) for each in _BOTH]
        if any(deleted):
            screen.answer({"deleted": True}, f"the schedules of {where} are gone")
        else:
            screen.answer({"deleted": False}, f"{where} has no schedule")

    conduct(as_json, work)


def _on_existing(
    cluster: str, temporal: TemporalOptions, as_json: bool, act: Callable[[ScheduleHandle], Awaitable[None]]
) -> None:
    async def work(screen: Screen) -> None:
        where = cluster_of(cluster)
        session = await Session.open(screen, temporal)
        try:
            await act(_schedules.backup_handle(session, where))
            await _show(session, where)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            message = f"{where} has no schedule; make one with: galera-backup schedule set {where}"
            raise NotFound(message) from error

    conduct(as_json, work)


async def _show(session: Session, cluster: ClusterRef) -> None:
    document = await summary(session, cluster)
    session.screen.answer(document, _schedules.shown(document))


async def summary(session: Session, cluster: ClusterRef) -> dict[str, Any]:
    """The backup's schedule, and the janitor's in it. Raises `RPCError` NOT_FOUND when there is none for backups."""
    backups, janitor = (each(session, cluster) for each in _BOTH)
    return await _schedules.summary(session, backups) | {"janitor": await _schedules.summary_if_there(session, janitor)}


# --- what a schedule is

_BOTH = (_schedules.backup_handle, _schedules.janitor_handle)


def _limits(what: BackupOptions) -> dict[str, Any]:
    return {} if what.drain_timeout is None else {"drain_timeout": what.drain_timeout}


def _action(order: BackupRequest, task_queue: str) -> ScheduleActionStartWorkflow:
    # The server appends the time to the id, so runs are found beside those that people start.
    return ScheduleActionStartWorkflow(
        BACKUP.name,
        order,
        id=names.schedule_id(order.cluster),
        task_queue=task_queue,
        typed_search_attributes=cluster_attributes(order.cluster),
        static_summary=f"Scheduled backup **{order.cluster}**",
        static_details=details("Scheduled backup", order.cluster),
        memo={"started_by": "galera-backup schedule"},
    )


def _spec(at: str | None, cron: str | None, time_zone: str, jitter: str) -> ScheduleSpec:
    problems = []
    if at and cron:
        problems.append("--at and --cron exclude each other")
    daily = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at or DAILY_AT)
    if daily is None:
        problems.append(f"--at: expected HH:MM, got {at!r}")
    if cron and len(cron.split()) != 5:
        problems.append(f"--cron: expected five fields (minute hour day month weekday), got {cron!r}")
    try:
        spread = parse_duration(jitter)
    except ValueError as error:
        problems.append(f"--jitter: {error}, got {jitter!r}")
    if problems or daily is None:
        raise InvalidInput("; ".join(problems))
    expression = cron or f"{int(daily[2])} {int(daily[1])} * * *"
    return ScheduleSpec(cron_expressions=[expression], time_zone_name=time_zone, jitter=spread or None)


if __name__ == "__main__":
    app()
