"""What is wrong with a cluster, which members are in sync, and whether enough of them are."""

from __future__ import annotations

from collections.abc import Iterable

from galera_backup.models.cluster import ClusterObservation, MemberObservation, WsrepStatus
from galera_backup.show import members_table, on_or_off

SYNCED = 4
DONOR_DESYNCED = 2
OTHERS_IN_SYNC = 2
"""Other members that must be in sync during a backup: if one fails, one is left as a donor."""
LOOKS_UNTIL_DEGRADED = 3
"""Consecutive looks with too few members in sync; a single one can miss a member that replies late."""
SMALL_QUEUE = 20
"""Write-sets in the receive queue. With no more than this a replica joins flow control without stalling writers."""


def is_synced(wsrep: WsrepStatus | None) -> bool:
    """Whether the member is Ready for wsrep, in the primary component and Synced, `wsrep_desync` is OFF and `wsrep_on`
    ON: else what clients write there is on no other member."""
    return wsrep is not None and wsrep.on and _follows(wsrep)


def _follows(wsrep: WsrepStatus) -> bool:
    return (
        wsrep.ready
        and wsrep.connected
        and wsrep.cluster_status == "Primary"
        and wsrep.local_state == SYNCED
        and not wsrep.desync
    )


def first_in_sync(seen: ClusterObservation) -> bool:
    """Whether the first replica is; so it is, too, where there is none."""
    return is_synced(seen.members[0].wsrep) if seen.members else True


def is_resynced(wsrep: WsrepStatus) -> bool:
    """Whether the member follows the others, and goes on: no desync is counted, and none is pending.

    An ON whose connection timed out can take effect after an OFF that returned success, so the variable alone proves
    nothing.
    """
    return _follows(wsrep) and wsrep.desync_count == 0 and not wsrep.pending_desync


def health_problems(seen: ClusterObservation) -> tuple[str, ...]:
    """What is wrong with the cluster (MOSK's backup workflow, phase 1), one sentence each; empty: it is healthy."""
    found = problems_of_a_group(seen)
    found += _unlike(seen, "cluster_conf_id")
    synced = sum(is_synced(member.wsrep) for member in seen.members)
    if synced < OTHERS_IN_SYNC + 1 and not is_backed_up_in_service(seen):
        found.append(
            f"expected at least {OTHERS_IN_SYNC + 1} members in sync, so that {OTHERS_IN_SYNC} remain "
            f"while one is backed up, saw {synced} of {seen.replicas}"
        )
    return tuple(found)


def problems_of_a_group(seen: ClusterObservation) -> list[str]:
    """What is wrong with the members of one group, however many others are in it, one sentence each."""
    group = max((member.wsrep.cluster_size for member in seen.members if member.wsrep is not None), default=0)
    size = max(group, seen.replicas)  # an arbitrator, or members elsewhere, may be in it too
    found = [problem for member in seen.members for problem in member_problems(member, size)]
    return [*found, *_unlike(seen, "cluster_state_uuid")]


def _unlike(seen: ClusterObservation, name: str) -> list[str]:
    values = sorted({str(getattr(member.wsrep, name)) for member in seen.members if member.wsrep is not None})
    return [f"expected one wsrep_{name} on all members, saw {', '.join(values)}"] if len(values) > 1 else []


def is_backed_up_in_service(seen: ClusterObservation) -> bool:
    """Whether it has too few replicas to do without one: then the tool reads a server that goes on serving.

    It desyncs that by itself while it blocks DDL, for some tenths of a second where all tables are InnoDB's.
    """
    return 0 < seen.replicas <= OTHERS_IN_SYNC


def others_in_sync(seen: ClusterObservation, replica: str) -> int:
    """How many members other than `replica` are in sync."""
    return sum(member.pod != replica and is_synced(member.wsrep) for member in seen.members)


def lacking_quorum(seen: ClusterObservation, replica: str, needed: int) -> str | None:
    """Why `replica` must not leave flow control now, with the table of members; or None."""
    others = others_in_sync(seen, replica)
    if others >= needed:
        return None
    return (
        f"expected at least {needed} other members in sync, so that one may fail, saw {others}. "
        f"Repair the cluster and start the backup again\n{members_table(seen)}"
    )


def degraded(seen: ClusterObservation, replica: str, needed: int) -> str:
    """The message of a backup that was given up because the cluster needs its replica."""
    return (
        f"the backup of {replica!r} was stopped and the replica resynced: expected at least {needed} other members in "
        f"sync, saw {others_in_sync(seen, replica)} for {LOOKS_UNTIL_DEGRADED} looks in a row. Repair the cluster and "
        "start the backup again; with 'give_back_when_degraded' false it would have gone on\n" + members_table(seen)
    )


def member_problems(member: MemberObservation, size: int) -> Iterable[str]:
    """What is wrong with one member of a group of so many, one sentence each."""
    if not member.exists:
        yield f"{member.pod}: expected a pod, there is none"
        return
    if member.phase != "Running":
        yield f"{member.pod}: expected Kubernetes phase Running, saw {member.phase}"
    elif not member.ready:
        yield f"{member.pod}: expected Kubernetes condition Ready, saw Not Ready"
    wsrep = member.wsrep
    if wsrep is None:
        yield f"{member.pod}: its wsrep status could not be read: {member.error}"
        return
    expected = (
        ("wsrep_ready", "ON", on_or_off(wsrep.ready)),
        ("wsrep_connected", "ON", on_or_off(wsrep.connected)),
        ("wsrep_cluster_status", "Primary", wsrep.cluster_status),
        ("wsrep_local_state_comment", "Synced", wsrep.local_state_comment),
        ("wsrep_cluster_size", str(size), str(wsrep.cluster_size)),
        ("wsrep_desync", "OFF", on_or_off(wsrep.desync)),
        ("wsrep_on", "ON", on_or_off(wsrep.on)),
    )
    for name, value, saw in expected:
        if saw != value:
            yield f"{member.pod}: expected {name} {value}, saw {saw}"
    if wsrep.desync_count and not wsrep.desync:
        yield (
            f"{member.pod}: expected wsrep_desync_count 0, saw {wsrep.desync_count} "
            "(an SST donor, another backup or FLUSH TABLES WITH READ LOCK)"
        )
