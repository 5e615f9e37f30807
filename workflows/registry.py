"""The workflow classes of each worker."""

from __future__ import annotations

from workflows.backup import GaleraBackup
from workflows.catalog import GaleraCatalog
from workflows.check import GaleraCheck
from workflows.janitor import GaleraJanitor
from workflows.lease.lease import GaleraLease
from workflows.restore.restore import GaleraRestore
from workflows.rollback import GaleraRollback
from workflows.tidy import GaleraTidy

OPERATIONS = (GaleraBackup, GaleraRestore, GaleraRollback, GaleraTidy, GaleraCatalog, GaleraCheck, GaleraJanitor)
"""Workflows of the main task queue."""
GUARDS = (GaleraLease,)
"""Workflows of the lease's task queue."""
