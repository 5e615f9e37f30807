"""Facts of a cluster, as activities fetch them and `galera_backup.rules` judges them."""

from __future__ import annotations

from galera_backup.models.common import ClusterRef, Facts, Model
from galera_backup.models.layout import Layout
from galera_backup.models.preflight import Finding
from galera_backup.models.shape import PodShape


class WsrepStatus(Facts):
    """One member's own view of the cluster, from its status variables."""

    ready: bool
    connected: bool
    cluster_status: str
    """Primary, or non-Primary, or Disconnected."""
    local_state: int
    """1 Joining, 2 Donor/Desynced, 3 Joined, 4 Synced."""
    local_state_comment: str
    cluster_size: int
    cluster_state_uuid: str
    cluster_conf_id: int
    desync: bool
    desync_count: int
    """Ours, plus each SST donation, FTWRL or BACKUP STAGE that holds the provider."""
    recv_queue: int
    """Write-sets that wait to be applied."""
    last_committed: int = 0
    on: bool = True
    """Global `wsrep_on`: what new connections write is replicated."""
    pending_desync: bool
    """A `SET GLOBAL wsrep_desync` is still under way in some connection."""


class MemberObservation(Model):
    """One pod of the StatefulSet, as Kubernetes and its server show it."""

    pod: str
    ordinal: int
    exists: bool
    phase: str = ""
    """Kubernetes phase of the pod: Running, Pending, ..."""
    ready: bool = False
    restarts: int = 0
    """How often the server's container was started again."""
    node: str = ""
    role: str | None = None
    """Value of the cluster's primary label on the pod."""
    wsrep: WsrepStatus | None = None
    error: str | None = None
    """Why the server could not be asked."""


class ClaimObservation(Model):
    """One data claim of the StatefulSet."""

    ordinal: int
    claim: str
    uid: str
    layout: Layout = Layout()
    """Where the data directory is on its volume."""


class ClusterObservation(Facts):
    """The StatefulSet, its pods and its data claims."""

    cluster: ClusterRef
    replicas: int
    """`spec.replicas`."""
    image: str = ""
    """Of the server's container, in the template; empty: not known."""
    members: tuple[MemberObservation, ...]
    """By ordinal."""
    claims: tuple[ClaimObservation, ...]
    """By ordinal."""
    in_turn: bool = False
    """No two pods can use the backup claim at once."""
    server_volumes: tuple[str, ...] = ()
    """Volumes of the servers' pods whose files the tools need, as the preflight has found."""
    planned: PodShape | None = None
    """A pod that the template makes, as the preflight has found."""
    tls: tuple[str, ...] = ()
    """Pods whose servers offer TLS, as the preflight has found."""
    findings: tuple[Finding, ...] = ()
    """All that the preflight has found."""
    primary_before: str | None = None
    """Pod that carried the primary label before a restore stopped the cluster, and did not end."""
    unfinished: int | None = None
    """Size of the cluster that an operation has started or stopped in part, and did not end; None: there is no such."""

    @property
    def first_ordinal(self) -> int:
        """Of its replicas, the one that forms the cluster."""
        return self.claims[0].ordinal if self.claims else 0

    def claim(self, ordinal: int) -> ClaimObservation:
        """The data claim of a replica."""
        return self.claims[ordinal - self.first_ordinal]

    def member(self, ordinal: int) -> MemberObservation:
        """A replica."""
        return self.members[ordinal - self.first_ordinal]
