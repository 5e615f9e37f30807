#!/usr/bin/env python3
"""How long nobody can write while a cluster is restored: the document's order with gzip beside our strategies, by size.

Run it on the stack of dev/up, with nothing else at work: `PYTHONPATH=. python benchmarks/restore_outage.py`. A client
writes through the primary's Service ten times a second; the outage is the longest time between two of its writes. At
each size the cluster is restored once in each way from a backup of the same tables, which are filled from one size to
the next. Exit code 1: a goal was not reached.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import kubernetes
from kubernetes.client import ApiClient
from temporalio.client import WorkflowHandle

from benchmarks import _load
from benchmarks._document import VOLUME, Document
from benchmarks._load import CLUSTER, REPLICAS
from benchmarks._outage import Outage, Pods, Room, Writer, outage, repeated
from benchmarks._sized_data import fill, give_back_freed_blocks, give_back_when_scarce, refuse_unless_it_fits, tables_gb
from dev.stack import cluster, paths
from dev.stack.console import say
from galera_backup.models.backup import BackupRequest, BackupResult
from galera_backup.models.restore import RestoreRequest, RestoreResult, Strategy
from galera_backup.storage.durable import remove

DOCUMENT = "document"
NO_LIMIT = 1_000_000
SETTLE = 5
"""Seconds of writing before each restore."""
GROWTH, SECONDS, SHORTER = 1.3, 12.0, 10.0
"""The goals: of the staged outage between the sizes, at the largest one, and beside the document's order there."""
SERVICE = "mariadb"
NO_GRASTATE = """
The document's order leaves no grastate.dat. Its start is that of the stack's start script: ordinal 0 waits 40 s for
others before it bootstraps, and they need full state transfers (SST), during which their donor is not Ready."""

Measured = Mapping[tuple[float, str], Outage]
"""By size and way."""


# --- one restore


@contextlib.contextmanager
def api() -> Iterator[ApiClient]:
    """A client of the stack's API server."""
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(paths.KUBECONFIG), client_configuration=configuration)
    with ApiClient(configuration) as api_client:
        yield api_client


def measure(api_client: ApiClient, restore: Callable[[], None]) -> tuple[Outage, dict[str, float | None]]:
    """One restore, and its rows of the table."""
    _load.wait_in_sync()
    service = cluster.get("--namespace", CLUSTER.namespace, "service", SERVICE)
    writer, pods, room = Writer(service["spec"]["clusterIP"]), Pods(api_client), Room()
    with (
        repeated(writer.write, 0.1),
        repeated(pods.look, 0.2),
        repeated(room.look, 0.5),
        repeated(give_back_when_scarce, 1),
    ):
        writer.wait(SETTLE * 10, within=60)
        begun = time.monotonic()
        restore()
        ended = time.monotonic()
        writer.wait(SETTLE * 10, within=60)
    writer.disconnect()
    seen = outage(writer.writes, pods.looks, begun, ended, len(REPLICAS))
    seconds_ago = time.monotonic() - (seen.scaled_back or seen.begun)
    transfers = state_transfers(time.time() - seconds_ago)
    return seen, {**seen.figures(), **room.figures(), "state transfers (SST)": transfers}


def state_transfers(since: float) -> float:
    """Data directories in which one has left its file since then; `--copy-back` leaves the donor's, which is older."""
    directories = [paths.VOLUME_MOUNTS / f"mysql-data-{replica}" for replica in REPLICAS]
    return sum(any(each.stat().st_mtime > since for each in of.glob("*_galera_info_SST")) for of in directories)


# --- our operations


async def execute(queue: str, workflow: str, request: Any, result_type: type[Any]) -> Any:
    """Run a workflow to its end; when this is cancelled, the workflow is, and it is waited for all the same."""
    client = await _load.temporal()
    handle: WorkflowHandle[Any, Any] = await client.start_workflow(
        workflow, request, id=f"{queue}-{time.time():.0f}", task_queue=queue, result_type=result_type
    )
    try:
        return await handle.result()
    except asyncio.CancelledError:
        say(workflow, "cancelled: waiting until it has left the cluster whole")
        await handle.cancel()
        with contextlib.suppress(Exception):
            await handle.result()
        raise


def back_up(queue: str) -> BackupResult:
    """A backup of ours, as fast as it can."""
    request = BackupRequest(
        cluster=CLUSTER, backups_to_keep=10_000, required_space_ratio=0.6, max_mb_per_second=NO_LIMIT
    )
    result: BackupResult = asyncio.run(execute(queue, "GaleraBackup", request, BackupResult))
    return result


def restore(queue: str, backup_id: str, strategy: str) -> None:
    """A restore of ours."""
    request = RestoreRequest(
        cluster=CLUSTER,
        backup_id=backup_id,
        confirm=str(CLUSTER),
        strategy=Strategy(strategy),
        ready_timeout=timedelta(hours=1),
    )
    asyncio.run(execute(queue, "GaleraRestore", request, RestoreResult))


# --- one size


