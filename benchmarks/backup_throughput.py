#!/usr/bin/env python3
"""Throughput of our runner beside plain `mariadb-backup --stream=mbstream | zstd -1 -T0`: same data, same kind of pod.

Run it on the stack of dev/up, with nothing else at work: `PYTHONPATH=. python benchmarks/backup_throughput.py`.
Both pods read the same replica and write to the same backup volume, ours without its limit of MB per second; both
numbers end with the data on disk (fsync).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import kubernetes
from kubernetes.client import CoreV1Api, V1Pod

from dev.stack import cluster, images, paths, settings
from galera_backup import names
from galera_backup.kube.gateway import KubeGateway
from galera_backup.kube.runner_pod import runner_pod
from galera_backup.models.activities import RunnerTask
from galera_backup.models.common import ClusterRef
from galera_backup.models.jobs import BackupJob
from galera_backup.models.site import Site

CLUSTER = ClusterRef(namespace=settings.NAMESPACE, statefulset=settings.STATEFULSET)
REPLICA = names.pod(CLUSTER, settings.REPLICAS - 1)
CLAIM = f"mysql-data-{REPLICA}"
BACKUP_CLAIM = "mariadb-phy-backup-data"
VOLUME = paths.VOLUME_MOUNTS / BACKUP_CLAIM
STORED = "benchmark.mbs.zst"
ROW_KIB, BATCH_MIB = 64, 20

# As plain as it gets and still comparable: the same niceness and options, counted and on disk at the end.
PLAIN = f"""
set -e
mkdir -p $WORK/tmp $WORK/backup
printf '[client]\\nuser=%s\\npassword=%s\\n' "$(cat /run/credentials/username)" "$(cat /run/credentials/password)" \\
  > $WORK/client.cnf
set -- ; if [ -d "$DATADIR/lost+found" ] && [ ! -r "$DATADIR/lost+found" ]; then
  set -- --databases-exclude=lost+found; fi
began=$(date +%s%N)
nice -n 19 mariadb-backup --defaults-file=$WORK/client.cnf --backup --galera-info --stream=mbstream --parallel=2 \\
  --host="$MARIADB_HOST" --port="$MARIADB_PORT" --datadir="$DATADIR" --target-dir=$WORK/backup --tmpdir=$WORK/tmp \\
  "$@" 2>$WORK/backup.log | nice -n 19 zstd -1 -T0 -q -c > /var/backup/{STORED}
