"""A Temporal Schedule as this project makes, shows and removes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from rich.console import RenderableType
from temporalio.client import (
    Schedule,
    ScheduleActionExecution,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from galera_backup import names
from galera_backup.durations import duration_text
from galera_backup.errors import InvalidInput
from galera_backup.models.common import ClusterRef, Model
from galera_backup.workflow_types import BACKUP, JANITOR
from starters._screen import facts, moment
from starters._session import Session, cluster_attributes

_REQUESTS: dict[str, type[Model]] = {BACKUP.name: BACKUP.request, JANITOR.name: JANITOR.request}


def backup_handle(session: Session, cluster: ClusterRef) -> ScheduleHandle:
    """The schedule of the cluster's backup, whether it is there or not."""
    return session.client.get_schedule_handle(names.schedule_id(cluster))


def janitor_handle(session: Session, cluster: ClusterRef) -> ScheduleHandle:
    """The schedule of the cluster's janitor, whether it is there or not."""
    return session.client.get_schedule_handle(names.janitor_schedule_id(cluster))


async def create_or_update(session: Session, handle: ScheduleHandle, cluster: ClusterRef, wanted: Schedule) -> bool:
    """Make the schedule what is wanted; True when it is new. What people set by `pause` and `resume` stays."""
    try:
        await session.client.create_schedule(
            handle.id,
            wanted,
            memo={"cluster": str(cluster), "made_by": "galera-backup schedule set"},
            search_attributes=cluster_attributes(cluster),
        )
    except ScheduleAlreadyRunningError:

        def update(current: ScheduleUpdateInput) -> ScheduleUpdate:
            return ScheduleUpdate(replace(wanted, state=current.description.schedule.state))

        await handle.update(update)
        return False
    return True


async def remove(handle: ScheduleHandle) -> bool:
    """Delete the schedule; False when there was none."""
    try:
        await handle.delete()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def summary(session: Session, handle: ScheduleHandle) -> dict[str, Any]:
    """What `show` and `status` say of a schedule. Raises `RPCError` NOT_FOUND when there is none."""
    described = await handle.describe()
    schedule, info = described.schedule, described.info
    return {
        "schedule_id": described.id,
        "paused": schedule.state.paused,
        "note": schedule.state.note,
        "next_runs": list(info.next_action_times[:5]),
        "every": next((duration_text(each.every) for each in schedule.spec.intervals), None),
        "time_zone": schedule.spec.time_zone_name or "UTC",
        "jitter": duration_text(schedule.spec.jitter or timedelta(0)),
        "running": _ids(info.running_actions),
        "recent_runs": _ids([each.action for each in info.recent_actions[-5:]]),
        "skipped_because_running": info.num_actions_skipped_overlap,
        "missed": info.num_actions_missed_catchup_window,
        "request": await _request_of(session, described),
    }


async def summary_if_there(session: Session, handle: ScheduleHandle) -> dict[str, Any] | None:
    """`summary`, or None."""
    try:
        return await summary(session, handle)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise


def _ids(runs: Iterable[ScheduleActionExecution]) -> list[str]:
    return [run.workflow_id for run in runs if isinstance(run, ScheduleActionExecutionStartWorkflow)]


async def _request_of(session: Session, described: ScheduleDescription) -> dict[str, Any] | None:
    action = described.schedule.action
    if not isinstance(action, ScheduleActionStartWorkflow) or not action.args:
        return None
    model = _REQUESTS.get(action.workflow, BACKUP.request)
    try:
        [order] = await session.client.data_converter.decode(action.args, [model])
    except InvalidInput:  # made by another version, or by hand
        [order] = await session.client.data_converter.decode(action.args)
    return order.model_dump(mode="json") if isinstance(order, Model) else {"input": order}


def shown(document: dict[str, Any]) -> RenderableType:
    """The two schedules of a cluster as a person reads them."""
    order = document["request"] or {}
    return facts(
        {
            "schedule": document["schedule_id"],
            "state": "paused" if document["paused"] else "active",
            "note": document["note"],
            "next runs": moments(document["next_runs"]) or "none",
            "time zone": document["time_zone"],
            "jitter": document["jitter"],
            "running": ", ".join(document["running"]) or "no",
            "last runs": ", ".join(document["recent_runs"]) or "none yet",
            "skipped": str(document["skipped_because_running"]),
            "missed": str(document["missed"]),
            "keeps": f"{order['backups_to_keep']} backups" if "backups_to_keep" in order else None,
            "janitor": janitor_line(document["janitor"]),
        }
    )


def janitor_line(plan: dict[str, Any] | None) -> str:
    """The janitor's schedule in one line."""
    if plan is None:
        return "none"
    every = f"every {plan['every']}" if plan["every"] else plan["schedule_id"]
    return f"{'paused; ' if plan['paused'] else ''}{every}, next {moments(plan['next_runs'][:1]) or 'never'}"


def moments(times: Iterable[Any]) -> str:
    """Points in time, one after the other."""
    return ", ".join(filter(None, map(moment, times)))
