"""The options that say how a restore is proved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from galera_backup.durations import duration_text
from galera_backup.errors import InvalidInput
from galera_backup.models.proof import CheckTables, ProofFields

_PANEL = "Proof (strategy staged)"
_ARROW = "=>"


def _option(flag: str, text: str, metavar: str | None = None, default: str = "") -> Any:
    return typer.Option(flag, help=text, metavar=metavar, show_default=default, rich_help_panel=_PANEL)


def _duration(flag: str, text: str, field: str) -> Any:
    return _option(
        flag,
        f"{text} (30m, 6h, PT30M or seconds).",
        "DURATION",
        duration_text(ProofFields.model_fields[field].default),
    )


@dataclass(frozen=True)
class ProofOptions:
    """What is asked of the restored cluster before its old data is given up."""

    check: Annotated[
        list[str] | None,
        _option(
            "--check",
            "What a query must answer on the restored cluster; the last => divides, and NULL is no text. Repeatable.",
            "'QUERY => VALUE'",
            "none",
        ),
    ] = None
    check_secret: Annotated[
        str | None,
        _option("--check-secret", "As whom checks and CHECK TABLE run.", "SECRET[:USER_KEY:PASSWORD_KEY]", "--secret"),
    ] = None
    check_timeout: Annotated[str | None, _duration("--check-timeout", "For each check", "check_timeout")] = None
    check_tables: Annotated[
        CheckTables | None, _option("--check-tables", "Tables for CHECK TABLE.", default="sample")
    ] = None
    check_tables_timeout: Annotated[
        str | None, _duration("--check-tables-timeout", "For all tables together", "check_tables_timeout")
    ] = None
    account: Annotated[
        list[str] | None,
        _option(
            "--account",
            "Another Secret whose password the backup must have. Repeatable.",
            "SECRET[:USER_KEY:PASSWORD_KEY]",
            "none",
        ),
    ] = None
    reset_passwords: Annotated[
        bool, _option("--reset-passwords", "Set passwords that are not those of the Secrets.", default="off")
    ] = False

    def fields(self) -> dict[str, Any]:
        """Of a `ProofFields`; what was not typed keeps the model's default."""
        typed = {
            "checks": [_check(text) for text in self.check or []],
            "check_credentials": self.check_secret and _secret("--check-secret", self.check_secret),
            "check_timeout": self.check_timeout,
            "check_tables": self.check_tables,
            "check_tables_timeout": self.check_tables_timeout,
            "accounts": [_secret("--account", text) for text in self.account or []],
            "reset_passwords_from_secrets": self.reset_passwords,
        }
        return {name: value for name, value in typed.items() if value}


def _check(text: str) -> dict[str, Any]:
    query, arrow, value = text.rpartition(_ARROW)
    if not arrow:
        raise InvalidInput(f"--check: expected 'QUERY {_ARROW} VALUE', got {text!r}")
    value = value.strip()
    return {"query": query.strip(), "expected": None if value == "NULL" else value}


def _secret(option: str, text: str) -> dict[str, str]:
    parts = text.split(":")
    if len(parts) not in (1, 3):
        raise InvalidInput(f"{option}: expected SECRET or SECRET:USER_KEY:PASSWORD_KEY, got {len(parts)} parts")
    return dict(zip(("secret", "user_key", "password_key"), parts, strict=False))
