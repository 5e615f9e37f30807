"""`galera-backup schedule`: the periodic backup of a cluster, a Temporal Schedule."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from temporalio.client import (
    Schedule,
    ScheduleActionExecution,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from galera_backup import names
from galera_backup.errors import InvalidInput, NotFound
from galera_backup.models.backup import BackupRequest
from galera_backup.models.common import ClusterRef
from galera_backup.settings import duration, duration_text
from starters._exit import EXIT_CODES
from starters._grouped import grouped
from starters._options import DURATION, AsJson, BackupOptions, Cluster, PlaceOptions, TemporalOptions
from starters._request import cluster_of, request
from starters._screen import Screen, conduct, facts, moment
from starters._session import Session, cluster_attributes, details
from starters.backup import backup_fields

CATCH_UP = timedelta(hours=1)
"""A run that Temporal missed by more than this, being down, is not made up for. The server's default is a year."""
DAILY_AT = "01:00"
WAIT_FOR_CLUSTER = "30m"

app = typer.Typer(no_args_is_help=True, help="The periodic backup of a cluster.", epilog=EXIT_CODES)

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
    as_json: AsJson = False,
) -> None:
    """Create the schedule, or bring it to what these options say. A paused one stays paused and keeps its note."""

    async def work(screen: Screen) -> None:
        order = request(BackupRequest, cluster, backup_fields(what, places, wait_for_cluster))
        wanted = Schedule(
            action=_action(order, temporal.task_queue),
            spec=_spec(at, cron, time_zone, jitter),
            policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
        )
        session = await Session.open(screen, temporal)
        created = await create_or_update(session, order.cluster, wanted)
        screen.say("created" if created else "updated")
        await _show(session, order.cluster)

    conduct(as_json, work)


@app.command(epilog=EXIT_CODES)
@grouped
def show(*, cluster: Cluster, temporal: TemporalOptions, as_json: AsJson = False) -> None:
    """Show when the schedule runs, whether it is paused, and its last runs."""
    _on_existing(cluster, temporal, as_json, lambda handle: asyncio.sleep(0))


@app.command(epilog=EXIT_CODES)
@grouped
def pause(*, cluster: Cluster, temporal: TemporalOptions, note: Note = None, as_json: AsJson = False) -> None:
    """Start no more runs until `resume`. One that is running goes on."""
    _on_existing(cluster, temporal, as_json, lambda handle: handle.pause(note=note or "paused by galera-backup"))


@app.command(epilog=EXIT_CODES)
@grouped
def resume(*, cluster: Cluster, temporal: TemporalOptions, note: Note = None, as_json: AsJson = False) -> None:
    """Start runs again."""
    _on_existing(cluster, temporal, as_json, lambda handle: handle.unpause(note=note or "resumed by galera-backup"))


@app.command(epilog=EXIT_CODES)
@grouped
def trigger(*, cluster: Cluster, temporal: TemporalOptions, as_json: AsJson = False) -> None:
    """Start a run of the schedule now, paused or not; skipped when the last one is still running."""
    _on_existing(cluster, temporal, as_json, lambda handle: handle.trigger())


@app.command(epilog=EXIT_CODES)
@grouped
def delete(*, cluster: Cluster, temporal: TemporalOptions, as_json: AsJson = False) -> None:
    """Remove the schedule. Its runs and the backups stay. Succeeds when there is none."""

    async def work(screen: Screen) -> None:
        where = cluster_of(cluster)
        session = await Session.open(screen, temporal)
        try:
            await _handle(session, where).delete()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            screen.answer({"deleted": False}, f"{where} has no schedule")
        else:
            screen.answer({"deleted": True}, f"the schedule of {where} is gone")

    conduct(as_json, work)


def _on_existing(
    cluster: str, temporal: TemporalOptions, as_json: bool, act: Callable[[ScheduleHandle], Awaitable[None]]
) -> None:
    async def work(screen: Screen) -> None:
        where = cluster_of(cluster)
        session = await Session.open(screen, temporal)
        try:
            await act(_handle(session, where))
            await _show(session, where)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            message = f"{where} has no schedule; make one with: galera-backup schedule set {where}"
            raise NotFound(message) from error

    conduct(as_json, work)


