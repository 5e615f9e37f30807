"""The worker as it is deployed: `python worker.py` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from dev.stack import paths
from tests.integration.galera import NAMESPACE
from tests.support.eventually import eventually

WORKER_LOG = paths.LOGS / f"{NAMESPACE}-worker.log"


class WorkerProcess:
    """One worker at a time on one task queue; all of them write to one log."""

    def __init__(self, task_queue: str) -> None:
        self.task_queue = task_queue
        self.log = WORKER_LOG
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it polls."""
        at = size_of(self.log)
        self._process = self._spawn()
        await eventually(lambda: " polling " in self.since(at), 60, f"the worker polls; its log is {self.log}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        environment = dict(os.environ)  # with what the stack needs: the image that the session has loaded
        environment["GALERA_BACKUP_TASK_QUEUE"] = self.task_queue
        environment["GALERA_BACKUP_GRACEFUL_SHUTDOWN"] = "5s"
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, str(paths.CHECKOUT / "worker.py")],
                cwd=paths.CHECKOUT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process that is alive."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """As a machine that loses power."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def terminate(self) -> int:
        """As a rolling update: SIGTERM, and wait for the end of its drain. Its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def end(self) -> None:
        """Whatever it does."""
        if self.running:
            try:
                self.terminate()
            except subprocess.TimeoutExpired:
                self.kill()

    def since(self, at: int) -> str:
        """The log from this byte on."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(at)
            return file.read().decode(errors="replace")


def size_of(log: Path) -> int:
    """Bytes of a log that may not exist yet."""
    return log.stat().st_size if log.exists() else 0
