"""A clone: one cluster, restored from the backup of another one; and what is seen of both to keep them apart."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from galera_backup.models.common import ClusterRef, Facts, Model
from galera_backup.models.site import Site

NO_UUID = "00000000-0000-0000-0000-000000000000"
"""wsrep_cluster_state_uuid of a server that has not joined yet, or lost what it had."""
ClusterUuid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class Clone(Model):
    """Whose backup is restored, and the identity that the restored cluster gets instead of the backup's."""

    source: ClusterRef
    uuid: ClusterUuid
    """wsrep_cluster_state_uuid, the same on all data volumes of the clone."""


class GaleraGroup(Facts):
    """The group that a member is in, as its server reports it, and how it finds that group."""

    address: str
    """wsrep_cluster_address."""
    incoming: tuple[str, ...]
    """Hosts of wsrep_incoming_addresses; members without a known address are left out."""
    state_uuid: str
    size: int


class GroupMember(Model):
    """One pod of a StatefulSet, and its server's view."""

    pod: str
    ip: str
    ips: tuple[str, ...] = ()
    """All addresses of the pod: of a dual stack it has two."""
    group: GaleraGroup | None = None
    error: str | None = None
    """Why the server could not be asked."""


class Side(Model):
    """One of the two clusters."""

    cluster: ClusterRef
    members: tuple[GroupMember, ...] = ()
    services: tuple[str, ...] = ()
    """Services by whose names its members can be found."""
    unseen: str | None = None
    """Why it could not be looked at: it is not in this Kubernetes cluster, or the worker may not read it."""


class Sides(Model):
    """Both clusters, looked at in one activity."""

    target: Side
    source: Side
    named: tuple[str, ...] = ()
    """Hosts of the source in the settings of the target's container."""


class LookAtSides(Model):
    """Which two clusters to look at."""

    site: Site
    """Of the target; the source is asked as the same account. Its container and port are found."""
    source: ClusterRef
