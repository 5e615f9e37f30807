"""The table of all findings has no line without a rule, and no rule without a line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import galera_backup.rules.preflight
from galera_backup.models.preflight import Effect, Severity
from galera_backup.rules.preflight.severities import SEVERITIES

FOLDER = Path(galera_backup.rules.preflight.__path__[0])
UNKNOWN = {"unknown-horizontalpodautoscalers", "unknown-poddisruptionbudgets", "unknown-resourcequotas"}
"""Made of what could not be read."""


def named() -> Iterator[str]:
    """First arguments of `found(...)`."""
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "found":
                kind = node.args[0]
                if isinstance(kind, ast.Constant):
                    yield str(kind.value)


def test_the_table_is_complete() -> None:
    assert set(named()) | UNKNOWN == set(SEVERITIES)


ABOUT_READING = {
    "connections-too-few",
    "grants-missing",
    "stays-in-service",
    "tables-elsewhere",
    "tables-not-backed-up",
}
"""A restore asks the servers for their state alone, and replaces their data."""


def test_what_refuses_a_backup_refuses_a_restore() -> None:
    refusing = {kind for kind, severity in SEVERITIES.items() if severity.backup == Effect.REFUSES}
    assert {kind for kind in refusing if SEVERITIES[kind].restore != Effect.REFUSES} == ABOUT_READING


def test_every_line_says_something() -> None:
    assert Severity(backup=Effect.NONE, restore=Effect.NONE) not in SEVERITIES.values()


def test_the_documentation_has_the_same_table() -> None:
    text = (Path(__file__).parents[3] / "docs" / "clusters.md").read_text()
    rows = [
        f"| `{kind}`{'*' if severity.acceptable else ''} | {severity.backup} | {severity.restore} |"
        for kind, severity in SEVERITIES.items()
    ]
    assert "\n".join(rows) in text
