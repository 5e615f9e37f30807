#!/usr/bin/env python3
"""How long the preflight takes, by the number of tables, and what the pods add that look at the volumes.

Run it on the stack of dev/up, with nothing else at work: `PYTHONPATH=. python benchmarks/preflight.py`. "check" is a
whole GaleraCheck, which starts no pod; "plan" and "volumes" are phases of a restore that waits for its approval and is
rejected: its own preflight, and a pod on every claim, which also reads the backup whole.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import time

from temporalio.client import Client, WorkflowFailureError

from benchmarks import _load
from benchmarks._load import CLUSTER, SCHEMA
from benchmarks.backup_throughput import VOLUME
from dev.stack import cluster
from galera_backup.models.backup import BackupRequest, BackupResult
from galera_backup.models.check import CheckRequest, CheckResult
from galera_backup.models.plan import Answer
from galera_backup.models.progress import Progress
from galera_backup.models.restore import RestoreRequest

AT_ONCE = 250
"""CREATE TABLE statements of one call: each is a total order isolation of its own."""
COLUMNS = ("check, s", "plan, s", "volumes, s")


def make_tables(wanted: int) -> None:
    """That many InnoDB tables in all."""
    for first in range(0, wanted, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, wanted))
        cluster.sql("".join(f"CREATE TABLE IF NOT EXISTS {SCHEMA}.t{n} (id INT PRIMARY KEY);" for n in numbers))


async def measure(client: Client, queue: str, backup_id: str) -> tuple[float, float, float]:
    """Seconds, in the order of COLUMNS."""
    began = time.monotonic()
    found: CheckResult = await client.execute_workflow(
        "GaleraCheck",
        CheckRequest(cluster=CLUSTER),
        id=f"{queue}-check-{began:.0f}",
        task_queue=queue,
        result_type=CheckResult,
    )
    checked = time.monotonic() - began
    assert not found.refuses("restore"), found
    request = RestoreRequest(cluster=CLUSTER, backup_id=backup_id, confirm=str(CLUSTER), require_approval=True)
    restore = await client.start_workflow("GaleraRestore", request, id=f"{queue}-restore-{began:.0f}", task_queue=queue)
    seen = await restore.query("progress", result_type=Progress)
    while seen.phase != "approve":
        await asyncio.sleep(0.2)
        seen = await restore.query("progress", result_type=Progress)
    await restore.execute_update("reject", Answer(who="benchmark", why="only its preflight is measured"))
    try:
        await restore.result()
    except WorkflowFailureError:
        took = {each.phase: each.seconds for each in seen.finished}
        return checked, took["plan"], took["check"]
    raise AssertionError("the restore was not rejected")


async def main() -> None:
    """Rounds with few tables and with many, each with a backup of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of each (%(default)s)")
    parser.add_argument("--tables", type=int, nargs="+", default=[0, 3000], help="(%(default)s)")
    arguments = parser.parse_args()
    client = await _load.temporal()
    rows: dict[str, list[list[float]]] = {}
    with _load.worker() as queue, _load.database():
        for tables in arguments.tables:
            make_tables(tables)
            _load.wait_in_sync()
            backup: BackupResult = await client.execute_workflow(
                "GaleraBackup",
                BackupRequest(cluster=CLUSTER, backups_to_keep=10_000),
                id=f"{queue}-backup-{tables}",
                task_queue=queue,
                result_type=BackupResult,
            )
            try:
                rounds = [await measure(client, queue, backup.manifest.backup_id) for _ in range(arguments.rounds)]
            finally:
                shutil.rmtree(VOLUME / str(CLUSTER) / backup.manifest.backup_id)
            rows[f"{tables} tables"] = [list(each) for each in zip(*rounds, strict=True)]
            print(tables, rounds, flush=True)
    print("\n" + _load.table(f"median of {arguments.rounds} rounds (range)", COLUMNS, rows))


if __name__ == "__main__":
    asyncio.run(main())
