"""`galera-backup backup`, and what every command has in common."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from galera_backup.models.backup import BackupResult
from galera_backup.temporal.attributes import CLUSTER
from starters import cli
from starters import list as list_command
from tests.support.eventually import assert_eventually
from tests.unit.commands.cli import Cli
from tests.unit.commands.stand_ins import (
    ID,
)


async def test_backup_waits_and_prints_the_result(run: Cli) -> None:
    code, out = await run("backup", "slow/db")
    assert code == 0
    assert ID in out
    assert "512.0 MiB of 3.0 GiB data" in out
    assert "started galera-backup/slow/db/" in run.err
    assert "http://localhost:8233/namespaces/default/workflows/galera-backup%2Fslow%2Fdb%2F" in run.err
    assert "lease done in 0.4s" in run.err
    assert "check: a look at every replica" in run.err


async def test_backup_as_json_is_the_result_alone(run: Cli) -> None:
    code, document = await run.json("backup", "good/db", "--keep", "3", "--workflow-id", f"by-hand-{uuid.uuid4()}")
    assert code == 0
    assert BackupResult.model_validate(document).kept == 3


async def test_a_run_has_summary_details_and_search_attribute(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    code, out = await run("backup", "summary/db", "--no-wait")
    assert code == 0
    described = await temporal_env.client.get_workflow_handle(out.strip()).describe()
    assert described.typed_search_attributes.get(CLUSTER) == "summary/db"
    assert await described.static_summary() == "Backup **summary/db**"
    assert "cancel it" in (await described.static_details() or "")
    assert not described.raw_description.execution_config.workflow_execution_timeout.ToSeconds()
    assert not described.raw_description.execution_config.workflow_run_timeout.ToSeconds()


@pytest.mark.parametrize(("namespace", "code", "kind"), [("busy", 4, "ClusterBusy"), ("broken", 1, "InternalError")])
async def test_a_failed_run_has_its_exit_code(run: Cli, namespace: str, code: int, kind: str) -> None:
    got, document = await run.json("backup", f"{namespace}/db")
    assert got == code == document["error"]["exit_code"]
    assert document["error"]["type"] == kind
    assert document["error"]["workflow_id"].startswith(f"galera-backup/{namespace}/db/")
    assert kind in run.err


@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_a_cancelled_or_terminated_run_exits_5(run: Cli, temporal_env: WorkflowEnvironment, how: str) -> None:
    workflow_id = f"end-{uuid.uuid4()}"
    waiting = asyncio.create_task(run("backup", "endless/db", "--workflow-id", workflow_id))
    handle = temporal_env.client.get_workflow_handle(workflow_id)
    await assert_eventually(lambda: is_running(handle), seconds=15)
    await (handle.cancel() if how == "cancel" else handle.terminate())
    assert (await waiting)[0] == 5


async def is_running(handle: Any) -> bool:
    try:
        return bool((await handle.describe()).status == WorkflowExecutionStatus.RUNNING)
    except RPCError:
        return False


async def test_an_id_that_is_in_use_is_busy(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    workflow_id = f"twice-{uuid.uuid4()}"
    assert (await run("backup", "endless/db", "--workflow-id", workflow_id, "--no-wait"))[0] == 0
    code, document = await run.json("backup", "endless/db", "--workflow-id", workflow_id)
    assert code == 4
    assert workflow_id in document["error"]["message"]
    await temporal_env.client.get_workflow_handle(workflow_id).terminate()


async def test_all_wrong_options_come_at_once_and_nothing_is_started(run: Cli) -> None:
    code, document = await run.json("backup", "Bad", "--keep", "x", "--drain-timeout", "soon", "--space-ratio", "0")
    assert code == 2
    for option in ("NAMESPACE/STATEFULSET", "--keep", "--drain-timeout", "--space-ratio"):
        assert f"{option}: " in document["error"]["message"]
    assert "started" not in run.err


async def test_what_the_parser_refuses_is_json_too(run: Cli) -> None:
    code, document = await run.json("backup", "--no-such-option")
    assert code == 2
    assert document["error"]["type"] == "InvalidInput"


async def test_temporal_that_is_not_there_exits_3(capsys: pytest.CaptureFixture[str]) -> None:
    code = await asyncio.to_thread(cli.run, ["backup", "a/b", "--temporal-address", "localhost:1", "--json"])
    assert code == 3
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "TemporalUnavailable"


async def test_a_missing_worker_is_told_while_waiting(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    workflow_id = f"alone-{uuid.uuid4()}"
    waiting = asyncio.create_task(run("backup", "good/db", "--workflow-id", workflow_id, queue=f"nobody-{workflow_id}"))
    said = await run.hear("no worker polls task queue 'nobody-")
    await asyncio.sleep(3)  # three more looks
    assert not waiting.done()
    await temporal_env.client.get_workflow_handle(workflow_id).terminate()
    await waiting
    assert "still waiting" in said
    assert "no worker polls" not in run.err


async def test_a_list_without_a_worker_gives_up(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_command, "PATIENCE", timedelta(seconds=1))
    code, document = await run.json("list", "good/db", queue=f"nobody-{uuid.uuid4()}")
    assert code == 3
    assert document["error"]["type"] == "WorkerMissing"


async def test_ctrl_c_leaves_the_run_alone(temporal_env: WorkflowEnvironment, queue: str) -> None:
    workflow_id = f"ctrl-c-{uuid.uuid4()}"
    address = temporal_env.client.service_client.config.target_host
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starters", "backup", "endless/db", "--workflow-id", workflow_id),
        *("--temporal-address", address, "--task-queue", queue),
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job inherits "ignore"
    )
    handle = temporal_env.client.get_workflow_handle(workflow_id)
    assert process.stderr is not None
    told = await asyncio.wait_for(process.stderr.readline(), 60)
    assert told.decode().strip() == f"started {workflow_id}"
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130
    assert f"temporal workflow cancel --workflow-id {workflow_id}" in err.decode()
    assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
    await handle.terminate()
