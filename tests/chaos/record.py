"""One case of the plan, and what was seen of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.points import Point


@dataclass(frozen=True)
class Case:
    """One fault at one point of one operation."""

    operation: str
    point: Point
    fault: str

    @property
    def name(self) -> str:
        """As `--only` takes it."""
        return f"{self.operation}/{self.point}/{self.fault}"


@dataclass
class Record:
    """What one run was and what was seen; times in seconds."""

    case: str
    operation: str
    fault: str
    point: str
    outcome: str = ""
    seconds: float = 0
    """Of the whole run, with its checks."""
    resumed: float | None = None
    """From `all is back` to the first activity of the operation or its lease."""
    resync_begun: float | None = None
    """From `all is back` to the first step of the resync, where one was due: the replica was desynced, and the backup
    failed or was in its resync already."""
    in_sync: float | None = None
    """From `all is back` to the target in sync, if it was not then."""
    desynced: float = 0
    """wsrep_desync=ON on the target, from the start of the operation to its end."""
    outage: float = 0
    """The longest time without a committed write."""
    notes: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON."""
        return asdict(self)
