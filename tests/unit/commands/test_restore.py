"""`galera-backup restore`, `rollback`, `approve`, `reject` and `decide`."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import sys

import pytest
from rich.console import Console
from temporalio.testing import WorkflowEnvironment

from galera_backup.models.clone import Clone
from galera_backup.models.common import ClusterRef
from galera_backup.models.restore import RestoreRequest, RestoreResult
from starters import restore as restore_command
from tests.unit.commands.cli import Cli
from tests.unit.commands.stand_ins import (
    AT,
    ID,
    RESTORE_ID,
    manifest,
)


async def test_restore(run: Cli) -> None:
    code, document = await run.json("restore", "good/db", ID, "--confirm", "good/db")
    assert code == 0
    assert document["outage_seconds"] == 61


async def test_restore_tells_what_was_proved(run: Cli) -> None:
    options = ("--confirm", "good/db", "--check", "SELECT 1 => 1", "--check", "SELECT 2=>2")
    code, out = await run("restore", "good/db", ID, *options)
    assert code == 0
    assert "SELECT 1: 1; SELECT 2: 2" in out
    assert "7 whole of 9 seen (the time was over)" in out
    assert "1 as in the Secrets; set: 'nova'@'%'" in out


async def test_restore_without_a_terminal_needs_the_confirmation(run: Cli) -> None:
    code, document = await run.json("restore", "good/db", ID)
    assert code == 2
    assert "--confirm good/db" in document["error"]["message"]


@pytest.mark.parametrize(("typed", "code"), [("good/db", 0), ("good/dv", 2), ("", 2)])
async def test_restore_on_a_terminal_asks_for_the_cluster(
    temporal_env: WorkflowEnvironment, queue: str, typed: str, code: int
) -> None:
    terminal, its_other_end = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starters", "restore", "good/db", ID, "--task-queue", queue),
        *("--temporal-address", temporal_env.client.service_client.config.target_host),
        stdin=its_other_end,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    os.write(terminal, f"{typed}\n".encode())
    out, err = await asyncio.wait_for(process.communicate(), 20)
    os.close(terminal)
    os.close(its_other_end)
    assert process.returncode == code, err
    assert "This will stop good/db" in err.decode()
    assert ("1m1s" in out.decode()) == (code == 0)


async def test_an_empty_confirmation_is_none(run: Cli) -> None:
    code, document = await run.json("restore", "good/db", ID, "--confirm", "")
    assert code == 2
    assert "--confirm: " in document["error"]["message"]


async def test_restore_of_another_cluster_is_refused(run: Cli) -> None:
    code, document = await run.json("restore", "good/db", "latest", "--confirm", "good/other")
    assert code == 2
    assert "BACKUP_ID: " in document["error"]["message"]
    assert "--confirm: " in document["error"]["message"]
    assert "'good/db'" in document["error"]["message"]


async def test_rollback(run: Cli) -> None:
    code, document = await run.json("rollback", "good/db", RESTORE_ID, "--confirm", "good/db")
    assert code == 0
    assert document["restore_id"] == RESTORE_ID
    code, document = await run.json("rollback", "good/db", ID)
    assert code == 2
    assert "--confirm good/db" in document["error"]["message"]


async def test_answers_reach_a_restore_that_waits(run: Cli, temporal_env: WorkflowEnvironment, queue: str) -> None:
    order = RestoreRequest.model_validate(
        {"cluster": {"namespace": "asks", "statefulset": "db"}, "backup_id": ID, "confirm": "asks/db"}
    )
    handle = await temporal_env.client.start_workflow(
        "GaleraRestore", order, id=f"asks-{queue}", task_queue=queue, result_type=RestoreResult
    )
    code, document = await run.json("decide", handle.id, "keep", "--why", "no")
    assert code == 2
    assert "nobody asks" in document["error"]["message"]
    code, document = await run.json("decide", handle.id, "perhaps", "--why", "no")
    assert code == 2
    assert "choice: " in document["error"]["message"]
    code, document = await run.json("approve", handle.id, "--why", "announced", "--who", "ada")
    assert (code, document) == (0, {"who": "ada", "why": "announced"})
    assert (await handle.result()).approved_by == "ada"
    code, document = await run.json("reject", "no such run", "--why", "x")
    assert code == 1
    assert document["error"]["type"] == "NotFound"


def test_clone_is_told_by_its_own_name() -> None:
    source, target = ClusterRef(namespace="a", statefulset="b"), ClusterRef(namespace="c", statefulset="d")
    result = RestoreResult(
        restore_id=RESTORE_ID,
        manifest=manifest(source),
        claims=(),
        replicas=3,
        phases=(),
        outage_seconds=61,
        clone=Clone(source=source, uuid="aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"),
        kept_until=AT,
    )
    console = Console(width=200)
    with console.capture() as captured:
        console.print(restore_command.shown(result, target))
    told = captured.get()
    assert "c/d, 3 replicas, Ready" in told
    assert f"galera-backup rollback c/d {RESTORE_ID}" in told
    assert re.search(r"clone of +a/b at ", told)
