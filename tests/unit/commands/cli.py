"""Runs commands in a test."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from starters import cli


class Cli:
    """Runs commands as the console script does, in a thread of this process."""

    def __init__(self, environment: WorkflowEnvironment, queue: str, capture: pytest.CaptureFixture[str]) -> None:
        self.address = environment.client.service_client.config.target_host
        self.queue, self._capture = queue, capture
        self.err = ""

    async def __call__(self, *arguments: str, queue: str | None = None) -> tuple[int, str]:
        """Exit code and stdout; stderr is in `err`."""
        self._capture.readouterr()
        where = ["--temporal-address", self.address, "--task-queue", queue or self.queue]
        code = await asyncio.to_thread(cli.run, [*arguments, *where])
        captured = self._capture.readouterr()
        self.err = captured.err
        return code, captured.out

    async def hear(self, text: str) -> str:
        """Stderr of a command that is still running, up to and including `text`."""
        heard = ""
        async with asyncio.timeout(20):
            while text not in heard:
                heard += self._capture.readouterr().err
                await asyncio.sleep(0.1)
        return heard

    async def json(self, *arguments: str, queue: str | None = None) -> tuple[int, Any]:
        code, out = await self(*arguments, "--json", queue=queue)
        return code, json.loads(out)
