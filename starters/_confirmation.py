"""Nobody stops a cluster by a typing error: its name is asked for once more."""

from __future__ import annotations

import sys

import typer

from galera_backup.errors import InvalidInput


def confirmation(cluster: str, typed: str | None, as_json: bool, warning: str) -> str | None:
    """What was typed with `--confirm`; without it, on a terminal, what is typed after the warning."""
    if typed is not None or as_json or not sys.stdin.isatty():
        return typed
    typer.echo(warning, err=True)
    answer: str = typer.prompt(f"Type {cluster} to go on", default="", show_default=False, err=True)
    return answer


def confirmed(cluster: str, typed: str | None, operation: str) -> str:
    """Error: `InvalidInput` when nothing was typed."""
    if typed is None:
        raise InvalidInput(f"--confirm: a {operation} stops the cluster; without a terminal say --confirm {cluster}")
    return typed
