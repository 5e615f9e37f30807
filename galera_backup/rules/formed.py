"""Whether a cluster that was started has formed, and on which data."""

from __future__ import annotations

from galera_backup.models.cluster import ClusterObservation, MemberObservation
from galera_backup.rules.health import problems_of_a_group

RESTARTS = 2
"""Of a server that does not start. One can come from the liveness probe, or from a name that did not resolve yet."""


def started(seen: ClusterObservation, replicas: int, *, alone: bool) -> ClusterObservation:
    """What is judged of a cluster whose first `replicas` were started.

    Somebody may have scaled it up further: those join, unless their names are held (`alone`).
    """
    return seen.model_copy(update={"replicas": replicas, "members": seen.members[:replicas]}) if alone else seen


def not_formed(seen: ClusterObservation, replicas: int) -> tuple[str, ...]:
    """What is missing until the cluster has formed, one sentence each; empty: it has. At least so many replicas."""
    if seen.replicas < replicas:
        return (f"expected StatefulSet {str(seen.cluster)!r} to want {replicas} replicas, it wants {seen.replicas}",)
    return tuple(problems_of_a_group(seen))


def uuid_of(seen: ClusterObservation) -> str | None:
    """wsrep_cluster_state_uuid of the cluster that runs; None: none does, or not in one group."""
    uuids = {each.wsrep.cluster_state_uuid for each in seen.members if each.wsrep is not None and _is_primary(each)}
    return uuids.pop() if len(uuids) == 1 else None


def does_not_start(seen: ClusterObservation) -> str | None:
    """Why the first server, which bootstraps the cluster, will not start on its data; None: it still may."""
    first = next(iter(seen.members), None)
    if first is None or first.restarts < RESTARTS or any(_is_primary(member) for member in seen.members):
        return None
    return (
        f"{first.pod}: expected its server to start on this data, it has ended {first.restarts} times and no member is "
        f"in a primary component"
    )


def takes_writes(seen: ClusterObservation, pod: str | None) -> bool:
    """Whether this member takes writes: Ready, in a primary component of whatever size."""
    member = next((each for each in seen.members if each.pod == pod), None)
    return member is not None and member.ready and _is_primary(member)


def _is_primary(member: MemberObservation) -> bool:
    return member.wsrep is not None and member.wsrep.cluster_status == "Primary"


def all_answer(seen: ClusterObservation) -> bool:
    """Whether the wsrep status of every member is known."""
    return all(member.wsrep is not None for member in seen.members)


def not_restored(seen: ClusterObservation, uuid: str) -> str | None:
    """Why a cluster that has formed does not have this cluster state UUID, which the restore gave; or None."""
    others = sorted(
        f"{member.pod} has {member.wsrep.cluster_state_uuid if member.wsrep else 'no answer'}"
        for member in seen.members
        if member.wsrep is None or member.wsrep.cluster_state_uuid != uuid
    )
    if not others:
        return None
    return (
        f"expected wsrep_cluster_state_uuid {uuid} of the restored data on all members, saw {', '.join(others)}. Look "
        "at the logs of these servers"
    )