sync /var/backup/{STORED}
ended=$(date +%s%N)
tail -n 1 $WORK/backup.log | grep -q 'completed OK!'
echo "{{\\"seconds\\": $(( (ended - began) / 1000000 ))e-3}}"
"""


class Bench:
    """Runs one pod after the other on the same replica."""

    def __init__(self) -> None:
        configuration = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(str(paths.KUBECONFIG), client_configuration=configuration)
        api_client = kubernetes.client.ApiClient(configuration)
        self._core = CoreV1Api(api_client)
        self._kube = KubeGateway(api_client)
        self._agent = images.agent()
        images.ensure_loaded(self._agent)

    def ours(self, number: int) -> tuple[float, int, int]:
        """Seconds, bytes of the stream, bytes stored."""
        pod, backup_id = self._pod(f"benchmark-ours-{number}")
        try:
            ended = self._run(pod)
            agent = next(each for each in ended.status.container_statuses if each.name == "agent")
            manifest = BackupJob.result_type().model_validate_json(agent.state.terminated.message).report
            assert manifest is not None, agent.state.terminated.message
            seconds = (manifest.finished_at - manifest.started_at).total_seconds()
            return seconds, manifest.stream_bytes, manifest.stored_bytes
        finally:
            self._remove(pod)
            shutil.rmtree(VOLUME / str(CLUSTER) / backup_id, ignore_errors=True)

    def plain(self, number: int) -> tuple[float, int]:
        """Seconds, bytes stored."""
        pod, _ = self._pod(f"benchmark-plain-{number}")
        [container] = [each for each in pod.spec.containers if each.name == "mariadb"]
        container.command = ["bash", "-c", f"WORK=/run/galera-backup; set -o pipefail; {PLAIN}"]
        pod.spec.containers = [container]
        try:
            self._run(pod)
            # As bytes: the client would turn a document into Python's notation.
            log = self._core.read_namespaced_pod_log(pod.metadata.name, CLUSTER.namespace, _preload_content=False).data
            return float(json.loads(log)["seconds"]), (VOLUME / STORED).stat().st_size
        finally:
            self._remove(pod)
            (VOLUME / STORED).unlink(missing_ok=True)

    def _pod(self, name: str) -> tuple[V1Pod, str]:
        replica = self._kube.pod(CLUSTER.namespace, REPLICA)
        backup_id = names.backup_id(datetime.now(UTC))
        job = BackupJob(
            cluster=CLUSTER,
            backup_id=backup_id,
            replica=REPLICA,
            node=replica.node,
            claim=CLAIM,
            claim_uid=self._kube.claim_uid(CLUSTER.namespace, CLAIM),
            lease_run=name,
            required_space_ratio=1,
            max_mb_per_second=1_000_000,
        )
        task = RunnerTask(
            site=Site(cluster=CLUSTER, container=settings.CONTAINER, backup_claim=BACKUP_CLAIM),
            lease=None,
            fence="none",
            pod=name,
            job=job,
            data_claim=CLAIM,
            replica=REPLICA,
            timeout=timedelta(minutes=30),
        )
        statefulset = self._kube.statefulset(CLUSTER, settings.CONTAINER)
        return runner_pod(task, statefulset, replica, self._agent.reference), backup_id

    def _run(self, pod: V1Pod) -> Any:
        self._core.create_namespaced_pod(CLUSTER.namespace, pod)
        while True:
            seen = self._core.read_namespaced_pod(pod.metadata.name, CLUSTER.namespace)
            if seen.status.phase == "Succeeded":
                return seen
            if seen.status.phase == "Failed":
                log = cluster.kubectl(
                    "--namespace", CLUSTER.namespace, "logs", pod.metadata.name, "--all-containers", "--tail=20"
                )
                sys.exit(f"pod {pod.metadata.name} failed:\n{log}")
            time.sleep(0.5)

    def _remove(self, pod: V1Pod) -> None:
        name = pod.metadata.name
        cluster.kubectl(
            "--namespace", CLUSTER.namespace, "delete", "pod", name, "--ignore-not-found", "--grace-period=1"
        )


def fill(megabytes: int) -> None:
    """Incompressible rows beside the sample data, so that a run lasts long enough to be measured."""
    cluster.sql(
        "CREATE DATABASE IF NOT EXISTS benchmark; DROP TABLE IF EXISTS benchmark.noise;"
        "CREATE TABLE benchmark.noise (id INT AUTO_INCREMENT PRIMARY KEY, content MEDIUMBLOB);"
    )
    for _ in range(megabytes // BATCH_MIB):
        rows = BATCH_MIB * 1024 // ROW_KIB
        chunk = f"CONCAT({', '.join(['RANDOM_BYTES(1024)'] * ROW_KIB)})"
        cluster.sql(f"USE benchmark; INSERT INTO noise (content) SELECT {chunk} FROM seq_1_to_{rows}", timeout=600)


def main() -> None:
    """Alternate the two and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each (%(default)s)")
    parser.add_argument("--extra", type=int, default=600, metavar="MIB", help="incompressible data added (%(default)s)")
    arguments = parser.parse_args()
    bench = Bench()
    ours: list[float] = []
    plain: list[float] = []
    stored: dict[str, int] = {}
    stream_bytes = 0
    try:
        fill(arguments.extra)
        bench.plain(0)  # warms the page cache for both
        print(f"{'round':<8} {'plain':>10} {'ours':>10}")
        for number in range(1, arguments.rounds + 1):
            seconds, stored["plain"] = bench.plain(number)
            plain.append(seconds)
            seconds, stream_bytes, stored["ours"] = bench.ours(number)
            ours.append(seconds)
            print(f"{number:<8} {plain[-1]:8.2f} s {ours[-1]:8.2f} s", flush=True)
    finally:
        cluster.sql("DROP DATABASE IF EXISTS benchmark")
    print(f"\n{'':<34} {'plain':>10} {'ours':>10} {'ours / plain':>13}")
    row("seconds, median", statistics.median(plain), statistics.median(ours))
    rates = [stream_bytes / 1e6 / statistics.median(each) for each in (plain, ours)]
    row("MB/s of the uncompressed stream", *rates)
    row("stored MB", stored["plain"] / 1e6, stored["ours"] / 1e6)


def row(name: str, plain: float, ours: float) -> None:
    """One line of the table."""
    print(f"{name:<34} {plain:10.2f} {ours:10.2f} {ours / plain:13.2f}")


if __name__ == "__main__":
    main()
