"""The points at which a fault can strike, read from the history of a run without any."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

Stage = Literal["scheduled", "started", "completed"]
STAGES: tuple[Stage, ...] = ("scheduled", "started", "completed")
_JOB = re.compile(r"-[0-9a-f]{8}-(.+)$")
"""At the end of a runner pod's name."""


@dataclass(frozen=True)
class Point:
    """One event of one activity of an operation or of its lease.

    `scheduled`: the server waits to hand it out; `started`: a worker has it and has done nothing yet; `completed`: its
    effect is there, and its answer has not left the worker yet.
    """

    workflow: str
    activity_id: str
    activity: str
    stage: Stage
    seconds: float
    """After the start of the operation, in the run without a fault."""
    job: str = ""
    """Of a runner pod of a restore, with its ordinal: `stage-0`, `in-2`."""

    @property
    def ordinal(self) -> int:
        """Of the replica whose volume the job works on."""
        return int(self.job.rpartition("-")[2])

    def __str__(self) -> str:
        activity = f"{self.activity}({self.job})" if self.job else self.activity
        return f"{self.workflow.removeprefix('Galera').lower()}.{self.activity_id}.{activity}.{self.stage}"


async def points_of(client: Client, *runs: tuple[str, str | None]) -> list[Point]:
    """Of the histories of these runs (workflow id, run id), the operation's first."""
    histories = []
    for workflow_id, run_id in runs:
        handle = client.get_workflow_handle(workflow_id, run_id=run_id)
        workflow = (await handle.describe()).workflow_type
        histories.append((workflow, [event async for event in handle.fetch_history_events()]))
    return points_in(histories)


def points_in(histories: Iterable[tuple[str, Sequence[HistoryEvent]]]) -> list[Point]:
    """Of the histories of an operation and of its lease, each with its workflow type.

    In the order in which each workflow schedules its activities, the operation's first: that is the same in every run,
    and the order of time is not, where activities run beside each other. So every run has the same plan.
    """
    begin = 0.0
    found: list[Point] = []
    for workflow, events in histories:
        for event in events:
            at = event.event_time.ToDatetime().timestamp()
            begin = begin or at
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                scheduled = event.activity_task_scheduled_event_attributes
                name, seconds = scheduled.activity_type.name, round(at - begin, 1)
                job = _job(scheduled.input.payloads) if name == "run_runner" else ""
                found += [Point(workflow, scheduled.activity_id, name, stage, seconds, job) for stage in STAGES]
    return found


def _job(payloads: Sequence[Payload]) -> str:
    named = _JOB.search(json.loads(payloads[0].data)["pod"])
    return named[1] if named else ""
