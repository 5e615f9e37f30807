"""One server's settings, as the preflight needs them, over one connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pymysql.connections import Connection

from galera_backup.models.server import ServerSettings, Setting
from galera_backup.version import is_beyond_limits

FILE_VARIABLES = (
    "aria_log_dir_path",
    "file_key_management_filekey",
    "file_key_management_filename",
    "general_log_file",
    "init_file",
    "innodb_data_file_path",
    "innodb_data_home_dir",
    "innodb_log_group_home_dir",
    "innodb_temp_data_file_path",
    "innodb_tmpdir",
    "innodb_undo_directory",
    "log_bin_basename",
    "log_bin_index",
    "log_error",
    "pid_file",
    "plugin_dir",
    "relay_log_basename",
    "relay_log_index",
    "relay_log_info_file",
    "secure_file_priv",
    "server_audit_file_path",
    "slave_load_tmpdir",
    "slow_query_log_file",
    "socket",
    "sql_error_log_filename",
    "ssl_ca",
    "ssl_capath",
    "ssl_cert",
    "ssl_crl",
    "ssl_crlpath",
    "ssl_key",
    "tmpdir",
    "wsrep_data_home_dir",
    "wsrep_notify_cmd",
)
"""Variables whose values name files or directories that a server makes or needs."""
FILE_OPTIONS = (
    "base_dir",
    "gcache.dir",
    "gcache.page_dir",
    "socket.ssl_ca",
    "socket.ssl_cert",
    "socket.ssl_key",
    "socket.ssl_password_file",
)
"""The same of wsrep_provider_options."""
BINDING = ("innodb_data_file_path", "innodb_page_size", "lower_case_table_names")
"""Variables with another value of which a server does not start on the data, or does not find its tables."""
_VALUES = (
    "version",
    "datadir",
    "have_ssl",
    "ignore_db_dirs",
    "max_user_connections",
    "wsrep_mode",
    "wsrep_provider_options",
    "wsrep_sst_method",
    *BINDING[1:],
    *FILE_VARIABLES,
)
_GROUP = ("wsrep_cluster_state_uuid", "wsrep_cluster_conf_id", "wsrep_cluster_size")
_STATUS = ("wsrep_incoming_addresses", "wsrep_local_state", "wsrep_ready", *_GROUP)
_SYNCED = ("ON", "4")
_UNKNOWN = ("", "AUTO", "unspecified")
"""In wsrep_incoming_addresses, for a member that does not tell where its clients connect."""
_GRANT = re.compile(r"GRANT (?P<privileges>.+?) ON \*\.\* TO ")
_LIMIT = re.compile(r"\bMAX_USER_CONNECTIONS (?P<limit>\d+)")
_HOURLY_LIMIT = re.compile(r"\bMAX_(?:QUERIES|CONNECTIONS)_PER_HOUR [1-9]\d*")
_FILE = "FILE:"
"""Begin of a key that is in a file; any other is the key itself."""


def server_settings(connection: Connection[Any]) -> ServerSettings:
    """Read them; the account needs no privilege for it. Errors: those of PyMySQL."""
    with connection.cursor() as cursor:
        variables = _read(cursor, "global_variables", _VALUES)
        status = _read(cursor, "global_status", _STATUS)
        cursor.execute(
            "SELECT plugin_name FROM information_schema.plugins"
            " WHERE plugin_type = 'ENCRYPTION' AND plugin_status = 'ACTIVE'"
        )
        plugins = tuple(str(name) for (name,) in cursor.fetchall())
        cursor.execute("SHOW GRANTS")
        grants = [str(line) for (line,) in cursor.fetchall()]
    options = provider_options(variables.get("wsrep_provider_options", ""))
    variables["file_key_management_filekey"] = _key_file(variables.get("file_key_management_filekey", ""))
    files = [(name, variables.get(name, "")) for name in FILE_VARIABLES]
    files += [(name, options.get(name, "")) for name in FILE_OPTIONS]
    return ServerSettings(
        version=variables["version"],
        datadir=variables["datadir"],
        files=tuple(Setting(name=name, value=value) for name, value in files if value),
        binding=tuple(f"{name}={variables[name]}" for name in BINDING if variables.get(name)),
        ignored=tuple(name for name in variables.get("ignore_db_dirs", "").split(",") if name),
        plugins=plugins,
        group_size=int(status.get("wsrep_cluster_size", 0)),
        group=" ".join(status.get(name, "") for name in _GROUP),
        incoming=incoming_hosts(status.get("wsrep_incoming_addresses", "")),
        synced=(status.get("wsrep_ready"), status.get("wsrep_local_state")) == _SYNCED,
        sst_method=variables.get("wsrep_sst_method", ""),
        wsrep_mode=variables.get("wsrep_mode", ""),
        tls=variables.get("have_ssl") == "YES",
        privileges=privileges(grants),
        max_user_connections=connection_limit(grants) or _general_limit(variables, grants),
        hourly_limits=tuple(found for line in grants for found in _HOURLY_LIMIT.findall(line)),
    )


def _general_limit(variables: Mapping[str, str], grants: list[str]) -> int:
    """That of all accounts; 0 for one to which it does not apply."""
    exempt = is_beyond_limits(variables["version"], privileges(grants))
    return 0 if exempt else int(variables.get("max_user_connections", 0))


def _key_file(value: str) -> str:
    """Path of the file; empty where the value is the key itself, which must not get into a history."""
    return value.removeprefix(_FILE) if value.startswith(_FILE) else ""


def provider_options(text: str) -> dict[str, str]:
    """`base_dir = /var/lib/mysql/; gcache.dir = /cache; ...` by name."""
    pairs = (entry.partition("=") for entry in text.split(";"))
    return {name.strip(): value.strip() for name, found, value in pairs if found}


def privileges(grants: list[str]) -> frozenset[str]:
    """Global privileges in the lines of SHOW GRANTS, those of active roles too; in capitals."""
    found = (_GRANT.match(line) for line in grants)
    return frozenset(each.strip().upper() for grant in found if grant for each in grant["privileges"].split(","))


def connection_limit(grants: list[str]) -> int:
    """MAX_USER_CONNECTIONS of the account; 0: it has none."""
    return max((int(found["limit"]) for line in grants if (found := _LIMIT.search(line))), default=0)


def incoming_hosts(text: str) -> tuple[str, ...]:
    """Hosts of wsrep_incoming_addresses, such as `10.0.0.1:3306,[fd00::2]:3306,AUTO`."""
    entries = [entry.strip() for entry in text.split(",")]
    return tuple(_host(entry) for entry in entries if entry not in _UNKNOWN)


def _host(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def _read(cursor: Any, table: str, wanted: tuple[str, ...]) -> dict[str, str]:
    listed = ", ".join(f"'{name}'" for name in wanted)
    cursor.execute(
        f"SELECT LOWER(variable_name), variable_value FROM information_schema.{table} WHERE variable_name IN ({listed})"
    )
    return {str(name): str(value) for name, value in cursor.fetchall()}
