"""`dev/chaos`: the faulted runs, and the table of what was seen."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable

from dev.stack import images, settings
from dev.stack.console import say
from dev.tools import proofs, source
from galera_backup.temporal.connect import TemporalAddress, connect
from tests.chaos import plan, report
from tests.chaos.campaign import Campaign, stopwatch
from tests.chaos.engine import Engine
from tests.chaos.faults import FAULTS
from tests.chaos.lanes import open_lanes
from tests.chaos.record import Case, Record


def main() -> int:
    """Parse the command line and run; 0 when no promise was broken."""
    arguments = _parser().parse_args()
    if arguments.table:
        print(report.table(report.read(proofs.CHAOS)))
        return 0
    return asyncio.run(_until_ended(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dev/chaos",
        description="Break everything at every point of every operation, and look what becomes of it. "
        f"Each case leaves a record in {proofs.CHAOS.records.relative_to(proofs.CHAOS.checkout)}.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--all",
        action="store_true",
        help="those of the whole plan that have not passed with the source that they can reach; may be stopped at any "
        "time, the next run goes on. Ends in a stamp",
    )
    what.add_argument("--shard", metavar="N/M", help="every M-th case of the plan, from the N-th on (0/30)")
    what.add_argument(
        "--only", metavar="TEXT", action="append", help="cases with this in their name, like 'worker frozen'"
    )
    what.add_argument("--list", action="store_true", help="print the names of all cases")
    what.add_argument("--table", action="store_true", help="print the table of the records; needs no stack")
    parser.add_argument("--lanes", type=int, default=3, help="clusters beside each other (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave the clusters of the lanes there")
    return parser


async def _until_ended(arguments: argparse.Namespace) -> int:
    """SIGTERM cancels the run, so that its workers and clusters are cleaned up."""
    running = asyncio.ensure_future(_run(arguments))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        return 130


async def _run(arguments: argparse.Namespace) -> int:
    took = stopwatch()
    images.ensure_loaded(images.agent())
    client = await connect(TemporalAddress(settings.TEMPORAL_ADDRESS, "default"))
    async with open_lanes(client, arguments.lanes, keep=arguments.keep) as lanes:
        engine = Engine(lanes)
        await asyncio.gather(*(engine.first_backup(lane) for lane in lanes))
        points = await engine.baseline()
        cases = plan.whole_plan(points)
        scopes = plan.scopes(cases)
        for operation, there in points.items():
            say("plan", f"{operation}: {len(there)} points")
        say("plan", f"{len(cases)} cases of {len(FAULTS)} faults, {len(proofs.CHAOS.missing(scopes))} to go")
        chosen = _chosen(cases, scopes, arguments)
        if arguments.list:
            print("\n".join(case.name for case in chosen))
            return 0
        seen = await Campaign(engine, _keep(scopes)).run(chosen)
    return _report(seen, scopes, whole=arguments.all, took=took())


def _keep(scopes: dict[str, str]) -> Callable[[Record], None]:
    """Keeps records, as long as the workers run the source for which they are."""
    began_with = source.product()

    def keep(record: Record) -> None:
        if source.product() != began_with:
            raise RuntimeError(f"the product's source changed while {record.case} ran: start dev/chaos again")
        report.keep(proofs.CHAOS, scopes[record.case], record)

    return keep


def _chosen(cases: list[Case], scopes: dict[str, str], arguments: argparse.Namespace) -> list[Case]:
    if arguments.all:
        missing = set(proofs.CHAOS.missing(scopes))
        return [case for case in cases if case.name in missing]
    if arguments.shard:
        shard, of = map(int, arguments.shard.split("/"))
        return plan.subset(cases, shard, of)
    if arguments.only:
        return [case for case in cases if any(text in case.name for text in arguments.only)]
    return cases


def _report(seen: list[Record], scopes: dict[str, str], *, whole: bool, took: str) -> int:
    stamp = proofs.CHAOS.finish(scopes) if whole else None
    print(report.table(report.read(proofs.CHAOS) if whole else seen))
    broken = report.violations(seen)
    print(f"\n{broken}" if broken else "\nno promise was broken")
    print(json.dumps({"runs": len(seen), "violations": sum(bool(each.violations) for each in seen)}), took)
    if whole:
        missing = len(proofs.CHAOS.missing(scopes))
        print(f"stamp: {stamp}" if stamp is not None else f"{missing} cases to go: run {proofs.CHAOS.command} again")
    return 1 if broken else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # the SDK's threads abort the interpreter's own clean-up now and then (sdk-python#300)
