"""Runs commands in a test."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from starters import cli

FOLLOWS_WITHIN = 15
"""Seconds in which visibility has followed."""


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

    async def operations(self, cluster: str, expected: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Type and status of what `status` shows, newest first: as soon as it is as expected, or what it is in the end.

        Visibility follows the runs a moment later: one that has ended is seen as running until then.
        """
        deadline = time.monotonic() + FOLLOWS_WITHIN
        while True:
            _, document = await self.json("status", cluster)
            shown = [(each["type"], each["status"]) for each in document["operations"]]
            if shown == expected or time.monotonic() > deadline:
                return shown

    async def json(self, *arguments: str, queue: str | None = None) -> tuple[int, Any]:
        code, out = await self(*arguments, "--json", queue=queue)
        return code, json.loads(out)
