"""One lane: a site, its worker processes, its proxies, and the point at which an operation is held."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from temporalio.client import Client

from dev.stack import images, paths, settings
from tests.chaos.points import Point
from tests.chaos.proxies import ApiProxy, DatabaseProxy
from tests.chaos.site import Site
from tests.chaos.watch import Watch
from tests.support.eventually import NotSeen, eventually


class Lane:
    """Everything that one run after another needs."""

    def __init__(self, site: Site, client: Client) -> None:
        self.site = site
        self.client = client
        self.queue = f"{site.namespace}-{os.getpid()}"
        self.api = ApiProxy(site)
        self.database = DatabaseProxy()
        self.watch = Watch(site)
        self.log = paths.LOGS / f"{site.namespace}-worker.log"
        self.workers: list[subprocess.Popen[bytes]] = []
        self._agent = images.agent().reference

    async def open(self) -> None:
        """Start what goes on all the time."""
        for name in ("hold", "reached", "go", "database", "activities.jsonl"):
            (self.site.control / name).unlink(missing_ok=True)
        self.log.unlink(missing_ok=True)
        await self.api.start()
        await self.database.start()
        await asyncio.to_thread(self.watch.start)
        await self.start_worker()

    async def close(self) -> None:
        """End it all."""
        self.kill_workers()
        self.api.stop()
        self.database.stop()
        await asyncio.to_thread(self.watch.stop)

    # --- holding

    def hold(self, point: Point | None) -> None:
        """Hold the next operation there; None: nowhere."""
        control = self.site.control
        for name in ("hold", "reached", "go", "database"):
            (control / name).unlink(missing_ok=True)
        if point is not None:
            _write(control / "hold", f"{point.workflow} {point.activity_id} {point.stage}")

    @property
    def reached(self) -> bool:
        """Whether an operation stands at the point."""
        return (self.site.control / "reached").exists()

    def go(self) -> None:
        """Let it go on."""
        (self.site.control / "go").touch()

    def activities(self, since: float) -> list[dict[str, Any]]:
        """Starts of activities since a moment, in the worker's own words."""
        path = self.site.control / "activities.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [row for row in rows if row["at"] >= since]

    def database_way(self, way: str | None) -> None:
        """How the worker connects to MariaDB: directly, `refuse`, or through the proxy."""
        path = self.site.control / "database"
        if way is None:
            path.unlink(missing_ok=True)
        else:
            _write(path, way)

    # --- workers

    async def start_worker(
        self, *, checkout: Path = paths.CHECKOUT, agent: str | None = None, clock: str | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a worker and wait until it polls. `clock`: what libfaketime shifts its clock by, for example `+2h`."""
        at = self.log.stat().st_size if self.log.exists() else 0
        environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH"}}
        environment |= {
            "KUBECONFIG": str(self.api.kubeconfig),
            "TEMPORAL_ADDRESS": settings.TEMPORAL_ADDRESS,
            "GALERA_BACKUP_TASK_QUEUE": self.queue,
            "GALERA_BACKUP_AGENT_IMAGE": agent or self._agent,
            "GALERA_BACKUP_GRACEFUL_SHUTDOWN": "3s",
            "CHAOS_CONTROL": str(self.site.control),
            "PYTHONPATH": str(checkout),
        }
        argv = [sys.executable, "-m", "tests.chaos.hooks"]
        if clock is not None:
            # Not by the command `faketime`, which starts a child: a kill would end the parent alone.
            [library] = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
            environment |= {"LD_PRELOAD": str(library), "FAKETIME": clock, "DONT_FAKE_MONOTONIC": "1"}
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                argv, cwd=checkout, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.workers.append(process)
        await eventually(
            lambda: " polling " in self._since(at) or process.poll() is not None, 90, f"the worker polls; {self.log}"
        )
        if process.poll() is not None:
            raise NotSeen(f"the worker ended with {process.returncode}; {self.log}")
        return process

    def kill_workers(self) -> None:
        """As a machine that loses power."""
        for process in self.workers:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(20)
        self.workers.clear()

    async def ensure_worker(self) -> None:
        """Exactly one, the usual one, and alive."""
        if len(self.workers) != 1 or self.workers[0].poll() is not None:
            self.kill_workers()
            await self.start_worker()

    def _since(self, at: int) -> str:
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(at)
            return file.read().decode(errors="replace")


def _write(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)
