"""The Temporal development server with its UI and a database file that outlives it."""

from __future__ import annotations

from dev.stack import paths, programs, settings
from dev.stack.console import succeeds
from dev.stack.processes import Part


def server() -> Part:
    return Part(
        name="temporal",
        argv=(
            programs.path("temporal"),
            "server",
            "start-dev",
            "--ip=127.0.0.1",
            f"--port={settings.TEMPORAL_PORT}",
            f"--ui-port={settings.TEMPORAL_UI_PORT}",
            f"--db-filename={paths.TEMPORAL_DB}",
            *(f"--search-attribute={name}=Keyword" for name in settings.SEARCH_ATTRIBUTES),
        ),
        ready=_serves,
    )


def _serves() -> bool:
    argv = [programs.path("temporal"), "operator", "namespace", "describe", "default"]
    return succeeds([*argv, f"--address={settings.TEMPORAL_ADDRESS}"], timeout=10)
