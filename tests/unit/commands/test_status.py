"""`galera-backup list`, `status` and `search-attributes`."""

from __future__ import annotations

import uuid

from temporalio.testing import WorkflowEnvironment

from galera_backup import names
from galera_backup.models.common import ClusterRef
from galera_backup.models.restore import (
    TidyRequest,
)
from galera_backup.workflow_types import TIDY
from starters._session import cluster_attributes
from starters.status import LAST_JANITOR_RUNS, LAST_OPERATIONS
from tests.unit.commands.cli import Cli
from tests.unit.commands.stand_ins import (
    AT,
    ID,
    MANY,
    RESTORE_ID,
)


async def test_list(run: Cli) -> None:
    code, out = await run("list", "good/db")
    assert code == 0
    for cell in (ID, "512.0 MiB", "3.0 GiB", "db-2", "6b2b4b9e-0000-11f0-8b1c-0242ac110002:42", "1m30s"):
        assert cell in out
    assert (await run("list", "empty/db"))[1].strip() == "no backups"


async def test_list_shows_every_page(run: Cli) -> None:
    code, document = await run.json("list", "many/db")
    assert code == 0
    assert [each["backup_id"] for each in document["backups"]] == MANY
    assert document["next"] is None


async def test_status_of_a_free_cluster(run: Cli) -> None:
    code, out = await run("status", "nothing/db")
    assert code == 0
    assert "nothing/db: free" in out
    assert "no operations yet" in out


async def test_status_tells_holder_progress_and_last_operations(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    client = temporal_env.client
    lease = await client.start_workflow(
        "GaleraLease", id=names.lease_id(ClusterRef(namespace="held", statefulset="db")), task_queue=run.queue
    )
    broken = f"broken/db-{uuid.uuid4().hex[:8]}"
    assert (await run("backup", broken))[0] == 1
    expected = [("GaleraBackup", "failed")]
    assert await run.operations(broken, expected) == expected
    _, document = await run.json("status", broken)
    assert document["operations"][0]["error"]["type"] == "InternalError"
    assert document["worker"] is True
    code, out = await run("status", "held/db")
    assert code == 0
    assert "held by galera-backup/held/db/now (backup: desynced)" in out
    assert "db-2" in out
    await lease.terminate()


async def test_status_shows_every_operation(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    name = f"good/db-{uuid.uuid4().hex[:8]}"
    cluster = ClusterRef(namespace="good", statefulset=name.removeprefix("good/"))
    tidy = await temporal_env.client.start_workflow(
        TIDY.name,
        TidyRequest(cluster=cluster, restore_id=RESTORE_ID, until=AT),
        id=names.tidy_id(cluster, RESTORE_ID),
        task_queue=run.queue,
        search_attributes=cluster_attributes(cluster),
    )
    assert (await run("restore", name, ID, "--confirm", name))[0] == 0
    assert (await run("rollback", name, RESTORE_ID, "--confirm", name))[0] == 0
    for _ in range(LAST_JANITOR_RUNS + 1):
        assert (await run("janitor", name))[0] == 0
    for _ in range(LAST_OPERATIONS):
        assert (await run("list", name))[0] == 0
    janitors, open_tidy = [("GaleraJanitor", "completed")] * LAST_JANITOR_RUNS, ("GaleraTidy", "running")
    expected = [*janitors, ("GaleraRollback", "completed"), ("GaleraRestore", "completed"), open_tidy]
    assert await run.operations(name, expected) == expected
    for _ in range(LAST_OPERATIONS):
        assert (await run("backup", name))[0] == 0
    expected = [*[("GaleraBackup", "completed")] * LAST_OPERATIONS, *janitors, open_tidy]
    assert await run.operations(name, expected) == expected
    await tidy.terminate()


async def test_search_attributes(run: Cli) -> None:
    code, document = await run.json("search-attributes")
    assert (code, document) == (0, {"registered": []})