Result = tuple[Outage, dict[str, float | None]]


def measure_size(api_client: ApiClient, queue: str, strategies: Sequence[str]) -> Generator[tuple[str, Result]]:
    """Each way once, on the same tables; first the document's, whose backup makes room for ours."""
    if DOCUMENT in strategies:
        document = Document(api_client)
        try:
            say(DOCUMENT, "gzip'd backup, not measured")
            document.backup()
            yield DOCUMENT, measure(api_client, document.restore)
        finally:
            document.remove()
            give_back_freed_blocks()
    ours = [strategy for strategy in strategies if strategy != DOCUMENT]
    if not ours:
        return
    _load.wait_in_sync()
    backup_id = back_up(queue).manifest.backup_id
    try:
        for strategy in ours:
            say(strategy, "restoring")
            yield strategy, measure(api_client, functools.partial(restore, queue, backup_id, strategy))
            give_back_freed_blocks()
    finally:
        remove(VOLUME / str(CLUSTER) / backup_id)
        give_back_freed_blocks()


# --- the table and the goals


def beside(seen: Outage, document: Outage | None, is_document: bool) -> dict[str, float | None]:
    """The ratios: of the outages, and with this start in place of the document's, which is the start script's."""
    if document is None or is_document:
        return {"document's outage / this": None, "document's with this start / this": None}
    same_start = None
    if document.start is not None and seen.start is not None:
        same_start = (document.seconds - document.start + seen.start) / seen.seconds
    return {
        "document's outage / this": document.seconds / seen.seconds,
        "document's with this start / this": same_start,
    }


def goals(measured: Measured) -> list[tuple[str, bool | None]]:
    """What is to be reached at the largest size, and whether it was; None: not measured."""
    sizes = sorted({size for size, _ in measured})
    small, large = sizes[0], sizes[-1]
    staged, base = measured.get((large, Strategy.STAGED)), measured.get((small, Strategy.STAGED))
    document = measured.get((large, DOCUMENT))
    growth = staged.seconds / base.seconds if staged and base and large > small else None
    shorter = document.seconds / staged.seconds if staged and document else None
    return [
        (
            f"staged outage at {large:g} GB within {GROWTH:g} of that at {small:g} GB: {_shown(growth)}",
            None if growth is None else growth <= GROWTH,
        ),
        (
            f"staged outage at {large:g} GB at most {SECONDS:g} s: {_shown(staged.seconds if staged else None)}",
            None if staged is None else staged.seconds <= SECONDS,
        ),
        (
            f"staged outage at {large:g} GB {SHORTER:g} times shorter than the document's: {_shown(shorter)}",
            None if shorter is None else shorter >= SHORTER,
        ),
    ]


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def table(rows: Mapping[float, Mapping[str, Mapping[str, float | None]]], strategies: Sequence[str]) -> str:
    """Markdown: the rows of each size, one column for each way."""
    cells = {
        f"{size:g} GB: {name}": [[] if (value := of.get(way, {}).get(name)) is None else [value] for way in strategies]
        for size, of in rows.items()
        for name in next(iter(of.values()))
    }
    return _load.table("one restore each", strategies, cells)


def main() -> int:
    """Each size, each way; one table, and whether the goals were reached."""
    choices = (DOCUMENT, *map(str, Strategy))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.5, 2, 8], metavar="GB", help="(0.5 2 8)")
    parser.add_argument("--strategies", nargs="+", choices=choices, default=[DOCUMENT, "in_place", "staged"])
    arguments = parser.parse_args()
    sizes, strategies = sorted(arguments.sizes), list(dict.fromkeys(arguments.strategies))
    stages = Strategy.STAGED in strategies
    measured: dict[tuple[float, str], Outage] = {}
    rows: dict[float, dict[str, dict[str, float | None]]] = {}
    with contextlib.ExitStack() as at_last, api() as api_client, _load.worker() as queue, _load.database():
        at_last.callback(give_back_freed_blocks)
        give_back_freed_blocks()
        try:
            refuse_unless_it_fits(sizes[-1], stages)
            for size in sizes:
                refuse_unless_it_fits(size, stages)
                fill(size)
                rows[size] = {}
                with contextlib.closing(measure_size(api_client, queue, strategies)) as results:
                    for way, (seen, figures) in results:
                        measured[size, way] = seen
                        ratios = beside(seen, measured.get((size, DOCUMENT)), way == DOCUMENT)
                        rows[size][way] = {"tables, GB": tables_gb(), **ratios, **figures}
                        print(f"{size:g} GB", way, rows[size][way], flush=True)
        finally:
            _load.wait_in_sync(within=600)
    print("\n" + table(rows, strategies))
    if DOCUMENT in strategies:
        print(NO_GRASTATE)
    reached = goals(measured)
    for goal, is_reached in reached:
        print(f"goal {goal}: {'not measured' if is_reached is None else 'reached' if is_reached else 'not reached'}")
    return 1 if any(is_reached is False for _, is_reached in reached) else 0


if __name__ == "__main__":
    sys.exit(main())
