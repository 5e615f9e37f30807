"""`dev/chaos`: the faulted runs, and the table of what was seen."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from dev.stack import images, paths, settings
from dev.stack.console import say
from galera_backup.temporal.connect import TemporalAddress, connect
from tests.chaos import plan, report
from tests.chaos.campaign import Campaign, stopwatch
from tests.chaos.engine import Case, Engine, open_lanes
from tests.chaos.faults import FAULTS

RECORDS = paths.STATE / "chaos" / "records.jsonl"


def main() -> int:
    """Parse the command line and run; 0 when no promise was broken."""
    parser = argparse.ArgumentParser(
        prog="dev/chaos", description="Break everything at every point of every operation, and look what becomes of it."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--all", action="store_true", help="the whole plan, more than 300 runs")
    what.add_argument("--shard", metavar="N/M", help="every M-th case of the plan, from the N-th on (0/30)")
    what.add_argument(
        "--only", metavar="TEXT", action="append", help="cases with this in their name, like 'worker frozen'"
    )
    what.add_argument("--list", action="store_true", help="print the names of all cases")
    parser.add_argument("--lanes", type=int, default=3, help="clusters beside each other (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="leave out what has passed in an earlier run")
    parser.add_argument("--keep", action="store_true", help="leave the clusters of the lanes there")
    parser.add_argument("--records", type=Path, default=RECORDS, help="where to keep what was seen (%(default)s)")
    return asyncio.run(_until_ended(parser.parse_args()))


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
        points = await engine.baseline(lanes[0])
        cases = plan.whole_plan(points)
        for operation, there in points.items():
            say("plan", f"{operation}: {len(there)} points, over {there[-1].seconds:.0f} s")
        say("plan", f"{len(cases)} cases of {len(FAULTS)} faults")
        cases = _chosen(cases, arguments)
        if arguments.list:
            print("\n".join(case.name for case in cases))
            return 0
        if not arguments.resume:
            arguments.records.unlink(missing_ok=True)
        done = {record.case for record in report.read(arguments.records) if not record.violations}
        campaign = Campaign(engine, lambda record: report.append(arguments.records, record))
        await campaign.run([case for case in cases if case.name not in done])
    records = report.read(arguments.records)
    print(report.table(records))
    broken = report.violations(records)
    print(f"\n{broken}" if broken else "\nno promise was broken")
    print(json.dumps({"runs": len(records), "violations": sum(bool(each.violations) for each in records)}), took())
    return 1 if broken else 0


def _chosen(cases: list[Case], arguments: argparse.Namespace) -> list[Case]:
    if arguments.shard:
        shard, of = map(int, arguments.shard.split("/"))
        return plan.subset(cases, shard, of)
    if arguments.only:
        return [case for case in cases if any(text in case.name for text in arguments.only)]
    return cases


if __name__ == "__main__":
    sys.exit(main())
