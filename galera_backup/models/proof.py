"""The proof of a restored cluster, which comes before its previous data is removed: request and result."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from galera_backup.models.common import Model, PositiveDuration, SecretRef
from galera_backup.models.passwords import PasswordReport
from galera_backup.models.site import Site


class SqlCheck(Model):
    """A query that returns one row with one column, and the value that it must return on the restored cluster."""

    query: Annotated[str, Field(min_length=1, max_length=2000)]
    expected: Annotated[str, Field(max_length=1000, coerce_numbers_to_str=True)] | None
    """As the server writes it, as text; None: NULL."""


class CheckTables(StrEnum):
    """Which tables CHECK TABLE looks at after the start."""

    NONE = "none"
    SAMPLE = "sample"
    """The smallest and the largest InnoDB tables that the account sees, 20 at most."""
    ALL = "all"
    """Every table that the account sees."""


class ProofFields(Model):
    """How a staged restore is proved: the part of its request."""

    checks: Annotated[tuple[SqlCheck, ...], Field(max_length=50)] = ()
    check_credentials: SecretRef | None = None
    """As whom checks and CHECK TABLE run: that needs SELECT; None: as `credentials`."""
    check_timeout: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(hours=1))] = timedelta(minutes=1)
    """For each query."""
    check_tables: CheckTables = CheckTables.SAMPLE
    check_tables_timeout: PositiveDuration = timedelta(minutes=10)
    """For all tables together."""
    accounts: Annotated[tuple[SecretRef, ...], Field(max_length=50)] = ()
    """Other Secrets whose passwords the backup must have, beside `credentials` and `check_credentials`."""
    reset_passwords_from_secrets: bool = False
    """Where a password differs, set it in the staged data, instead of failing before the stop."""


class ProofTask(Model):
    """What to ask the servers of a cluster."""

    site: Site
    check_credentials: SecretRef
    checks: tuple[SqlCheck, ...]
    check_timeout: timedelta
    check_tables: CheckTables
    check_tables_timeout: timedelta
    secrets: tuple[SecretRef, ...]


class TryReport(Model):
    """The checks were tried on the live cluster."""

    replica: str | None
    """Where; None: no server could be asked."""
    passed_over: tuple[str, ...] = ()
    """Errors that damaged live data explains."""


class CheckSeen(Model):
    """A check that held."""

    query: str
    seen: str | None


class ChecksReport(Model):
    """All checks held."""

    replica: str
    checks: tuple[CheckSeen, ...]


class TablesReport(Model):
    """Tables that CHECK TABLE found whole."""

    asked: CheckTables
    replica: str | None = None
    checked: int = 0
    seen: int = 0
    """How many the account sees."""
    note: str | None = None
    """Why not more were checked."""


class Proof(Model):
    """What was proved of the restored cluster: beside this, every replica let `credentials` in, and is in one cluster
    that has the `wsrep_cluster_state_uuid` which this restore gave its data."""

    checks: tuple[CheckSeen, ...]
    tables: TablesReport
    passwords: PasswordReport


@dataclass(frozen=True)
class Table:
    """A base table that an account sees."""

    schema: str
    name: str
    engine: str
    bytes: int

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class SeenTables:
    """What an account may look at."""

    tables: tuple[Table, ...]
    may_select: bool
    """It sees a table, or may read all: so that no table means that there is none."""
