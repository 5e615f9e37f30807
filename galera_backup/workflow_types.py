"""The workflow types: their names, which operators type, with what each takes and returns."""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType
from typing import Generic, TypeVar

from galera_backup.models.backup import BackupRequest, BackupResult
from galera_backup.models.catalog import Catalog, CatalogRequest
from galera_backup.models.check import CheckRequest, CheckResult
from galera_backup.models.janitor import JanitorRequest, JanitorResult
from galera_backup.models.lease import LeaseRequest, LeaseResult
from galera_backup.models.restore import RestoreRequest, RestoreResult, RollbackRequest, RollbackResult, TidyRequest

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class WorkflowType(Generic[RequestT, ResultT]):
    """One workflow type. `word` stands for it in workflow ids, in messages, and in a lease that it holds."""

    name: str
    word: str
    request: type[RequestT]
    result: type[ResultT]

    def __str__(self) -> str:
        return self.name


BACKUP = WorkflowType("GaleraBackup", "backup", BackupRequest, BackupResult)
RESTORE = WorkflowType("GaleraRestore", "restore", RestoreRequest, RestoreResult)
ROLLBACK = WorkflowType("GaleraRollback", "rollback", RollbackRequest, RollbackResult)
TIDY = WorkflowType("GaleraTidy", "tidy", TidyRequest, NoneType)
JANITOR = WorkflowType("GaleraJanitor", "janitor", JanitorRequest, JanitorResult)
CATALOG = WorkflowType("GaleraCatalog", "catalog", CatalogRequest, Catalog)
CHECK = WorkflowType("GaleraCheck", "check", CheckRequest, CheckResult)
LEASE = WorkflowType("GaleraLease", "lease", LeaseRequest, LeaseResult)

OPERATIONS = (BACKUP, RESTORE, ROLLBACK, TIDY, JANITOR)
"""Those that hold a cluster."""
