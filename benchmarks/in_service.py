#!/usr/bin/env python3
"""How long a Service has no endpoint while the only replica is backed up in service, by its readiness probe.

Run it on the stack of dev/up, with nothing else at work: `PYTHONPATH=. python benchmarks/in_service.py`. mariadb-backup
desyncs the server by itself while it copies tables outside of InnoDB, and a probe that demands Synced fails meanwhile.
A client connects through the Service every 50 ms; its gap is the longest time between two connections.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pymysql

from benchmarks import _load
from benchmarks._load import SCHEMA
from dev.stack import cluster
from galera_backup.models.backup import BackupRequest, BackupResult
from tests.support.shape import Shape
from tests.support.small_cluster import SmallCluster

PAUSE, SERVICE = 0.05, "mariadb"
PROBES = {"1 s x 1": (1, 1), "5 s x 3, as MOSK's": (5, 3)}
COLUMNS = ("data, MB", "desynced by the tool, s", "gap of the client, s", "connections refused")
BATCH_MB = 50


@contextmanager
def alone(name: str, period: int, failures: int) -> Iterator[SmallCluster]:
    """A cluster of one replica, with this readiness probe."""
    readiness = {"periodSeconds": period, "failureThreshold": failures}
    made = SmallCluster(f"benchmark-{name}", Shape(name, replicas=1, readiness=readiness))
    try:
        made.make()
        yield made
    finally:
        made.remove()


class Client:
    """Connects through a Service again and again."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.gap, self.refused = 0.0, 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the block runs."""
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(10)

    def _run(self, stop: threading.Event) -> None:
        last = time.monotonic()
        while not stop.wait(PAUSE):
            try:
                with contextlib.closing(_load.connect_to(self._address, 1)):
                    self.gap, last = max(self.gap, time.monotonic() - last), time.monotonic()
            except pymysql.MySQLError:
                self.refused += 1
        self.gap = max(self.gap, time.monotonic() - last)


def fill(made: SmallCluster, megabytes: int) -> None:
    """A MyISAM table of this size, which nothing compresses: the tool copies it while it holds the server up."""
    pod, create = made.pods[0], "(b VARBINARY(1024)) ENGINE=MyISAM"
    cluster.sql(f"CREATE TABLE {SCHEMA}.t {create}", pod, namespace=made.namespace)
    for first in range(0, megabytes, BATCH_MB):
        rows = min(BATCH_MB, megabytes - first) * 1000
        insert = f"INSERT INTO {SCHEMA}.t SELECT RANDOM_BYTES(1000) FROM {SCHEMA}.seq_1_to_{rows}"
        cluster.sql(insert, pod, timeout=300, namespace=made.namespace)


async def main() -> None:
    """One backup with each probe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=800, help="of the MyISAM table (%(default)s)")
    arguments = parser.parse_args()
    client = await _load.temporal()
    rows: dict[str, list[list[float]]] = {}
    with _load.worker() as queue:
        for number, (name, probe) in enumerate(PROBES.items()):
            with alone(f"alone-{number}", *probe) as made, _load.database(made.namespace):
                fill(made, arguments.megabytes)
                service = cluster.get("--namespace", made.namespace, "service", SERVICE)
                watch = Client(str(service["spec"]["clusterIP"]))
                with watch.running():
                    backup: BackupResult = await client.execute_workflow(
                        "GaleraBackup",
                        BackupRequest(cluster=made.ref, write_wait_timeout=timedelta(minutes=5)),
                        id=f"{queue}-{number}",
                        task_queue=queue,
                        result_type=BackupResult,
                    )
                held = float(backup.manifest.ddl_blocked_seconds or 0)
                rows[name] = [[backup.manifest.data_bytes / 1e6], [held], [watch.gap], [float(watch.refused)]]
                print(name, rows[name], flush=True)
    print("\n" + _load.table("one backup each", COLUMNS, rows))


if __name__ == "__main__":
    asyncio.run(main())
