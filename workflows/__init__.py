"""Durable sequences only: no I/O, no clients, no environment."""

from __future__ import annotations

from workflows.backup import GaleraBackup
from workflows.catalog import GaleraCatalog
from workflows.janitor import GaleraJanitor
from workflows.lease import GaleraLease
from workflows.restore import GaleraRestore

OPERATIONS = (GaleraBackup, GaleraRestore, GaleraCatalog, GaleraJanitor)
"""Workflows of the main task queue."""
GUARDS = (GaleraLease,)
"""Workflows of the lease's task queue."""
