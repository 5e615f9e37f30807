"""The calls to a member's MariaDB server, over short connections that always time out."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CR, ER

from galera_backup import timing
from galera_backup.credentials import Credentials
from galera_backup.errors import DatabaseRefused, DatabaseUnavailable, GaleraBackupError
from galera_backup.models.blocked import BackupWait
from galera_backup.models.clone import GaleraGroup
from galera_backup.models.cluster import WsrepStatus
from galera_backup.models.proof import SeenTables, Table
from galera_backup.models.server import ServerSettings
from galera_backup.mysql import proofs, waits
from galera_backup.mysql.settings import incoming_hosts, server_settings
from galera_backup.text import bounded

_LIMIT_SECONDS = int(timing.SQL_LIMIT.total_seconds())

_STATUS = (
    "wsrep_ready",
    "wsrep_connected",
    "wsrep_cluster_status",
    "wsrep_local_state",
    "wsrep_local_state_comment",
    "wsrep_cluster_size",
    "wsrep_cluster_state_uuid",
    "wsrep_cluster_conf_id",
    "wsrep_desync_count",
    "wsrep_local_recv_queue",
    "wsrep_last_committed",
)

_GROUP = ("wsrep_cluster_state_uuid", "wsrep_cluster_size", "wsrep_incoming_addresses")

_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""TLS where the server offers it, without a look at its certificate, as PyMySQL does by itself.

One for all connections: PyMySQL makes one for each and reads the system's certificates for it, which took more than
half of a worker's processor time.
"""
_TLS.check_hostname = False
_TLS.verify_mode = ssl.CERT_NONE

_AT_ONCE = "SET SESSION wsrep_sync_wait=0"
"""A server whose default it is lets each SELECT wait for its appliers: for those that a backup has stopped, too."""

_REFUSED = {
    CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
    ER.ACCESS_DENIED_ERROR,
    ER.DBACCESS_DENIED_ERROR,
    ER.SPECIFIC_ACCESS_DENIED_ERROR,
    ER.TABLEACCESS_DENIED_ERROR,
    ER.PARSE_ERROR,
    ER.UNKNOWN_SYSTEM_VARIABLE,
    ER.HOST_NOT_PRIVILEGED,
    ER.NOT_SUPPORTED_AUTH_MODE,
    1698,  # ER_ACCESS_DENIED_NO_PASSWORD_ERROR: unix_socket
    1820,  # ER_MUST_CHANGE_PASSWORD
    1862,  # ER_MUST_CHANGE_PASSWORD_LOGIN
    4151,  # ER_ACCOUNT_HAS_BEEN_LOCKED
}


@dataclass(frozen=True)
class Endpoint:
    """Where a member's server listens, and as whom to log in. `pod` is for messages."""

    namespace: str
    pod: str
    host: str
    credentials: Credentials
    port: int = 3306