# --- what a schedule is


def _action(order: BackupRequest, task_queue: str) -> ScheduleActionStartWorkflow:
    # The server appends the time to the id, so runs are found beside those that people start.
    return ScheduleActionStartWorkflow(
        "GaleraBackup",
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
        spread = duration(jitter)
    except ValueError as error:
        problems.append(f"--jitter: {error}, got {jitter!r}")
    if problems or daily is None:
        raise InvalidInput("; ".join(problems))
    expression = cron or f"{int(daily[2])} {int(daily[1])} * * *"
    return ScheduleSpec(cron_expressions=[expression], time_zone_name=time_zone, jitter=spread or None)


async def create_or_update(session: Session, cluster: ClusterRef, wanted: Schedule) -> bool:
    """Make the schedule what is wanted; True when it is new. What people set by `pause` and `resume` stays."""
    try:
        await session.client.create_schedule(
            names.schedule_id(cluster),
            wanted,
            memo={"cluster": str(cluster), "made_by": "galera-backup schedule set"},
            search_attributes=cluster_attributes(cluster),
        )
    except ScheduleAlreadyRunningError:

        def update(current: ScheduleUpdateInput) -> ScheduleUpdate:
            return ScheduleUpdate(replace(wanted, state=current.description.schedule.state))

        await _handle(session, cluster).update(update)
        return False
    return True


def _handle(session: Session, cluster: ClusterRef) -> ScheduleHandle:
    return session.client.get_schedule_handle(names.schedule_id(cluster))


# --- showing one


async def summary(session: Session, cluster: ClusterRef) -> dict[str, Any]:
    """What `show` and `status` say of a schedule. Raises `RPCError` NOT_FOUND when there is none."""
    described = await _handle(session, cluster).describe()
    schedule, info = described.schedule, described.info
    return {
        "schedule_id": described.id,
        "paused": schedule.state.paused,
        "note": schedule.state.note,
        "next_runs": list(info.next_action_times[:5]),
        "time_zone": schedule.spec.time_zone_name or "UTC",
        "jitter": duration_text(schedule.spec.jitter or timedelta(0)),
        "running": _ids(info.running_actions),
        "recent_runs": _ids([each.action for each in info.recent_actions[-5:]]),
        "skipped_because_running": info.num_actions_skipped_overlap,
        "missed": info.num_actions_missed_catchup_window,
        "request": await _request_of(session, described),
    }


def _ids(runs: Iterable[ScheduleActionExecution]) -> list[str]:
    return [run.workflow_id for run in runs if isinstance(run, ScheduleActionExecutionStartWorkflow)]


async def _request_of(session: Session, described: ScheduleDescription) -> dict[str, Any] | None:
    action = described.schedule.action
    if not isinstance(action, ScheduleActionStartWorkflow) or not action.args:
        return None
    try:
        [order] = await session.client.data_converter.decode(action.args, [BackupRequest])
    except InvalidInput:  # made by another version, or by hand
        [order] = await session.client.data_converter.decode(action.args)
    return order.model_dump(mode="json") if isinstance(order, BackupRequest) else {"input": order}


async def _show(session: Session, cluster: ClusterRef) -> None:
    document = await summary(session, cluster)
    session.screen.answer(document, shown(document))


def shown(document: dict[str, Any]) -> RenderableType:
    """A schedule's summary as a person reads it."""
    order = document["request"] or {}
    return facts(
        {
            "schedule": document["schedule_id"],
            "state": "paused" if document["paused"] else "active",
            "note": document["note"],
            "next runs": ", ".join(filter(None, map(moment, document["next_runs"]))) or "none",
            "time zone": document["time_zone"],
            "jitter": document["jitter"],
            "running": ", ".join(document["running"]) or "no",
            "last runs": ", ".join(document["recent_runs"]) or "none yet",
            "skipped": str(document["skipped_because_running"]),
            "missed": str(document["missed"]),
            "keeps": f"{order['backups_to_keep']} backups" if "backups_to_keep" in order else None,
        }
    )


if __name__ == "__main__":
    app()
