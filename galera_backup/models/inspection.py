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
    no_account: str = ""
    """Why no server could be asked: the Secret cannot be read."""

    def without_claim(self, name: str) -> ClusterFacts:
        """The same, but for all that is known of a claim that nobody needs."""
        claims = tuple(each for each in self.shape.claims if each.name != name)
        missing = tuple(each for each in self.shape.missing_claims if each != name)
        shape = self.shape.model_copy(update={"claims": claims, "missing_claims": missing, "backup_users": ()})
        return self.model_copy(update={"shape": shape})
