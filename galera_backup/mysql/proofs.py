"""What is asked of a restored server, over a connection that may only read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CR, ER

from galera_backup.models.proof import SeenTables, Table
from galera_backup.text import bounded

_PASSES = {
    ER.CON_COUNT_ERROR,
    ER.UNKNOWN_COM_ERROR,  # 1047: WSREP has not yet prepared the node for application use
    ER.SERVER_SHUTDOWN,
    ER.LOCK_WAIT_TIMEOUT,
    ER.LOCK_DEADLOCK,
    ER.QUERY_INTERRUPTED,
    1927,  # connection was killed
    CR.CR_SERVER_GONE_ERROR,
    CR.CR_SERVER_LOST,
}
"""The same query may work a moment later."""
TOO_LATE = 1969
"""ER_STATEMENT_TIMEOUT."""
_TABLES = "'BASE TABLE', 'SYSTEM VERSIONED'"
_SYSTEM = "'information_schema', 'performance_schema', 'mysql', 'sys'"


class QueryFault(Exception):
    """The server's error for a query that would have it again; `code` is MariaDB's error number."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"MariaDB error {code}: {text}")
        self.code = code


def ask(connection: Connection[Any], query: str, limit: timedelta) -> tuple[int, list[str | None]]:
    """The number of rows, of which more than 1 counts as 2, and the columns of the first. Error: `QueryFault`."""
    with _read_only(connection, limit) as cursor:
        cursor.execute("SET SESSION sql_select_limit = 2")
        cursor.execute("START TRANSACTION READ ONLY")
        cursor.execute(query)
        rows = cursor.fetchall()
        if cursor.description is None:
            raise QueryFault(0, "expected a query that gives rows")
        return len(rows), [_text(each) for each in rows[0]] if rows else [None] * len(cursor.description)


def seen_tables(connection: Connection[Any], limit: timedelta) -> SeenTables:
    """Base tables, but those of the system, on which the account has any right. Error: `QueryFault`."""
    with _read_only(connection, limit) as cursor:
        cursor.execute(
            "SELECT table_schema, table_name, COALESCE(engine, ''), COALESCE(data_length + index_length, 0)"
            f" FROM information_schema.tables WHERE table_type IN ({_TABLES}) AND table_schema NOT IN ({_SYSTEM})"
        )
        tables = tuple(Table(schema, name, engine, int(size)) for schema, name, engine, size in cursor.fetchall())
        # Who may not read all grants sees its own alone.
        cursor.execute("SELECT COUNT(*) FROM information_schema.user_privileges WHERE privilege_type = 'SELECT'")
        (granted,) = cursor.fetchone() or ("0",)
    return SeenTables(tables, may_select=bool(tables) or int(granted) > 0)


def check_table(connection: Connection[Any], table: Table, limit: timedelta) -> list[tuple[str, str]]:
    """Type and text of each message. Error: `QueryFault`; TOO_LATE also where the server says that all is well: a
    CHECK TABLE that was interrupted answers OK (10.11.19)."""
    with _read_only(connection, limit) as cursor:
        cursor.execute(f"CHECK TABLE {_quoted(table.schema)}.{_quoted(table.name)}")
        return [(str(kind), str(text)) for _, _, kind, text in cursor.fetchall()]


@contextmanager
def _read_only(connection: Connection[Any], limit: timedelta) -> Iterator[Any]:
    """A cursor. The session is read-only, and not its transaction alone: DDL ends that, and is then obeyed."""
    began = time.monotonic()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
            cursor.execute(f"SET SESSION max_statement_time = {limit.total_seconds():.3f}")
            yield cursor
    except pymysql.MySQLError as error:
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if code in _PASSES:
            raise
        raise QueryFault(code, bounded(str(error.args[-1] if error.args else error), 300)) from error
    if time.monotonic() - began >= limit.total_seconds():
        raise QueryFault(TOO_LATE, f"not done within {limit}")


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
