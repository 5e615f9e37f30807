"""`galera-backup schedule`."""

from __future__ import annotations

import asyncio
import uuid
from datetime import datetime, timedelta

import pytest
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from galera_backup.temporal.attributes import CLUSTER
from tests.unit.commands.cli import Cli
from tests.unit.commands.stand_ins import (
    Backup,
    Janitor,
)


async def test_schedule_from_set_to_delete(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    cluster = f"good/db-{uuid.uuid4().hex[:8]}"
    code, document = await run.json("schedule", "set", cluster, "--keep", "5", "--time-zone", "Europe/Berlin")
    assert code == 0
    assert run.err.startswith("created")
    assert document["paused"] is False
    assert document["time_zone"] == "Europe/Berlin"
    assert document["request"]["backups_to_keep"] == 5
    assert document["request"]["wait_for_cluster"] == "PT30M"
    assert datetime.fromisoformat(document["next_runs"][0]).hour in {23, 0}  # 01:00 in Berlin

    described = await temporal_env.client.get_schedule_handle(f"galera-backup/{cluster}").describe()
    assert described.schedule.policy.catchup_window == timedelta(hours=1)
    assert described.schedule.policy.overlap.name == "SKIP"
    assert not described.schedule.policy.pause_on_failure
    assert described.typed_search_attributes.get(CLUSTER) == cluster

    code, document = await run.json("schedule", "pause", cluster, "--note", "moving house")
    assert document["paused"] is True

    code, document = await run.json("schedule", "set", cluster, "--at", "04:15", "--jitter", "10m")
    assert run.err.startswith("updated")
    assert document["paused"] is True
    assert document["note"] == "moving house"
    assert document["jitter"] == "10m"
    assert document["request"]["backups_to_keep"] == 10

    code, document = await run.json("schedule", "trigger", cluster)
    assert code == 0
    async with asyncio.timeout(15):
        while not document["recent_runs"]:
            _, document = await run.json("schedule", "show", cluster)
    [scheduled] = document["recent_runs"]
    assert scheduled.startswith(f"galera-backup/{cluster}-")
    handle = temporal_env.client.get_workflow_handle_for(Backup.run, scheduled)
    assert (await handle.result()).kept == 10
    started = await handle.describe()
    assert started.typed_search_attributes.get(CLUSTER) == cluster
    assert await started.static_summary() == f"Scheduled backup **{cluster}**"

    code, document = await run.json("schedule", "resume", cluster)
    assert document["paused"] is False
    code, out = await run("schedule", "show", cluster)
    assert "active" in out
    assert await run.json("schedule", "delete", cluster) == (0, {"deleted": True})
    assert await run.json("schedule", "delete", cluster) == (0, {"deleted": False})
    code, document = await run.json("schedule", "show", cluster)
    assert code == 1
    assert "galera-backup schedule set" in document["error"]["message"]


async def test_janitor_has_a_schedule_of_its_own(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    cluster = f"good/db-{uuid.uuid4().hex[:8]}"
    typed = ("--secret", "other", "--drain-timeout", "3m", "--run-as-user", "999")
    code, document = await run.json("schedule", "set", cluster, *typed)
    assert code == 0
    janitor = document["janitor"]
    assert janitor["schedule_id"] == f"galera-janitor/{cluster}"
    assert janitor["every"] == "5m"
    assert janitor["request"]["credentials"]["secret"] == "other"
    assert janitor["request"]["drain_timeout"] == "PT3M"
    handle = temporal_env.client.get_schedule_handle(f"galera-janitor/{cluster}")
    described = await handle.describe()
    assert described.schedule.policy.catchup_window == timedelta(minutes=5)
    assert described.schedule.policy.overlap.name == "SKIP"
    assert described.typed_search_attributes.get(CLUSTER) == cluster

    _, document = await run.json("schedule", "pause", cluster)
    assert (document["paused"], document["janitor"]["paused"]) == (True, False)
    await handle.pause(note="by hand")
    _, document = await run.json("schedule", "set", cluster, "--janitor-every", "10m")
    assert (document["janitor"]["every"], document["janitor"]["paused"]) == ("10m", True)
    _, out = await run("schedule", "show", cluster)
    assert "paused; every 10m" in out
    await handle.unpause()
    await handle.trigger()
    async with asyncio.timeout(15):
        while not document["janitor"]["recent_runs"]:
            _, document = await run.json("schedule", "show", cluster)
    [scheduled] = document["janitor"]["recent_runs"]
    assert scheduled.startswith(f"galera-janitor/{cluster}-")
    result = await temporal_env.client.get_workflow_handle_for(Janitor.run, scheduled).result()
    assert result.mended

    _, out = await run("status", cluster)
    assert "every 10m, next 20" in out
    for _ in range(2):
        _, document = await run.json("schedule", "set", cluster, "--janitor-every", "0s")
        assert document["janitor"] is None
    assert "none" in (await run("schedule", "show", cluster))[1]
    assert (await run("schedule", "set", cluster))[0] == 0
    assert await run.json("schedule", "delete", cluster) == (0, {"deleted": True})
    with pytest.raises(RPCError, match="not found"):
        await handle.describe()


async def test_a_janitors_schedule_without_one_for_backups_is_shown_and_deleted(
    run: Cli, temporal_env: WorkflowEnvironment
) -> None:
    cluster = f"good/db-{uuid.uuid4().hex[:8]}"
    assert (await run("schedule", "set", cluster))[0] == 0
    await temporal_env.client.get_schedule_handle(f"galera-backup/{cluster}").delete()
    _, document = await run.json("status", cluster)
    assert document["schedule"] is None
    assert document["janitor"]["every"] == "5m"
    assert await run.json("schedule", "delete", cluster) == (0, {"deleted": True})
    assert await run.json("schedule", "delete", cluster) == (0, {"deleted": False})


async def test_status_shows_the_schedule(run: Cli) -> None:
    cluster = f"good/db-{uuid.uuid4().hex[:8]}"
    assert (await run("schedule", "set", cluster, "--cron", "30 2 * * sun"))[0] == 0
    _, out = await run("status", cluster)
    assert "02:30:00Z" in out
    await run("schedule", "delete", cluster)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--at", "25:00"),
        ("--at", "01:00", "--cron", "0 1 * * *"),
        ("--cron", "every night"),
        ("--cron", "99 1 * * *"),
        ("--time-zone", "Mars/Olympus"),
        ("--jitter", "some"),
        ("--keep", "0"),
        ("--janitor-every", "often"),
        ("--janitor-every", "5s"),
    ],
)
async def test_a_wrong_schedule_is_wrong_usage(run: Cli, wrong: tuple[str, ...]) -> None:
    code, document = await run.json("schedule", "set", "good/wrong", *wrong)
    assert code == 2
    assert document["error"]["type"] == "InvalidInput"
