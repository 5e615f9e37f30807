"""Which replica is backed up, and which one carries the primary label."""

from __future__ import annotations

from galera_backup.models.cluster import ClusterObservation, MemberObservation
from galera_backup.models.common import PrimaryLabel
from galera_backup.rules.health import is_synced


def select_replica(
    seen: ClusterObservation, ordinal: int | None, avoided: str | None = None
) -> MemberObservation | None:
    """The replica to back up: the one with `ordinal`, else the highest (as a number); it must be in sync and Ready.

    `avoided`: the pod that is taken only when there is no other. None: there is no such member.
    """
    fit = _serving(seen)
    if ordinal is not None:
        fit = [member for member in fit if member.ordinal == ordinal]
    return max(fit, key=lambda member: (member.pod != avoided, member.ordinal), default=None)


def serves_alone(seen: ClusterObservation, pod: str) -> bool:
    """Whether clients would have nobody without it: no other replica is in sync and Ready."""
    return all(member.pod == pod for member in _serving(seen))


def _serving(seen: ClusterObservation) -> list[MemberObservation]:
    return [member for member in seen.members if member.ready and is_synced(member.wsrep)]


def successor_of_primary(seen: ClusterObservation, target: str, label: PrimaryLabel) -> MemberObservation | None:
    """The member that should carry the primary label while `target` is backed up: the lowest ordinal in sync."""
    fit = [
        member
        for member in seen.members
        if member.pod != target and member.ready and is_synced(member.wsrep) and member.role != label.backup
    ]
    return min(fit, key=lambda member: member.ordinal, default=None)


def primary_pod(seen: ClusterObservation, label: PrimaryLabel | None) -> str | None:
    """The pod that carries the primary label, if any."""
    if label is None:
        return None
    return next((member.pod for member in seen.members if member.role == label.primary), None)
