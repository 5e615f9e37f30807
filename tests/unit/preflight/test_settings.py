"""What a server says of its files, its group and its account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from galera_backup.models.server import Setting
from galera_backup.mysql.settings import connection_limit, privileges, provider_options, server_settings

GRANTS = ["GRANT RELOAD, PROCESS, BINLOG MONITOR ON *.* TO `backup`@`%` IDENTIFIED BY PASSWORD '*28'"]
VARIABLES = {
    "version": "10.11.19-MariaDB-log",
    "datadir": "/var/lib/mysql/",
    "max_user_connections": "0",
    "wsrep_provider_options": "base_dir = /var/lib/mysql/; gcache.dir = /cache; gcache.size = 128M; ",
    "innodb_undo_directory": "./",
    "log_bin_basename": "",
}
STATUS = {
    "wsrep_cluster_size": "3",
    "wsrep_cluster_state_uuid": "uuid",
    "wsrep_cluster_conf_id": "7",
    "wsrep_incoming_addresses": "10.0.0.1:0,,[fd00::2]:3306",
}


class Server:
    """Answers the queries of one connection."""

    def __init__(self, variables: dict[str, str], grants: list[str], plugins: list[str]) -> None:
        self._answers: dict[str, list[Any]] = {
            "global_variables": list(variables.items()),
            "global_status": list(STATUS.items()),
            "plugins": [(name,) for name in plugins],
            "SHOW GRANTS": [(line,) for line in grants],
        }
        self._rows: list[Any] = []

    @contextmanager
    def cursor(self) -> Iterator[Server]:
        yield self

    def execute(self, query: str) -> None:
        (self._rows,) = [rows for words, rows in self._answers.items() if words in query]

    def fetchall(self) -> list[Any]:
        return self._rows


def test_all_of_it() -> None:
    seen = server_settings(Server(VARIABLES, GRANTS, ["file_key_management"]))  # type: ignore[arg-type]
    assert (seen.version, seen.datadir) == ("10.11.19-MariaDB-log", "/var/lib/mysql/")
    assert seen.files == (
        Setting(name="innodb_undo_directory", value="./"),
        Setting(name="base_dir", value="/var/lib/mysql/"),
        Setting(name="gcache.dir", value="/cache"),
    )
    assert (seen.group_size, seen.incoming) == (3, ("10.0.0.1", "fd00::2"))
    assert seen.group == "uuid 7 3"
    assert not seen.tls
    assert seen.plugins == ("file_key_management",)
    assert seen.privileges == {"RELOAD", "PROCESS", "BINLOG MONITOR"}
    assert seen.max_user_connections == 0


@pytest.mark.parametrize(
    ("variable", "grant", "expected"), [("0", "", 0), ("7", "", 7), ("7", " WITH MAX_USER_CONNECTIONS 3", 3)]
)
def test_the_limit_of_the_account_counts_more(variable: str, grant: str, expected: int) -> None:
    variables = VARIABLES | {"max_user_connections": variable}
    seen = server_settings(Server(variables, [GRANTS[0] + grant], []))  # type: ignore[arg-type]
    assert seen.max_user_connections == expected


def test_settings_of_galera() -> None:
    values = {"wsrep_mode": "BF_ABORT_MARIABACKUP", "wsrep_sst_method": "rsync"}
    seen = server_settings(Server(VARIABLES | values, GRANTS, []))  # type: ignore[arg-type]
    assert (seen.wsrep_mode, seen.sst_method) == ("BF_ABORT_MARIABACKUP", "rsync")
    assert server_settings(Server(VARIABLES, GRANTS, [])).wsrep_mode == ""  # type: ignore[arg-type]


def test_names_that_are_no_databases() -> None:
    seen = server_settings(Server(VARIABLES | {"ignore_db_dirs": "exports,.snapshots"}, GRANTS, []))  # type: ignore[arg-type]
    assert seen.ignored == ("exports", ".snapshots")


def test_grants() -> None:
    assert privileges(["GRANT ALL PRIVILEGES ON *.* TO `root`@`%` WITH GRANT OPTION"]) == {"ALL PRIVILEGES"}
    assert privileges(["GRANT SELECT ON `mysql`.* TO `a`@`%`", "GRANT `role` TO `a`@`%`"]) == frozenset()
    assert privileges(["GRANT SUPER ON *.* TO `role`", *GRANTS]) == {"SUPER", "RELOAD", "PROCESS", "BINLOG MONITOR"}
    assert connection_limit(GRANTS) == 0
    assert connection_limit([f"{GRANTS[0]} WITH MAX_QUERIES_PER_HOUR 9 MAX_USER_CONNECTIONS 4"]) == 4


def test_provider_options() -> None:
    assert provider_options("a = 1; b.c =;d") == {"a": "1", "b.c": ""}


@pytest.mark.parametrize(("value", "files"), [("FILE:/keys/key", ("/keys/key",)), ("secret-word", ()), ("", ())])
def test_a_key_never_leaves_the_server(value: str, files: tuple[str, ...]) -> None:
    """A history would keep it."""
    variables = VARIABLES | {"file_key_management_filekey": value}
    seen = server_settings(Server(variables, GRANTS, ["file_key_management"]))  # type: ignore[arg-type]
    assert seen.key_files == files
    assert "secret-word" not in seen.model_dump_json()


@pytest.mark.parametrize(("value", "expected"), [("YES", True), ("DISABLED", False), ("NO", False)])
def test_tls(value: str, expected: bool) -> None:
    seen = server_settings(Server(VARIABLES | {"have_ssl": value}, GRANTS, []))  # type: ignore[arg-type]
    assert seen.tls == expected


@pytest.mark.parametrize(
    ("version", "privilege", "expected"),
    [
        ("10.11.19-MariaDB", "SUPER", 0),
        ("11.8.9-MariaDB", "SUPER", 2),
        ("11.8.9-MariaDB", "CONNECTION ADMIN", 0),
        ("11.8.9-MariaDB", "ALL PRIVILEGES", 0),
    ],
)
def test_who_is_exempt_from_the_general_limit(version: str, privilege: str, expected: int) -> None:
    variables = VARIABLES | {"version": version, "max_user_connections": "2"}
    grants = [f"GRANT {privilege} ON *.* TO `backup`@`%`"]
    assert server_settings(Server(variables, grants, [])).max_user_connections == expected  # type: ignore[arg-type]
    of_account = [f"{grants[0]} WITH MAX_USER_CONNECTIONS 3"]
    assert server_settings(Server(variables, of_account, [])).max_user_connections == 3  # type: ignore[arg-type]


def test_limits_for_an_hour() -> None:
    grants = [f"{GRANTS[0]} WITH MAX_QUERIES_PER_HOUR 9 MAX_CONNECTIONS_PER_HOUR 80 MAX_USER_CONNECTIONS 4"]
    seen = server_settings(Server(VARIABLES, grants, []))  # type: ignore[arg-type]
    assert seen.hourly_limits == ("MAX_QUERIES_PER_HOUR 9", "MAX_CONNECTIONS_PER_HOUR 80")
    assert server_settings(Server(VARIABLES, GRANTS, [])).hourly_limits == ()  # type: ignore[arg-type]
