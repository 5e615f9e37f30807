"""What the whole kill matrix, `dev/chaos` and `dev/shapes` have shown: a record of each case, and a stamp at the end.

Both are files in the repository, so that the cases can be spread over many runs and machines. A record counts as long
as the source that its case can reach is the one that it was made of, and where the cases take minutes and not hours,
also what judged it; a stamp counts for exactly one source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dev.stack import paths
from dev.tools import source

FOLDER = paths.CHECKOUT / "tests" / "proofs"


@dataclass(frozen=True)
class Stamp:
    """All cases of one kind passed with this source."""

    source: str
    """Hash of the product."""
    harness: str
    """Hash of the harness on that day; it judged every case where the proof has `judged_again`."""
    cases: int
    date: str


@dataclass(frozen=True)
class Proof:
    """One kind of cases, with its files."""

    name: str
    command: str
    """What makes the stamp, and goes on where an earlier run has ended."""
    judges: tuple[str, ...]
    """Folders and files of the harness."""
    judged_again: bool
    """Whether a change of the harness makes a record void. Each record names the one that judged it."""
    folder: Path = FOLDER
    checkout: Path = paths.CHECKOUT

    @property
    def records(self) -> Path:
        """One line of JSON for each case that has ended; of one that was run again the last line counts."""
        return self.folder / f"{self.name}.jsonl"

    @property
    def stamp(self) -> Path:
        """One JSON object."""
        return self.folder / f"{self.name}.stamp.json"

    def read(self) -> dict[str, dict[str, Any]]:
        """The last record of each case, by its name."""
        lines = self.records.read_text().splitlines() if self.records.exists() else []
        return {record["case"]: record for record in map(json.loads, lines)}

    def keep(self, case: str, scope: str, *, passed: bool, seen: Mapping[str, Any] | None = None) -> None:
        """Add a record. `scope`: hash of what the case can reach; `seen`: whatever a report is made of."""
        outcome = {"case": case, "scope": scope, "harness": self._harness(), "passed": passed, "date": _now()}
        record = {**(seen or {}), **outcome}
        self.records.parent.mkdir(parents=True, exist_ok=True)
        with self.records.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def missing(self, cases: Mapping[str, str]) -> list[str]:
        """Which of these cases (name: hash of what it can reach) have not passed with the present source."""
        found, harness = self.read(), self._harness()

        def counts(record: Mapping[str, Any], scope: str) -> bool:
            judged = not self.judged_again or record.get("harness") == harness
            return bool(record["passed"]) and record["scope"] == scope and judged

        return [name for name, scope in cases.items() if name not in found or not counts(found[name], scope)]

    def finish(self, cases: Mapping[str, str]) -> Stamp | None:
        """Sort the records, drop those of cases that are no more; write the stamp if no case is missing."""
        found = self.read()
        kept = [found[name] for name in sorted(found) if name in cases]
        new = self.records.with_suffix(".new")
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text("".join(json.dumps(record) + "\n" for record in kept))
        new.replace(self.records)
        if not cases or self.missing(cases):
            return None
        stamp = Stamp(source.product(self.checkout), self._harness(), len(cases), _now())
        self.stamp.write_text(json.dumps(asdict(stamp), indent=1) + "\n")
        return stamp

    def wrong(self) -> str | None:
        """Why the stamp does not count for the present source; None if it does."""
        if not self.stamp.exists():
            return f"{self.name}: no stamp. Run {self.command}, as often as it takes"
        stamp = Stamp(**json.loads(self.stamp.read_text()))
        present = source.product(self.checkout), self._harness()
        for what, of_stamp, now in zip(
            ("the product", "its tests"), (stamp.source, stamp.harness), present, strict=True
        ):
            if of_stamp != now:
                return (
                    f"{self.name}: the stamp of {stamp.date} is for {what} at {of_stamp}, the source is at {now}. "
                    f"Run {self.command}: it runs what the change can reach"
                )
        return None

    def _harness(self) -> str:
        return source.harness(self.judges, self.checkout)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


MATRIX = Proof("matrix", "dev/test --matrix", ("tests/matrix", "tests/fakes"), judged_again=True)
CHAOS = Proof("chaos", "dev/chaos --all", ("tests/chaos", "tests/support/small_cluster.py"), judged_again=False)
SHAPES = Proof(
    "shapes",
    "dev/shapes --all",
    (
        *("tests/integration/test_shapes.py", "tests/integration/test_findings.py"),
        *("tests/integration/changes.py", "tests/support/shape.py", "tests/support/small_cluster.py"),
    ),
    judged_again=True,
)
ALL = (MATRIX, CHAOS, SHAPES)
