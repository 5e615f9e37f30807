"""The proof: on which replica it runs, which tables it checks, and what the replies mean."""

from __future__ import annotations

from collections.abc import Sequence

from galera_backup.models.cluster import ClusterObservation, MemberObservation
from galera_backup.models.common import PrimaryLabel
from galera_backup.models.passwords import PasswordReport
from galera_backup.models.proof import CheckTables, Table
from galera_backup.rules.health import is_synced

SMALLEST, LARGEST = 15, 5
"""Tables of a sample."""
_DAMAGE = {
    1034,  # incorrect key file
    1049,  # unknown database
    1054,  # unknown column
    1146,  # no such table
    1194,  # table is marked as crashed
    1195,
    1305,  # no such function
    1356,  # view of a table that is not there
    1712,  # index is corrupted
    1877,  # table is corrupted
    1932,  # no such table in the engine
}
"""MariaDB errors that a query may have because the live data is what shall be replaced."""


def replica_to_ask(seen: ClusterObservation, label: PrimaryLabel | None) -> MemberObservation | None:
    """The Ready and synced replica with the highest ordinal, without the primary label where there is one; else one
    that at least takes queries; None when none does."""
    takes = [each for each in seen.members if each.wsrep is not None and each.wsrep.ready]
    synced = [each for each in takes if each.ready and is_synced(each.wsrep)]
    primary = label.primary if label is not None else None
    return max(synced or takes, key=lambda each: (primary is None or each.role != primary, each.ordinal), default=None)


def may_be_the_disaster(code: int) -> bool:
    """Whether a query's error on the live cluster says more about its data than about the query."""
    return code in _DAMAGE


def tables_to_check(tables: Sequence[Table], asked: CheckTables) -> list[Table]:
    """Smallest first, so that the time goes to the largest last."""
    if asked == CheckTables.NONE:
        return []
    ordered = sorted(tables, key=lambda each: (each.bytes, each.schema, each.name))
    if asked == CheckTables.ALL:
        return ordered
    innodb = [each for each in ordered if each.engine == "InnoDB"]
    return innodb if len(innodb) <= SMALLEST + LARGEST else innodb[:SMALLEST] + innodb[-LARGEST:]


def table_fault(rows: Sequence[tuple[str, str]]) -> str | None:
    """What CHECK TABLE found, from `Msg_type` and `Msg_text` of its rows; None: nothing. A note, such as of an engine
    that cannot be checked, is no fault."""
    wrong = [
        f"{kind}: {text}"
        for kind, text in rows
        if kind.lower() == "error" or (kind.lower() == "status" and text not in ("OK", "Table is already up to date"))
    ]
    return "; ".join(wrong) or None


def wrong_passwords(report: PasswordReport) -> str | None:
    """Why a Secret's user could not log in after the start, or None."""
    wrong = []
    if report.different:
        wrong.append(f"other passwords than are in use today: {', '.join(report.different)}")
    if report.missing:
        wrong.append(f"no such user: {', '.join(report.missing)}")
    return "; ".join(wrong) or None
