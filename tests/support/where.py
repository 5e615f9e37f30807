"""What stands still, and where: for the message of a test that waited too long."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Iterable

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

_IDLE = {("thread.py", "_worker"), ("threading.py", "_wait_for_tstate_lock")}
"""File and function in which an idle thread of a pool stands."""


async def where_all_is(client: Client, queues: Iterable[str]) -> str:
    """Open workflows with what they wait for, who polls, and the threads that are not idle.

    It asks over a connection of its own, as the client's may hang.
    """
    lines = busy_threads()
    try:
        async with asyncio.timeout(30):
            other = await Client.connect(client.service_client.config.target_host, namespace=client.namespace)
            lines += [*await _workflows(other), *await _pollers(other, queues)]
    except Exception as error:
        lines.append(f"the server cannot be asked: {error!r}")
    return "\n".join(lines)


async def _workflows(client: Client) -> list[str]:
    lines = []
    async for each in client.list_workflows("ExecutionStatus = 'Running'", limit=100):
        raw = (await client.get_workflow_handle(each.id, run_id=each.run_id).describe()).raw_description
        waits = [raw.pending_workflow_task] if raw.HasField("pending_workflow_task") else []
        lines.append(f"{each.workflow_type} {each.id} since {each.start_time}: {[*waits, *raw.pending_activities]}")
    return lines


async def _pollers(client: Client, queues: Iterable[str]) -> list[str]:
    lines = []
    for name in queues:
        for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
            polled = await client.workflow_service.describe_task_queue(
                DescribeTaskQueueRequest(
                    namespace=client.namespace,
                    task_queue=TaskQueue(name=name),
                    task_queue_type=kind,
                    report_stats=True,
                )
            )
            lines.append(f"{name} {TaskQueueType.Name(kind)}: {polled}")
    return lines


def busy_threads() -> list[str]:
    """Stacks of the threads that are not idle, but this one."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = []
    for ident, frame in sys._current_frames().items():
        stack = traceback.extract_stack(frame)
        top = stack[-1]
        if ident == threading.get_ident() or (top.filename.rpartition("/")[2], top.name) in _IDLE:
            continue
        where = " < ".join(f"{each.filename.rpartition('/')[2]}:{each.lineno} {each.name}" for each in stack[-8:][::-1])
        lines.append(f"thread {names.get(ident, ident)}: {where}")
    return lines
