#!/usr/bin/env python3
"""Commits on another replica before and during a backup, with and without the runner's niceness and small CPU weight.

Run it on the stack of dev/up, with nothing else at work: `PYTHONPATH=. python benchmarks/load_during_backup.py`.
sysbench writes to replica 0 with a fixed number of threads, while real GaleraBackups of the last replica alternate:
those of a worker as it is, the same without the limit of MB per second, and without the limit those of a worker that
builds the same pod without `nice -n 19` before the tools, without the agent's idle scheduling class, and with the
server's CPU request for both containers. "During" is the time between the manifest's `started_at` and `finished_at`:
the copy, without the check, the desync and the resync around it.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import shutil
import sys
import time
from pathlib import Path

from kubernetes.client import V1EnvVar, V1Pod
from temporalio.client import Client

import activities.runner
import worker
from benchmarks import _load
from benchmarks._load import CLUSTER, TARGET, Sysbench
from benchmarks.backup_throughput import VOLUME, fill
from dev.stack import cluster, settings
from galera_backup.kube.facts import PodFacts, StatefulSetFacts
from galera_backup.kube.runner_pod import runner_pod
from galera_backup.models.activities import RunnerTask
from galera_backup.models.backup import BackupRequest, BackupResult
from galera_backup.models.jobs import BackupJob
from galera_backup.models.runner import AnyJob
from galera_backup.runner import handshake

BEFORE, SETTLE = 15, 5
"""Seconds of load alone before each backup, and before these."""
AS_WORKER = "--as-full-weight-worker"
USUAL, IDLE, FULL = "as it is", "without a limit", "without a limit, full weight"
NO_LIMIT = 1_000_000
RATES = {USUAL: None, IDLE: NO_LIMIT, FULL: NO_LIMIT}
PLAIN_AGENT = """
import os, sys
from galera_backup.runner import agent
agent.yield_the_processor = lambda: None
sys.exit(agent.main(os.environ))
"""


def full_weight(
    task: RunnerTask[AnyJob], statefulset: StatefulSetFacts, replica: PodFacts | None, agent_image: str, *, cpu: str
) -> V1Pod:
    """The pod of a backup without what keeps it small."""
    pod = runner_pod(task, statefulset, replica, agent_image)
    if isinstance(task.job, BackupJob):
        containers = {each.name: each for each in pod.spec.containers}
        tools, agent = containers[handshake.MARIADB_CONTAINER], containers[handshake.AGENT_CONTAINER]
        tools.env.append(V1EnvVar(name="NICENESS", value="0"))
        agent.command = ["python3", "-c", PLAIN_AGENT]
        for container in containers.values():
            container.resources.requests["cpu"] = cpu
    return pod


def server_cpu() -> str:
    """What the database's container requests."""
    containers = cluster.get("--namespace", settings.NAMESPACE, "pod", TARGET)["spec"]["containers"]
    [server] = [each for each in containers if each["name"] == settings.CONTAINER]
    return str(server["resources"]["requests"]["cpu"])


def work_at_full_weight() -> None:
    """Be the worker that builds those pods."""
    vars(activities.runner)["runner_pod"] = functools.partial(full_weight, cpu=server_cpu())
    worker.main()


async def measure(client: Client, queue: str, load: Sysbench, rate: float | None) -> dict[str, float]:
    """One backup; the figures of the table."""
    _load.wait_in_sync()
    await asyncio.sleep(SETTLE)
    begun = time.time()
    await asyncio.sleep(BEFORE)
    asked = time.time()
    request = BackupRequest(cluster=CLUSTER, backups_to_keep=10_000, required_space_ratio=1, max_mb_per_second=rate)
    result: BackupResult = await client.execute_workflow(
        "GaleraBackup", request, id=f"{queue}-{begun:.0f}", task_queue=queue, result_type=BackupResult
    )
    manifest = result.manifest
    shutil.rmtree(VOLUME / str(CLUSTER) / manifest.backup_id)
    started, finished = manifest.started_at.timestamp(), manifest.finished_at.timestamp()
    before, during = load.tps(begun, asked), load.tps(started, finished)
    return {
        "TPS before": sum(before) / len(before),
        "TPS during": sum(during) / len(during),
        "worst second during, TPS": min(during),
        "during / before": sum(during) / len(during) / (sum(before) / len(before)),
        "copy, s": finished - started,
        "MB/s of the uncompressed stream": manifest.stream_bytes / 1e6 / (finished - started),
    }


async def main() -> None:
    """Alternate the two and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each (%(default)s)")
    parser.add_argument("--extra", type=int, default=2200, metavar="MIB", help="incompressible data (%(default)s)")
    parser.add_argument("--threads", type=int, default=6, help="of sysbench (%(default)s)")
    parser.add_argument("--tables", type=int, default=4, help="of sysbench (%(default)s)")
    parser.add_argument("--rows", type=int, default=20_000, help="of each table (%(default)s)")
    arguments = parser.parse_args()
    client = await _load.temporal()
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in RATES}
    with (
        _load.worker() as usual,
        _load.worker(Path(__file__), AS_WORKER) as full,
        _load.database(),
    ):
        try:
            fill(arguments.extra)
            load = Sysbench(arguments.threads, arguments.tables, arguments.rows)
            with load.running():
                for number in range(1, arguments.rounds + 1):
                    for name, rate in RATES.items():
                        found = await measure(client, full if name == FULL else usual, load, rate)
                        figures[name].append(found)
                        print(number, name, {key: round(value, 2) for key, value in found.items()}, flush=True)
        finally:
            cluster.sql("DROP DATABASE IF EXISTS benchmark")
        _load.wait_in_sync()
    rows = {row: [[each[row] for each in rounds] for rounds in figures.values()] for row in figures[IDLE][0]}
    print("\n" + _load.table(f"median of {arguments.rounds} rounds (range)", list(figures), rows))
    gains = [
        [ours["during / before"] / other["during / before"] for ours, other in zip(rounds, figures[FULL], strict=True)]
        for rounds in (figures[USUAL], figures[IDLE])
    ]
    print(_load.row("during / before, beside that at full weight", [*gains, []]))


if __name__ == "__main__":
    if AS_WORKER in sys.argv:
        work_at_full_weight()
    asyncio.run(main())
