"""The facts of the preflight, read in one activity."""

from __future__ import annotations

from galera_backup.models.common import Facts
from galera_backup.models.server import ServerSeen
from galera_backup.models.shape import ClusterShape


class ClusterFacts(Facts):
    """Kubernetes' side of a cluster, and its servers'."""

    shape: ClusterShape
    servers: tuple[ServerSeen, ...] = ()
    """Of the members that have an address."""
