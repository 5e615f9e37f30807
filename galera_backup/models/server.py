"""What a member's server says of its files, its group and the account, as far as the preflight judges it."""

from __future__ import annotations

from galera_backup.models.common import Facts

KEY_FILES = "file_key_management_"
"""Begin of the variables that name files with keys."""

OF_THE_HOST = ("init_file", "plugin_dir", "socket.ssl_", "ssl_", "wsrep_notify_cmd")
"""Begins of the variables and options that name what no server makes, and without which it does not start."""


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
    binding: tuple[str, ...] = ()
    """Those of `mysql.settings.BINDING`: `innodb_page_size=16384`."""
    ignored: tuple[str, ...] = ()
    """Names in the data directory that are no databases: `ignore_db_dirs`."""
    plugins: tuple[str, ...] = ()
    """Active plugins of type ENCRYPTION."""
    group_size: int
    """wsrep_cluster_size: of the whole group, arbitrators too."""
    group: str = ""
    """What tells its group from another: state UUID, number of the configuration, and size."""
    incoming: tuple[str, ...] = ()
    """Hosts of wsrep_incoming_addresses, without those that are empty. A member that joined by a state transfer while
    another one did may lack some until the next change of the group (seen, 10.11)."""
    synced: bool = True
    """It is Ready for wsrep, and in sync."""
    sst_method: str = ""
    """wsrep_sst_method: of a state transfer that it asks for."""
    wsrep_mode: str = ""
    """Names with commas between them; a server before 10.6 has none."""
    tls: bool = False
    """It offers TLS, and may demand it."""
    privileges: frozenset[str] = frozenset()
    """Global ones of the account and of its active role, in capitals."""
    max_user_connections: int = 0
    """Connections that the account may have at once; 0: as many as the server has."""
    hourly_limits: tuple[str, ...] = ()
    """Of the account: `MAX_QUERIES_PER_HOUR 100`."""

    @property
    def key_files(self) -> tuple[str, ...]:
        """Paths of the files with the keys of data that is encrypted at rest."""
        return tuple(each.value for each in self.files if each.name.startswith(KEY_FILES))


class ServerSeen(Facts):
    """One member: its settings, or why it could not be asked."""

    pod: str
    ip: str = ""
    settings: ServerSettings | None = None
    error: str = ""
    refused: bool = False
    """The server answered, and refused the log-in or a statement."""
