"""Whether mariadb-backup waits for a lock, and who may hold it, over an open connection.

Who holds it need not run anything: LOCK TABLES leaves its session idle. The plugin METADATA_LOCK_INFO, where a server
has it, knows the sessions; else those count that have been as they are for as long as the tool has waited. Sessions of
the tool's own account from its own host are its other connections.
"""

from __future__ import annotations

from typing import Any

from pymysql.connections import Connection

from galera_backup.models.blocked import BackupWait, Statement

NAMED = 5
"""Sessions that run something, and as many idle ones: a server may have hundreds of either."""
IDLE = "idle"
_HOST = "REGEXP_REPLACE(host, ':[0-9]+$', '')"
"""Without the port; an IPv6 address has colons of its own."""
_WAIT = (
    f"SELECT id, user, {_HOST}, time, state FROM information_schema.processlist"
    " WHERE info LIKE 'BACKUP %' AND state LIKE 'Waiting%' ORDER BY time DESC LIMIT 1"
)
_PLUGIN = (
    "SELECT COUNT(*) FROM information_schema.plugins"
    " WHERE plugin_name = 'METADATA_LOCK_INFO' AND plugin_status = 'ACTIVE'"
)
_HOLDERS = "SELECT DISTINCT thread_id FROM information_schema.metadata_lock_info WHERE lock_type = 'Backup lock'"
_SESSIONS = (
    "SELECT id, user, time, LEFT(info, 200) FROM information_schema.processlist"
    f" WHERE id <> CONNECTION_ID() AND NOT (user = %s AND {_HOST} = %s)"
    " AND NOT (user = 'system user' AND info IS NULL) AND command NOT IN ('Daemon', 'Binlog Dump')"
    " AND {which} AND info IS {what} ORDER BY info LIKE 'select%%', time DESC LIMIT %s"
)


def backup_wait(connection: Connection[Any]) -> BackupWait | None:
    """How long it has waited, and who may hold the lock: statements that write first, idle sessions last."""
    with connection.cursor() as cursor:
        cursor.execute(_WAIT)
        waits = cursor.fetchone()
        if waits is None:
            return None
        tool, user, host, seconds, state = waits
        cursor.execute(_PLUGIN)
        known = cursor.fetchone()
        holders: list[int] = []
        if known is not None and known[0]:
            cursor.execute(_HOLDERS)
            holders = [int(number) for (number,) in cursor.fetchall() if number != tool]
        running = _sessions(cursor, user, host, "id IN %s", holders) if holders else ()
        running = running or _sessions(cursor, user, host, "time >= %s", int(seconds) - 1)
    return BackupWait(seconds=int(seconds), state=str(state), running=running)


def _sessions(cursor: Any, user: str, host: str, which: str, value: object) -> tuple[Statement, ...]:
    found: list[Statement] = []
    for what in ("NOT NULL", "NULL"):
        cursor.execute(_SESSIONS.format(which=which, what=what), (user, host, value, NAMED))
        found += [
            Statement(id=number, user=str(name), seconds=int(seconds), text=str(text) if text is not None else IDLE)
            for number, name, seconds, text in cursor.fetchall()
        ]
    return tuple(found)
