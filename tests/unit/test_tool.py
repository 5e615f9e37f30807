"""What the log of mariadb-backup tells."""

from __future__ import annotations

import pytest

from galera_backup.runner.tool import Hold, _ddl_blocked
from galera_backup.version import Version

LOG = """\
[00] 2026-11-30 07:39:02 Starting BACKUP STAGE START
[00] 2026-11-30 07:39:02 Acquiring BACKUP LOCKS...
[00] 2026-11-30 07:39:02 Acquired locks for BACKUP STAGE START
[01] 2026-11-30 07:39:02 Streaming ./nova/instances.ibd
[00] 2026-11-30 07:39:14 Finished BACKUP STAGE START
[00] 2026-11-30 07:39:14 Started BACKUP STAGE BLOCK_DDL
[00] 2026-11-30 07:39:14 Acquired locks for BACKUP STAGE BLOCK_DDL
[00] 2026-11-30 07:39:14 Starting to backup non-InnoDB tables and files
[00] 2026-11-30 07:41:15 Executing BACKUP STAGE END
[00] 2026-11-30 07:41:15 completed OK!
"""


OLD_LOG = """\
[01] 2026-11-30 07:39:02 Streaming ./nova/instances.ibd
[00] 2026-11-30 07:39:14 Acquiring BACKUP LOCKS...
[00] 2026-11-30 07:39:15 Starting to backup non-InnoDB tables and files
[00] 2026-11-30 07:41:15 Executing BACKUP STAGE END
"""
"""Of 10.6.5 to 10.11.7, as far as its source tells."""


@pytest.mark.parametrize(
    ("log", "seconds"), [(LOG, 121), (OLD_LOG, 121), (LOG.replace("Executing", "Executed"), None), ("", None)]
)
def test_how_long_it_blocked_ddl(log: str, seconds: int | None) -> None:
    assert _ddl_blocked(log) == seconds


@pytest.mark.parametrize(("log", "held_from"), [(LOG, "Started BACKUP STAGE BLOCK_DDL"), (OLD_LOG, "Acquiring")])
def test_when_it_begins_to_hold_up_its_server(log: str, held_from: str) -> None:
    hold = Hold()
    for line in log.splitlines(keepends=True):
        assert not hold.begun
        hold.feed(line)
        if held_from in line:
            break
    assert hold.begun
    hold.feed("[00] 2026-11-30 07:41:15 completed OK!\n")
    assert hold.begun


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("10.11.19-MariaDB-0+deb12u1-log", "10.11.19"),
        ("11.4.5-3-MariaDB-enterprise", "11.4.5"),
        ("mariadb-backup based on MariaDB server 11.8.9-MariaDB debian-linux-gnu (x86_64)", "11.8.9"),
        ("8.0.36", "None"),
    ],
)
def test_versions(text: str, version: str) -> None:
    assert str(Version.parse(text)) == version
