"""The command line against the real stack: documents, exit codes, and that it does what it says."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from dev.stack import paths
from tests.integration import process
from tests.integration.galera import CLUSTER, TARGET, stored_manifests
from tests.integration.operations import Operations
from tests.integration.process import Frozen

pytestmark = pytest.mark.usefixtures("stack_cluster")

OK, FAILED, USAGE, UNREACHABLE, BUSY = 0, 1, 2, 3, 4


class CommandLine:
    """`galera-backup` in a process of its own."""

    def __init__(self, task_queue: str) -> None:
        self._environment = {**os.environ, "GALERA_BACKUP_TASK_QUEUE": task_queue}

    async def run(self, *arguments: str, **environment: str) -> tuple[int, Any]:
        """Exit code, and the JSON document on stdout."""
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "starters.cli", *arguments, "--json"),
            cwd=paths.CHECKOUT,
            env={**self._environment, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await running.communicate()
        assert running.returncode is not None
        assert b"Traceback" not in errors, errors.decode()
        return running.returncode, json.loads(output)


@pytest_asyncio.fixture(loop_scope="session")
async def command(operations: Operations) -> AsyncIterator[CommandLine]:
    """The command line on the session's task queue; its schedule is gone afterwards."""
    command = CommandLine(operations.task_queue)
    yield command
    await command.run("schedule", "delete", str(CLUSTER))


async def test_backup_list_and_status(command: CommandLine) -> None:
    code, backup = await command.run("backup", str(CLUSTER))
    assert code == OK
    code, catalog = await command.run("list", str(CLUSTER))
    assert code == OK
    listed = [each["backup_id"] for each in catalog["backups"]]
    assert listed == sorted(stored_manifests())
    assert listed[-1] == backup["manifest"]["backup_id"]
    deadline = asyncio.get_running_loop().time() + 15
    newest: list[str] = []
    while newest != ["completed"] and asyncio.get_running_loop().time() < deadline:
        code, status = await command.run("status", str(CLUSTER))
        assert code == OK
        assert (status["held"], status["worker"]) == (False, True)
        newest = [each["status"] for each in status["operations"][:1]]  # visibility follows the run a moment later
    assert newest == ["completed"]


async def test_status_while_a_backup_runs_and_a_second_one(command: CommandLine) -> None:
    first = asyncio.create_task(command.run("backup", str(CLUSTER)))
    runner = await Frozen.catch(*process.BACKUP)
    code, status = await command.run("status", str(CLUSTER))
    assert code == OK
    assert status["held"]
    assert (status["lease"]["operation"], status["lease"]["replica"]) == ("backup", TARGET)
    assert status["progress"]["phase"] == "run"

    code, refused = await command.run("backup", str(CLUSTER), "--workflow-id", "the-second")
    assert code == BUSY
    assert refused["error"]["type"] == "ClusterBusy"
    assert status["lease"]["owner"] in refused["error"]["message"]

    runner.go_on()
    code, _ = await first
    assert code == OK


async def test_a_schedule_makes_backups(command: CommandLine, operations: Operations) -> None:
    before = set(stored_manifests())
    code, made = await command.run("schedule", "set", str(CLUSTER), "--keep", "7")
    assert code == OK
    assert made["schedule_id"] == f"galera-backup/{CLUSTER}"
    assert all("T01:00:00" in run for run in made["next_runs"])
    code, again = await command.run("schedule", "set", str(CLUSTER), "--keep", "7", "--at", "02:30")
    assert code == OK
    assert all("T02:30:00" in run for run in again["next_runs"])
    assert again["request"]["backups_to_keep"] == 7

    code, _ = await command.run("schedule", "trigger", str(CLUSTER))
    assert code == OK
    deadline = asyncio.get_running_loop().time() + 30
    runs: list[str] = []
    while not runs:
        assert asyncio.get_running_loop().time() < deadline, "the triggered run does not start"
        _, shown = await command.run("schedule", "show", str(CLUSTER))
        runs = shown["recent_runs"]
    await operations.client.get_workflow_handle(runs[-1]).result()
    assert len(set(stored_manifests()) - before) == 1

    code, gone = await command.run("schedule", "delete", str(CLUSTER))
    assert (code, gone) == (OK, {"deleted": True})
    code, missing = await command.run("schedule", "show", str(CLUSTER))
    assert code == FAILED
    assert missing["error"]["type"] == "NotFound"


async def test_wrong_input_is_refused_before_anything_starts(command: CommandLine) -> None:
    code, refused = await command.run("backup", "openstack")
    assert (code, refused["error"]["type"]) == (USAGE, "InvalidInput")
    code, refused = await command.run("backup", str(CLUSTER), "--keep", "0", "--space-ratio", "-1")
    assert (code, refused["error"]["type"]) == (USAGE, "InvalidInput")
    assert "--keep" in refused["error"]["message"]
    assert "--space-ratio" in refused["error"]["message"]
    code, refused = await command.run("restore", str(CLUSTER), "20261122T010000Z-full", "--confirm", "openstack/other")
    assert (code, refused["error"]["type"]) == (USAGE, "InvalidInput")


async def test_what_the_cluster_refuses_is_a_failure(command: CommandLine) -> None:
    code, refused = await command.run("backup", "openstack/no-such-statefulset")
    assert (code, refused["error"]["type"]) == (FAILED, "ClusterNotFound")
    code, refused = await command.run("backup", str(CLUSTER), TEMPORAL_ADDRESS="127.0.0.1:1")
    assert (code, refused["error"]["type"]) == (UNREACHABLE, "TemporalUnavailable")