class MysqlGateway:
    """Reads the wsrep status of members, sets wsrep_desync, and runs the queries of a proof.

    Errors: `DatabaseUnavailable` when a retry can help, `DatabaseRefused` when it cannot.
    """

    def wsrep_status(self, server: Endpoint) -> WsrepStatus:
        """The member's wsrep state, read over one connection."""
        names = ", ".join(f"'{name}'" for name in _STATUS)
        with self._connection(server, "reading the wsrep status") as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT LOWER(variable_name), variable_value FROM information_schema.global_status"
                f" WHERE variable_name IN ({names})"
            )
            status = {str(name): str(value) for name, value in cursor.fetchall()}
            missing = sorted(set(_STATUS) - set(status))
            if missing:
                raise DatabaseRefused(
                    f"reading the wsrep status of {server.pod!r}: expected a Galera member, "
                    f"the server has no {', '.join(missing)}"
                )
            cursor.execute("SELECT @@global.wsrep_desync, @@global.wsrep_on")
            desync, on = _row(cursor.fetchone())
            cursor.execute(
                "SELECT COUNT(*) FROM information_schema.processlist"
                " WHERE info LIKE 'set global wsrep_desync%%' AND id <> CONNECTION_ID()"
            )
            (pending,) = _row(cursor.fetchone())
        return WsrepStatus(
            ready=status["wsrep_ready"] == "ON",
            connected=status["wsrep_connected"] == "ON",
            cluster_status=status["wsrep_cluster_status"],
            local_state=int(status["wsrep_local_state"]),
            local_state_comment=status["wsrep_local_state_comment"],
            cluster_size=int(status["wsrep_cluster_size"]),
            cluster_state_uuid=status["wsrep_cluster_state_uuid"],
            cluster_conf_id=int(status["wsrep_cluster_conf_id"]),
            desync=bool(int(desync)),
            desync_count=int(status["wsrep_desync_count"]),
            recv_queue=int(status["wsrep_local_recv_queue"]),
            last_committed=int(status["wsrep_last_committed"]),
            on=bool(int(on)),
            pending_desync=int(pending) > 0,
        )

    def group(self, server: Endpoint) -> GaleraGroup:
        """The group that the member is in, and where it looks for it."""
        names = ", ".join(f"'{name}'" for name in _GROUP)
        with self._connection(server, "reading the Galera group") as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT LOWER(variable_name), variable_value FROM information_schema.global_status"
                f" WHERE variable_name IN ({names})"
            )
            status = {str(name): str(value) for name, value in cursor.fetchall()}
            cursor.execute("SELECT @@global.wsrep_cluster_address")
            (address,) = _row(cursor.fetchone())
        missing = sorted(set(_GROUP) - set(status))
        if missing:
            raise DatabaseRefused(
                f"reading the Galera group of {server.pod!r}: expected a Galera member, the server has no "
                f"{', '.join(missing)}"
            )
        return GaleraGroup(
            address=str(address or ""),
            incoming=incoming_hosts(status["wsrep_incoming_addresses"]),
            state_uuid=status["wsrep_cluster_state_uuid"],
            size=int(status["wsrep_cluster_size"]),
        )

    def settings(self, server: Endpoint) -> ServerSettings:
        """As `settings.server_settings`, whose errors come with the gateway's."""
        with self._connection(server, "reading the settings") as connection:
            return server_settings(connection)

    def now(self, server: Endpoint) -> datetime:
        """The server's own time, for `set_desync`."""
        with self._connection(server, "reading the time") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT UTC_TIMESTAMP(6)")
            (now,) = _row(cursor.fetchone())
        if not isinstance(now, datetime):
            raise DatabaseUnavailable(f"reading the time of {server.pod!r}: expected a time, got {now!r}")
        return now.replace(tzinfo=UTC)

    def backup_wait(self, server: Endpoint) -> BackupWait | None:
        """As `waits.backup_wait`, whose errors come with the gateway's; None: mariadb-backup does not wait."""
        with self._connection(server, "reading the processlist") as connection:
            return waits.backup_wait(connection)

    def set_desync(self, server: Endpoint, on: bool, until: datetime) -> None:
        """SET GLOBAL wsrep_desync, if it is not later than `until` by the server's clock when the statement arrives.

        Whether it was in time the variable tells. It does not nest, and setting what is set already is no error.
        ON can block behind a lock and land long after its connection was lost, even after a later OFF.
        """
        value = "ON" if on else "OFF"
        in_time = f"UTC_TIMESTAMP(6) < TIMESTAMP'{until.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}'"
        with (
            self._connection(server, f"setting wsrep_desync={value}") as connection,
            connection.cursor() as cursor,
        ):
            # One statement, so that nothing can come between its look at the clock and its effect.
            cursor.execute(f"SET GLOBAL wsrep_desync=IF({in_time}, {int(on)}, @@global.wsrep_desync)")

    def ask(self, server: Endpoint, query: str, limit: timedelta) -> tuple[int, list[str | None]]:
        """As `proofs.ask`, whose errors come with the gateway's."""
        with self._proof(server, "running a check", limit) as connection:
            return proofs.ask(connection, query, limit)

    def seen_tables(self, server: Endpoint, limit: timedelta) -> SeenTables:
        """As `proofs.seen_tables`, whose errors come with the gateway's."""
        with self._proof(server, "listing the tables", limit) as connection:
            return proofs.seen_tables(connection, limit)

    def check_table(self, server: Endpoint, table: Table, limit: timedelta) -> list[tuple[str, str]]:
        """As `proofs.check_table`, whose errors come with the gateway's."""
        with self._proof(server, f"checking table {str(table)!r}", limit) as connection:
            return proofs.check_table(connection, table, limit)

    def _proof(self, server: Endpoint, doing: str, limit: timedelta) -> AbstractContextManager[Connection[Any]]:
        """A connection that waits a little longer than the server may take, and leaves values as the server's text."""
        return self._connection(server, doing, int(limit.total_seconds()) + _LIMIT_SECONDS + 1, conv={})

    @contextmanager
    def _connection(
        self, server: Endpoint, doing: str, patience: int = _LIMIT_SECONDS, conv: dict[Any, Any] | None = None
    ) -> Iterator[Connection[Any]]:
        try:
            connection = pymysql.connect(
                host=server.host,
                port=server.port,
                user=server.credentials.user,
                password=server.credentials.password.encode(),  # a str would go as Latin-1
                connect_timeout=_LIMIT_SECONDS,
                read_timeout=patience,
                write_timeout=_LIMIT_SECONDS,
                autocommit=True,
                init_command=_AT_ONCE,
                conv=conv,
                ssl_disabled=True,  # for the constructor; `_TLS` is for what is sent
                defer_connect=True,
            )
            connection.ssl, connection.ctx = True, _TLS  # type: ignore[attr-defined]
            try:
                _log_in(connection)
                yield connection
            finally:
                if connection.open:
                    connection.close()
        except (pymysql.MySQLError, OSError) as error:
            raise _translated(error, server, doing) from error


def _log_in(connection: Connection[Any]) -> None:
    try:
        connection.connect()
    except RuntimeError as error:  # a library that its authentication plugin needs
        raise pymysql.OperationalError(CR.CR_AUTH_PLUGIN_CANNOT_LOAD, str(error)) from error


def _row(row: Any) -> tuple[Any, ...]:
    if row is None:
        raise DatabaseUnavailable("the server answered a query without a row")
    return tuple(row)


def _translated(error: Exception, server: Endpoint, doing: str) -> GaleraBackupError:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = f"{doing} on {server.pod!r} ({server.host}:{server.port}): MariaDB error {code}: {bounded(str(error), 500)}"
    if code in _REFUSED:
        return DatabaseRefused(
            f"{text}. Check that the Secret's user {server.credentials.user!r} can log in and has the documented grants"
        )
    if code in (CR.CR_CONN_HOST_ERROR, CR.CR_SERVER_LOST, CR.CR_SERVER_GONE_ERROR):
        return DatabaseUnavailable(f"{text}. The server is down, starting, or cannot be reached from the worker")
    return DatabaseUnavailable(text)
