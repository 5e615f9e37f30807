"""Which replica and tables prove a restore, what the answers mean, and what is sent to read them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from unittest import mock

import pymysql
import pytest

from galera_backup.credentials import Credentials
from galera_backup.errors import DatabaseUnavailable
from galera_backup.models.cluster import ClusterObservation, MemberObservation
from galera_backup.models.common import PrimaryLabel
from galera_backup.models.proof import CheckTables, SeenTables, Table
from galera_backup.mysql.gateway import Endpoint, MysqlGateway
from galera_backup.mysql.proofs import TOO_LATE, QueryFault
from galera_backup.rules.proof import LARGEST, SMALLEST, replica_to_ask, table_fault, tables_to_check
from tests.unit.members import CLUSTER, GOOD

SERVER = Endpoint("openstack", "p", "10.0.0.1", Credentials("u", "p"))
MINUTE = timedelta(minutes=1)


def member(ordinal: int, ready: bool = True, role: str | None = None) -> MemberObservation:
    name = f"mariadb-server-{ordinal}"
    return MemberObservation(pod=name, ordinal=ordinal, exists=True, ready=ready, role=role, wsrep=GOOD)


def _asked(*members: MemberObservation, label: PrimaryLabel | None = None) -> str | None:
    seen = ClusterObservation(cluster=CLUSTER, replicas=3, members=members, claims=())
    found = replica_to_ask(seen, label)
    return found.pod if found is not None else None


def test_replica_to_ask() -> None:
    members = [member(0), member(1), member(2, role="primary")]
    assert _asked(*members) == "mariadb-server-2"
    assert _asked(*members, label=PrimaryLabel()) == "mariadb-server-1"
    assert _asked(members[2], label=PrimaryLabel()) == "mariadb-server-2"
    assert _asked(member(0), member(1, ready=False)) == "mariadb-server-0"
    assert _asked(member(1, ready=False)) == "mariadb-server-1"
    assert _asked(member(1).model_copy(update={"wsrep": None})) is None
    assert _asked() is None


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([("status", "OK")], None),
        ([("note", "The storage engine for the table doesn't support check")], None),
        ([("warning", "1 client is using the table"), ("status", "OK")], None),
        ([("status", "Table is already up to date")], None),
        ([("Warning", "InnoDB: Index x is marked as corrupted"), ("error", "Corrupt")], "error: Corrupt"),
        ([("Error", "Table 'a.b' doesn't exist"), ("status", "Operation failed")], "Error: Table 'a.b' doesn't exist"),
        ([("status", "Operation failed")], "status: Operation failed"),
    ],
)
def test_rows_of_check_table(rows: list[tuple[str, str]], fault: str | None) -> None:
    found = table_fault(rows)
    assert found is None if fault is None else found is not None and found.startswith(fault)


def test_sample_has_the_smallest_and_the_largest() -> None:
    tables = [Table("nova", f"t{size:03}", "InnoDB", size) for size in range(100)]
    tables += [Table("nova", "a", "Aria", 1000)]
    chosen = tables_to_check(list(reversed(tables)), CheckTables.SAMPLE)
    assert [each.bytes for each in chosen] == [*range(SMALLEST), *range(100 - LARGEST, 100)]
    assert tables_to_check(tables[:3], CheckTables.SAMPLE) == tables[:3]
    assert len(tables_to_check(tables, CheckTables.ALL)) == 101
    assert tables_to_check(tables, CheckTables.NONE) == []


class _Server:
    """Answers statements; notes them."""

    def __init__(self, *answers: Any, columns: int = 1) -> None:
        self.statements: list[str] = []
        self._answers = list(answers)
        self.description: list[Any] | None = [("c",)] * columns if columns else None

    def execute(self, statement: str) -> None:
        self.statements.append(statement)
        if not statement.startswith(("SET", "START")) and isinstance(self._answers[0], Exception):
            raise self._answers[0]

    def fetchall(self) -> Sequence[Any]:
        answer: Sequence[Any] = self._answers.pop(0)
        return answer

    def fetchone(self) -> Any:
        return self._answers.pop(0)

    def call(self, method: str, *arguments: Any) -> Any:
        cursor = mock.MagicMock()
        cursor.__enter__.return_value = self
        connection = mock.MagicMock(cursor=lambda: cursor)
        with mock.patch("pymysql.connect", return_value=connection) as connect:
            result = getattr(MysqlGateway(), method)(SERVER, *arguments)
        assert connect.call_args.kwargs["conv"] == {}
        assert connect.call_args.kwargs["read_timeout"] > MINUTE.total_seconds()
        return result


def test_check_may_only_read() -> None:
    server = _Server((("3",), ("4",)))
    assert server.call("ask", "SELECT 3", MINUTE) == (2, ["3"])
    assert server.statements == [
        "SET SESSION TRANSACTION READ ONLY",
        "SET SESSION max_statement_time = 60.000",
        "SET SESSION sql_select_limit = 2",
        "START TRANSACTION READ ONLY",
        "SELECT 3",
    ]


@pytest.mark.parametrize(
    ("rows", "columns", "answer"),
    [(((None,),), 1, (1, [None])), ((), 2, (0, [None, None])), (((b"\xffa",),), 1, (1, ["\ufffda"]))],
)
def test_answers(rows: Any, columns: int, answer: Any) -> None:
    assert _Server(rows, columns=columns).call("ask", "SELECT", MINUTE) == answer


def test_statement_without_rows() -> None:
    with pytest.raises(QueryFault, match="expected a query that gives rows"):
        _Server((), columns=0).call("ask", "DO 1", MINUTE)


@pytest.mark.parametrize("code", [1064, 1142, 1146, 1969])
def test_error_that_stays(code: int) -> None:
    with pytest.raises(QueryFault) as raised:
        _Server(pymysql.OperationalError(code, "no")).call("ask", "SELECT 1", MINUTE)
    assert raised.value.code == code


@pytest.mark.parametrize("code", [1047, 1053, 1213, 1927, 2006, 2013])
def test_error_that_passes(code: int) -> None:
    with pytest.raises(DatabaseUnavailable):
        _Server(pymysql.OperationalError(code, "lost")).call("ask", "SELECT 1", MINUTE)


def test_tables_that_an_account_sees() -> None:
    rows = (("nova", "t", "InnoDB", "16384"),)
    assert _Server(rows, ("0",)).call("seen_tables", MINUTE) == SeenTables(
        (Table("nova", "t", "InnoDB", 16384),), may_select=True
    )
    assert _Server((), ("0",)).call("seen_tables", MINUTE) == SeenTables((), may_select=False)
    assert _Server((), ("1",)).call("seen_tables", MINUTE) == SeenTables((), may_select=True)


def test_check_table() -> None:
    server = _Server((("a.b", "check", "status", "OK"),))
    assert server.call("check_table", Table("a`b", "c", "InnoDB", 1), MINUTE) == [("status", "OK")]
    assert server.statements[-1] == "CHECK TABLE `a``b`.`c`"


def test_check_table_that_was_interrupted_says_ok() -> None:
    server = _Server((("a.b", "check", "status", "OK"),))
    clock = mock.patch("galera_backup.mysql.proofs.time.monotonic", side_effect=itertools.count(step=61))
    with clock, pytest.raises(QueryFault) as late:
        server.call("check_table", Table("a", "b", "InnoDB", 1), MINUTE)
    assert late.value.code == TOO_LATE
