"""What a person sees of backups that lack something, or whose names are wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console, RenderableType

from galera_backup.models.backup import BackupResult
from galera_backup.models.catalog import Catalog
from galera_backup.models.common import ClusterRef
from galera_backup.models.runner import RunnerLog
from starters import backup, list
from tests.unit.commands.stand_ins import manifest

CLUSTER = ClusterRef(namespace="a", statefulset="db")
LOST = "claim 'c': expected tables of engines that mariadb-backup reads, db/t (CONNECT) are not"


def text(shown: RenderableType) -> str:
    console = Console(width=300)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, ""),
        ({"unsafe": True}, "unsafe"),
        ({"problems": (LOST,)}, "db/t (CONNECT) are not"),
        ({"problems": (LOST, "b", "c")}, "(+2)"),
    ],
)
def test_the_list_says_what_a_backup_lacks(fields: dict[str, Any], told: str) -> None:
    listed = list.shown(Catalog(backups=(manifest(CLUSTER).model_copy(update=fields),)), datetime.now(UTC))
    assert text(listed).rstrip().endswith(told)


@pytest.mark.parametrize("future", [(), ("29990101T000000Z-full",)])
def test_names_from_the_future(future: tuple[str, ...]) -> None:
    result = BackupResult(
        manifest=manifest(CLUSTER),
        path="/var/backup/a/db",
        phases=(),
        desynced_seconds=1,
        drained=True,
        pruned=(),
        kept=1,
        future=future,
        runner=RunnerLog(pod="p", node="n", exit_code=0, tail=""),
    )
    said = text(backup.shown(result))
    assert ("29990101T000000Z-full: a clock was ahead" in said) == bool(future)
