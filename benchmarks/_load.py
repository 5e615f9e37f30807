"""What the benchmarks under load share: sysbench on one replica, a worker of this checkout, and the table."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from pymysql.connections import Connection
from temporalio.client import Client

from dev.stack import cli, cluster, images, packages, paths, settings
from galera_backup import names
from galera_backup.models.common import ClusterRef
from galera_backup.temporal.connect import TemporalAddress, connect

CLUSTER = ClusterRef(namespace=settings.NAMESPACE, statefulset=settings.STATEFULSET)
REPLICAS = tuple(names.pod(CLUSTER, ordinal) for ordinal in range(settings.REPLICAS))
WRITER, TARGET = REPLICAS[0], REPLICAS[-1]
SCHEMA = USER = "benchmark_load"
LOG = paths.LOGS / "benchmark-worker.log"
_PASSWORD = secrets.token_hex(8)
_REPORT = re.compile(r"^\[ \d+s \] thds: \d+ tps: ([\d.]+) ")


# --- the cluster


@contextmanager
def database(namespace: str = settings.NAMESPACE) -> Iterator[None]:
    """A user and an empty schema for the load; both are gone afterwards."""
    cluster.sql(
        f"DROP DATABASE IF EXISTS {SCHEMA}; CREATE DATABASE {SCHEMA};"
        f"CREATE OR REPLACE USER {USER}@'%' IDENTIFIED BY '{_PASSWORD}'; GRANT ALL ON *.* TO {USER}@'%';",
        WRITER,
        namespace=namespace,
    )
    try:
        yield
    finally:
        drop = f"DROP DATABASE IF EXISTS {SCHEMA}; DROP USER IF EXISTS {USER}@'%'"
        cluster.sql(drop, WRITER, namespace=namespace)


def address(pod: str) -> str:
    """The pod's, which the node reaches as other pods do."""
    return str(cluster.get("--namespace", settings.NAMESPACE, "pod", pod)["status"]["podIP"])


def connection(pod: str) -> Connection[Any]:
    """A connection to one replica."""
    return connect_to(address(pod), 60)


def connect_to(host: str, seconds: int) -> Connection[Any]:
    """A connection that waits so long for an answer, or to be made, at most."""
    return pymysql.connect(
        host=host,
        user=USER,
        password=_PASSWORD,
        autocommit=True,
        connect_timeout=seconds,
        read_timeout=seconds,
        write_timeout=seconds,
    )


def wsrep(server: Connection[Any], *variables: str) -> dict[str, str]:
    """These wsrep status variables (without the prefix `wsrep_`), and the variable `desync`."""
    wanted = ", ".join(f"'wsrep_{name}'" for name in variables)
    with server.cursor() as cursor:
        cursor.execute(f"SHOW GLOBAL STATUS WHERE variable_name IN ({wanted})")
        status = {name.removeprefix("wsrep_"): str(value) for name, value in cursor.fetchall()}
        cursor.execute("SELECT @@global.wsrep_desync")
        [(desync,)] = cursor.fetchall()
    return {**status, "desync": str(desync)}


def is_in_sync(status: Mapping[str, str]) -> bool:
    """The member counts for flow control, and nobody holds it out; needs desync_count and local_state_comment."""
    return (status["desync"], status["desync_count"], status["local_state_comment"]) == ("0", "0", "Synced")


def wait_in_sync(within: float = 120) -> None:
    """Until every replica is: so a run begins and ends."""
    deadline = time.monotonic() + within
    for pod in REPLICAS:
        with contextlib.closing(connection(pod)) as server:
            while not is_in_sync(seen := wsrep(server, "desync_count", "local_state_comment")):
                if time.monotonic() > deadline:
                    sys.exit(f"{pod} is not in sync after {within:.0f} s: {seen}")
                time.sleep(0.2)


# --- the load


@dataclass(frozen=True)
class Second:
    """One line of sysbench."""

    ended: float
    """time.time() when it was printed."""
    tps: float


class Sysbench:
    """oltp_write_only by a fixed number of threads on the writer: each transaction is one write-set."""

    def __init__(self, threads: int, tables: int, rows: int) -> None:
        if shutil.which("sysbench") is None:
            packages.install(["sysbench"])
        self.tables = tuple(f"{SCHEMA}.sbtest{number}" for number in range(1, tables + 1))
        self.seconds: list[Second] = []
        self._argv = [
            *("sysbench", "oltp_write_only", f"--threads={threads}", f"--tables={tables}", f"--table-size={rows}"),
            *(f"--mysql-host={address(WRITER)}", f"--mysql-user={USER}", f"--mysql-password={_PASSWORD}"),
            *(f"--mysql-db={SCHEMA}", "--time=0", "--report-interval=1"),
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make the tables and write to them while the block runs."""
        prepared = subprocess.run([*self._argv, "prepare"], capture_output=True, text=True, check=False)
        if prepared.returncode:
            sys.exit(f"sysbench prepare failed: {prepared.stdout}{prepared.stderr}")
        process = subprocess.Popen([*self._argv, "run"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        reader.start()
        try:
            yield
            if process.poll() is not None:
                sys.exit("sysbench ended before it was told to: its figures are worth nothing")
        finally:
            process.terminate()
            process.wait(30)
            reader.join(10)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if found := _REPORT.match(line):
                self.seconds.append(Second(time.time(), float(found[1])))
            elif "FATAL" in line:
                print(line, end="", file=sys.stderr)

    def tps(self, begun: float, ended: float) -> list[float]:
        """Of each whole second between these two."""
        found = [each.tps for each in self.seconds if begun + 1 <= each.ended <= ended]
        if not found:
            sys.exit(f"sysbench printed nothing for a whole second within {ended - begun:.1f} s")
        return found


# --- Temporal


async def temporal() -> Client:
    """A client of the stack's server."""
    return await connect(TemporalAddress(settings.TEMPORAL_ADDRESS, "default"))


@contextmanager
def worker(program: Path = paths.CHECKOUT / "worker.py", *argv: str) -> Iterator[str]:
    """A worker process of this checkout; gives its task queue."""
    images.ensure_loaded(images.agent())
    queue = f"benchmark-{os.getpid()}{''.join(argv)}"
    environment = {
        **os.environ,
        **cli.environment(),
        "PYTHONPATH": str(paths.CHECKOUT),
        "GALERA_BACKUP_TASK_QUEUE": queue,
        "GALERA_BACKUP_GRACEFUL_SHUTDOWN": "5s",
    }
    with LOG.open("ab") as output:
        began = output.tell()
        process = subprocess.Popen(
            [sys.executable, str(program), *argv],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C is for the benchmark, whose cleanup needs the worker
        )
    try:
        deadline = time.monotonic() + 60
        while b" polling " not in LOG.read_bytes()[began:]:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the worker does not poll; its log is {LOG}")
            time.sleep(0.2)
        yield queue
    finally:
        process.terminate()
        process.wait(60)


# --- the table


def table(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Markdown: for each row and column the median of the rounds, and their range where there are several."""
    lines = [f"| {title} | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name, cells in rows.items():
        lines.append(row(name, cells))
    return "\n".join(lines)


def row(name: str, cells: Sequence[Sequence[float]]) -> str:
    """One line of the table."""
    return f"| {name} | {' | '.join(map(_cell, cells))} |"


def _cell(rounds: Sequence[float]) -> str:
    if not rounds:
        return ""
    places = 0 if max(rounds) >= 50 else 2
    middle, low, high = (f"{value:.{places}f}" for value in (statistics.median(rounds), min(rounds), max(rounds)))
    if len(rounds) == 1:
        return middle
    return f"{middle} ({low} to {high})"
