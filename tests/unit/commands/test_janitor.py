"""`galera-backup janitor`."""

from __future__ import annotations

import uuid

from temporalio.testing import WorkflowEnvironment

from galera_backup.models.janitor import JanitorResult
from galera_backup.temporal.attributes import CLUSTER
from tests.unit.commands.cli import Cli


async def test_janitor_prints_what_it_found_and_mended(run: Cli) -> None:
    code, out = await run("janitor", "good/db")
    assert code == 0
    assert "started galera-janitor/good/db/" in run.err
    for text in ("db-2", "abandoned", "resynced, after 1m30s desynced, rejoined before it caught up", "db-1: a donor"):
        assert text in out
    code, document = await run.json("janitor", "good/db", "--workflow-id", f"by-hand-{uuid.uuid4()}")
    assert JanitorResult.model_validate(document).mended[0].desynced_seconds == 90


async def test_janitor_of_a_cluster_that_is_held(run: Cli) -> None:
    code, out = await run("janitor", "held/db")
    assert code == 0
    assert "the cluster is held, so nothing was mended: galera-backup/held/db/now" in out


async def test_janitor_that_could_not_mend_fails(run: Cli) -> None:
    code, document = await run.json("janitor", "broken/db")
    assert code == 1
    assert document["error"]["type"] == "JanitorFailed"


async def test_janitor_without_waiting(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    code, document = await run.json("janitor", "good/nowait", "--no-wait")
    assert code == 0
    handle = temporal_env.client.get_workflow_handle(document["workflow_id"], run_id=document["run_id"])
    assert (await handle.describe()).typed_search_attributes.get(CLUSTER) == "good/nowait"


async def test_janitor_with_wrong_options(run: Cli) -> None:
    code, document = await run.json("janitor", "Bad", "--step-timeout", "0s")
    assert code == 2
    assert "NAMESPACE/STATEFULSET: " in document["error"]["message"]
    assert "--step-timeout: " in document["error"]["message"]
