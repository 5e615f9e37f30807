"""Every stored history replays on today's workflows: runs that are open survive a deploy. See record.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from galera_backup.temporal.plugin import plugin
from tests.chaos.faults.worker import changed_checkout
from tests.replay.record import BRANCHES, HISTORIES
from workflows.registry import GUARDS, OPERATIONS

FILES = sorted(HISTORIES.rglob("*.json"))
REPLAY = """
import asyncio, os, pathlib, sys
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from galera_backup.temporal.plugin import plugin
from workflows.registry import GUARDS, OPERATIONS

async def main():
    replayer = Replayer(workflows=[*OPERATIONS, *GUARDS], plugins=[plugin()], debug_mode=True)
    for path in map(pathlib.Path, sys.argv[1:]):
        try:
            await replayer.replay_workflow(WorkflowHistory.from_json("recorded", path.read_text()))
        except Exception as error:
            print("refused", path.stem, "TMPRL1100" in str(error))

asyncio.run(main())
sys.stdout.flush()
os._exit(0)  # the SDK's threads abort the interpreter's own clean-up now and then (sdk-python#300)
"""


def replayer() -> Replayer:
    """Without the SDK's limit of 2 s for one activation: on a busy machine loading the sandbox takes longer."""
    return Replayer(workflows=[*OPERATIONS, *GUARDS], plugins=[plugin()], debug_mode=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HISTORIES)))
async def test_replays(path: Path) -> None:
    await replayer().replay_workflow(history(path))


def history(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(path.stem, path.read_text())


def test_every_branch_is_recorded() -> None:
    versions = {path.parent for path in FILES}
    assert versions
    newest = max(versions, key=lambda folder: [int(part) for part in folder.name.split(".")])
    assert {path.name.partition(".")[0] for path in newest.iterdir()} == set(BRANCHES)


async def test_a_history_of_other_code_is_refused() -> None:
    """The replayer sees it when a step is another one."""
    recorded = history(next(path for path in FILES if path.name == "catalog.json"))
    scheduled = next(each for each in recorded.events if each.HasField("activity_task_scheduled_event_attributes"))
    scheduled.activity_task_scheduled_event_attributes.activity_type.name = "another_activity"
    with pytest.raises(Exception, match="TMPRL1100"):
        await replayer().replay_workflow(recorded)


def test_the_code_that_dev_chaos_changes_is_refused(tmp_path: Path) -> None:
    names = ["backup_ok", "backup_ok.lease", "restore_ok", "restore_staged", "restore_rolling", "rollback"]
    paths = [next(path for path in FILES if path.name == f"{name}.json") for name in names]
    checkout = changed_checkout(tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", REPLAY, *map(str, paths)],
        check=True,
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    refused = [line for line in run.stdout.splitlines() if line.startswith("refused ")]  # the SDK prints there too
    assert refused == [f"refused {name} True" for name in names], run.stdout
