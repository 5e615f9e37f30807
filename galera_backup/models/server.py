"""What a member's server says of its files, its group and the account, as far as the preflight judges it."""

from __future__ import annotations

from galera_backup.models.common import Facts


class Setting(Facts):
    """A variable of the server, or an option of its wsrep provider, whose value names a file or a directory."""

    name: str
    value: str


class ServerSettings(Facts):
    """One server's variables and status, and the rights of the account that asked."""

    version: str
    """`@@version`: `10.11.19-MariaDB-log`."""
    datadir: str
    files: tuple[Setting, ...] = ()
    """Those of `mysql.settings.FILE_VARIABLES` and `FILE_OPTIONS` that have a value."""
    plugins: tuple[str, ...] = ()
    """Active plugins of type ENCRYPTION."""
    group_size: int
    """wsrep_cluster_size: of the whole group, arbitrators too."""
    incoming: tuple[str, ...] = ()
    """Hosts of wsrep_incoming_addresses, without those that are empty."""
    privileges: frozenset[str] = frozenset()
    """Global ones of the account and of its active role, in capitals."""
    max_user_connections: int = 0
    """Connections that the account may have at once; 0: as many as the server has."""


class ServerSeen(Facts):
    """One member: its settings, or why it could not be asked."""

    pod: str
    ip: str = ""
    settings: ServerSettings | None = None
    error: str = ""
    refused: bool = False
    """The server answered, and refused the log-in or a statement."""
