"""The product's worker with a place to stand: it holds one activity at one point until it is told to go on.

Run as `python -m tests.chaos.hooks`. Nothing of the product is changed; an interceptor stands around its activities,
and its connections to MariaDB can be led through a proxy. What it is told stands in files of the folder CHAOS_CONTROL:

    hold      `<workflow type> <activity id> <stage>`: where to hold, the first time that it is reached
    reached   made by the worker when it is there
    go        made by the harness: go on
    database  `refuse`, or the port of the proxy to connect through
    activities.jsonl   written by the worker: every start of an activity
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pymysql
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Worker

import worker

CONTROL = Path(os.environ["CHAOS_CONTROL"])
BACK_OFF = timedelta(seconds=4)
"""At the stage `scheduled` the activity is refused once, and scheduled again after this."""


class Hold(Interceptor):
    """Around every activity."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Stand before the activity."""
        return _Held(next)


class _Held(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        _note(info)
        if _is_here(info, "scheduled"):
            raise ApplicationError("held by the harness", type="Held", next_retry_delay=BACK_OFF)
        if _is_here(info, "started"):
            await _wait()
        result = await super().execute_activity(input)
        if _is_here(info, "completed"):
            try:
                await _wait()
            except asyncio.CancelledError:
                return result  # it is done; only its answer has not left yet
        return result


def _note(info: activity.Info) -> None:
    row = {
        "at": time.time(),
        "workflow": info.workflow_type,
        "run": info.workflow_run_id,
        "id": info.activity_id,
        "activity": info.activity_type,
        "attempt": info.attempt,
        "pid": os.getpid(),
    }
    with (CONTROL / "activities.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def _is_here(info: activity.Info, stage: str) -> bool:
    try:
        wanted = (CONTROL / "hold").read_text().split()
        if wanted != [str(info.workflow_type), info.activity_id, stage]:
            return False
        (CONTROL / "reached").touch(exist_ok=False)
    except FileNotFoundError:
        return False
    except FileExistsError:
        return False
    return True


async def _wait() -> None:
    while not (CONTROL / "go").exists():
        activity.heartbeat("held by the harness")
        await asyncio.sleep(0.05)


class _HeldWorker(Worker):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, interceptors=[Hold()])


class _Led(pymysql.Connection):
    """Connects as the file `database` says at that moment."""

    def connect(self, sock: socket.socket | None = None) -> None:
        try:
            way = (CONTROL / "database").read_text().strip()
        except FileNotFoundError:
            way = ""
        if way == "refuse":
            self.host, self.port = "127.0.0.1", 1
        elif way:
            sock = socket.create_connection(("127.0.0.1", int(way)), timeout=5)
            sock.sendall(f"{self.host} {self.port}\n".encode())
        super().connect(sock)


if __name__ == "__main__":
    worker.Worker = _HeldWorker  # type: ignore[attr-defined]
    pymysql.connect = _Led  # type: ignore[assignment]
    worker.main()
