"""What all runs together say: one table, by fault."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields

from dev.tools.proofs import Proof
from tests.chaos.record import Record

_COLUMNS = ("resumed", "resync_begun", "in_sync", "desynced", "outage")


def keep(proof: Proof, scope: str, record: Record) -> None:
    """Keep one record in the repository."""
    proof.keep(record.case, scope, passed=not record.violations, seen=record.as_dict())


def read(proof: Proof) -> list[Record]:
    """All records in the repository; of a case that was run again the last one."""
    names = [each.name for each in fields(Record)]
    return [Record(**{name: line[name] for name in names}) for line in proof.read().values()]


def table(records: Sequence[Record]) -> str:
    """Median and maximum of each time, in seconds, for each operation and fault; as Markdown."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.operation, record.fault].append(record)
    lines = [
        "| operation | fault | runs | violations | back to next activity | back to resync begun | back to in sync "
        "| desynced | longest outage |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (operation, fault), group in sorted(groups.items()):
        cells = [_median_and_maximum(group, column) for column in _COLUMNS]
        broken = sum(bool(record.violations) for record in group)
        lines.append(f"| {operation} | {fault} | {len(group)} | {broken} | {' | '.join(cells)} |")
    broken = sum(bool(record.violations) for record in records)
    cells = [_median_and_maximum(records, column) for column in _COLUMNS]
    lines.append(f"| **all** | | {len(records)} | {broken} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _median_and_maximum(records: Iterable[Record], column: str) -> str:
    values = [value for record in records if (value := getattr(record, column)) is not None]
    if not values:
        return ""
    return f"{statistics.median(values):.1f}, {max(values):.1f}"


def violations(records: Sequence[Record]) -> str:
    """Each run that broke a promise, and how."""
    return "\n".join(
        f"{record.case} ({record.outcome})\n" + "\n".join(f"    {each}" for each in record.violations)
        for record in records
        if record.violations
    )
