"""What servers answer to who proves a restore."""

from __future__ import annotations

from dataclasses import dataclass, field

from galera_backup.models.proof import SeenTables, Table


@dataclass
class ProofAnswers:
    """A number is a MariaDB error."""

    answers: dict[tuple[str, str], tuple[int, list[str | None]] | int] = field(default_factory=dict)
    """By data of the server and query: number of rows, and the first."""
    seen_tables: SeenTables = field(
        default_factory=lambda: SeenTables((Table("nova", "instances", "InnoDB", 1),), may_select=True)
    )
    damaged: dict[str, list[tuple[str, str]] | int] = field(default_factory=dict)
    """Rows of CHECK TABLE."""
