"""Who may hold the lock for which mariadb-backup waits, on a stand-in for a server's processlist."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

import pytest
from pymysql.connections import Connection

from galera_backup.models.blocked import BackupWait
from galera_backup.mysql.waits import NAMED, backup_wait
from galera_backup.rules.blocked import blocked

Session = tuple[int, str, str, str, int, str, str | None]
"""Id, user, host, command, seconds, state, statement."""
TOOL: Session = (9, "backup", "fd00::9:5000", "Query", 60, "Waiting for backup lock", "BACKUP STAGE START")
ITS_OTHER: Session = (10, "backup", "fd00::9:5002", "Sleep", 3000, "", None)
APPLIER: Session = (1, "system user", "", "Sleep", 9000, "", None)
REPORTS: list[Session] = [
    (100 + number, "report", "10.1.0.4:1", "Query", 900, "", f"SELECT {number}") for number in range(20)
]
WRITER: Session = (30, "app", "fd00::5:1", "Query", 61, "", "INSERT INTO t SELECT ...")
LATER: Session = (31, "app", "10.1.0.5:2", "Query", 5, "Waiting for backup lock", "ALTER TABLE t ...")
IDLE: Session = (32, "cron", "10.1.0.6:1", "Sleep", 70, "", None)
OF_AN_ADMIN: Session = (33, "backup", "fd00::7:1", "Sleep", 80, "", None)


class Cursor:
    """Of a server, on SQLite's: the statements' dialect is the same but for these."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *error: object) -> None:
        self._cursor.close()

    def execute(self, query: str, values: Sequence[Any] = ()) -> None:
        for value in values:
            text = f"({', '.join(map(str, value))})" if isinstance(value, list) else repr(value)
            query = query.replace("%s", text, 1)
        query = query.replace("%%", "%") if values else query
        query = query.replace("information_schema.", "")
        self._cursor.execute(query.replace("LEFT(", "substring(").replace("info, 200", "info, 1, 200"))

    def fetchone(self) -> Any:
        return self._cursor.fetchone()

    def fetchall(self) -> Any:
        return self._cursor.fetchall()


class Server:
    """With these sessions; `holders`: whom its plugin knows, None: it has no such plugin."""

    def __init__(self, sessions: Sequence[Session], holders: Sequence[int] | None) -> None:
        self._database = sqlite3.connect(":memory:")
        self._database.create_function("REGEXP_REPLACE", 3, lambda text, what, by: re.sub(what, by, text))
        self._database.create_function("CONNECTION_ID", 0, lambda: 0)
        self._database.execute("CREATE TABLE processlist (id, user, host, command, time, state, info)")
        self._database.executemany("INSERT INTO processlist VALUES (?, ?, ?, ?, ?, ?, ?)", sessions)
        self._database.execute("CREATE TABLE plugins (plugin_name, plugin_status)")
        if holders is not None:
            self._database.execute("INSERT INTO plugins VALUES ('METADATA_LOCK_INFO', 'ACTIVE')")
            self._database.execute("CREATE TABLE metadata_lock_info (thread_id, lock_type)")
            rows = [(number, "Backup lock") for number in holders]
            self._database.executemany("INSERT INTO metadata_lock_info VALUES (?, ?)", rows)

    def cursor(self) -> Cursor:
        return Cursor(self._database.cursor())


def seen(*sessions: Session, holders: Sequence[int] | None = None) -> BackupWait | None:
    return backup_wait(cast("Connection[Any]", Server(sessions, holders)))


def test_nobody_waits() -> None:
    assert seen(APPLIER, *REPORTS, IDLE) is None


def test_an_idle_session_is_seen_behind_any_number_of_reports() -> None:
    found = seen(TOOL, ITS_OTHER, APPLIER, *REPORTS, WRITER, LATER, IDLE, OF_AN_ADMIN)
    assert found is not None
    assert (found.seconds, found.state) == (60, "Waiting for backup lock")
    ids = [each.id for each in found.running]
    assert ids[0] == WRITER[0]
    assert ids[NAMED:] == [OF_AN_ADMIN[0], IDLE[0]], "neither the tool's own nor an applier that waits for work"
    assert LATER[0] not in ids, "it came when the tool waited already"
    said = blocked("mariadb-server-2", found, timedelta(seconds=60), serves=False)
    assert "connection 32 of 'cron' since 70 s: idle" in said
    assert said.endswith("or set 'lock_wait_timeout'")


@pytest.mark.parametrize(("holders", "named"), [([IDLE[0], TOOL[0]], [IDLE[0]]), ([TOOL[0]], [WRITER[0], IDLE[0]])])
def test_the_plugin_knows_who_it_is(holders: list[int], named: list[int]) -> None:
    found = seen(TOOL, WRITER, IDLE, holders=holders)
    assert found is not None
    assert [each.id for each in found.running] == named
