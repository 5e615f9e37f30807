"""Pure decisions. They get facts that activities fetched and return what to do, or what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from galera_backup.models.cluster import ClusterObservation, MemberObservation, WsrepStatus
from galera_backup.models.common import PrimaryLabel
from galera_backup.models.restore import ClaimReport, ClaimState
from galera_backup.models.runner import CheckReport, ClaimMarker

SYNCED = 4
DONOR_DESYNCED = 2
OTHERS_IN_SYNC = 2
"""Members that must stay in sync beside the one that is backed up: one may fail, and one still can be a donor."""
LOOKS_UNTIL_DEGRADED = 3
"""Looks in a row at too few members in sync; one can miss a member that answers late."""
DESYNC_WINDOW = timedelta(seconds=5)
"""From the checks before `SET GLOBAL wsrep_desync` to the last moment at which the server obeys it.

Shorter than the time after which the attempt of a frozen worker is given up: its heartbeat timeout of 10 s, less the
4 s for which a heartbeat may be due.
"""
SMALL_QUEUE = 20
"""Write-sets; a replica with fewer waiting ones rejoins flow control without stalling the cluster's writers."""
RESTORE_RESERVE = 1.05
"""Space that restored data needs, as a multiple of what it used: redo log and temporary tablespace are made anew."""


def is_synced(wsrep: WsrepStatus | None) -> bool:
    """The member applies and serves, and nobody holds it desynced."""
    return (
        wsrep is not None
        and wsrep.ready
        and wsrep.connected
        and wsrep.cluster_status == "Primary"
        and wsrep.local_state == SYNCED
        and not wsrep.desync
    )


def is_resynced(wsrep: WsrepStatus) -> bool:
    """In sync for good: nobody holds the provider, and no `SET GLOBAL wsrep_desync` is still to land.

    A timed-out ON can take effect after an OFF that returned success, so one good variable proves nothing.
    """
    return is_synced(wsrep) and wsrep.desync_count == 0 and not wsrep.pending_desync


def problems(seen: ClusterObservation) -> tuple[str, ...]:
    """What the sanity check finds wrong (the document's backup phase 1), one sentence each; empty: all is well."""
    found = [problem for member in seen.members for problem in _problems_of(member, seen.replicas)]
    running = [member.wsrep for member in seen.members if member.wsrep is not None]
    for name in ("cluster_state_uuid", "cluster_conf_id"):
        values = sorted({str(getattr(wsrep, name)) for wsrep in running})
        if len(values) > 1:
            found.append(f"expected one wsrep_{name} on all members, saw {', '.join(values)}")
    synced = sum(is_synced(member.wsrep) for member in seen.members)
    if synced < OTHERS_IN_SYNC + 1:
        found.append(
            f"expected at least {OTHERS_IN_SYNC + 1} members in sync, so that {OTHERS_IN_SYNC} remain "
            f"while one is backed up, saw {synced} of {seen.replicas}"
        )
    return tuple(found)


def others_in_sync(seen: ClusterObservation, replica: str) -> int:
    """Members in sync beside this one."""
    return sum(member.pod != replica and is_synced(member.wsrep) for member in seen.members)


def lacking_quorum(seen: ClusterObservation, replica: str, needed: int) -> str | None:
    """Why `replica` must not be out of the cluster's flow now, with the table of what was seen; or None."""
    others = others_in_sync(seen, replica)
    if others >= needed:
        return None
    return (
        f"expected at least {needed} other members in sync, so that one may fail, saw {others}. "
        f"Mend the cluster and start the backup again\n{table(seen)}"
    )


def given_back(seen: ClusterObservation, replica: str, needed: int) -> str:
    """What a backup says that was given up because the cluster needs the replica."""
    return (
        f"the backup of {replica!r} was stopped and the replica put back: expected at least {needed} other members in "
        f"sync, saw {others_in_sync(seen, replica)} for {LOOKS_UNTIL_DEGRADED} looks in a row. Mend the cluster and "
        "start the backup again; with 'give_back_when_degraded' false it would have gone on\n" + table(seen)
    )


def _problems_of(member: MemberObservation, replicas: int) -> Iterable[str]:
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
        ("wsrep_ready", "ON", _on(wsrep.ready)),
        ("wsrep_connected", "ON", _on(wsrep.connected)),
        ("wsrep_cluster_status", "Primary", wsrep.cluster_status),
        ("wsrep_local_state_comment", "Synced", wsrep.local_state_comment),
        ("wsrep_cluster_size", str(replicas), str(wsrep.cluster_size)),
        ("wsrep_desync", "OFF", _on(wsrep.desync)),
    )
    for name, value, saw in expected:
        if saw != value:
            yield f"{member.pod}: expected {name} {value}, saw {saw}"
    if wsrep.desync_count and not wsrep.desync:
        yield (
            f"{member.pod}: expected wsrep_desync_count 0, saw {wsrep.desync_count} "
            "(an SST donor, another backup or FLUSH TABLES WITH READ LOCK)"
        )


def _on(value: bool) -> str:
    return "ON" if value else "OFF"


def not_formed(seen: ClusterObservation, replicas: int) -> tuple[str, ...]:
    """What is missing until the cluster stands again after a restore; empty: all replicas serve in one cluster."""
    if seen.replicas != replicas:
        return (f"expected StatefulSet {str(seen.cluster)!r} to want {replicas} replicas, it wants {seen.replicas}",)
    found = [problem for member in seen.members for problem in _problems_of(member, replicas)]
    uuids = {member.wsrep.cluster_state_uuid for member in seen.members if member.wsrep is not None}
    if len(uuids) > 1:
        found.append(f"expected one wsrep_cluster_state_uuid on all members, saw {', '.join(sorted(uuids))}")
    return tuple(found)


def table(seen: ClusterObservation) -> str:
    """What was seen of each member, as a Markdown table for the UI and for failures."""
    rows = ["| pod | Kubernetes | wsrep | status | size | desync |", "|---|---|---|---|---|---|"]
    for member in seen.members:
        kubernetes = f"{member.phase or 'missing'}, {'Ready' if member.ready else 'Not Ready'}"
        if member.wsrep is None:
            rows.append(f"| {member.pod} | {kubernetes} | unreachable | | | |")
        else:
            wsrep = member.wsrep
            rows.append(
                f"| {member.pod} | {kubernetes} | {wsrep.local_state_comment} | {wsrep.cluster_status} "
                f"| {wsrep.cluster_size} | {_on(wsrep.desync)} |"
            )
    return "\n".join(rows)


def select_replica(seen: ClusterObservation, ordinal: int | None) -> MemberObservation | None:
    """The replica to back up: the named one, else the highest ordinal (as a number); it must be in sync and Ready.

    None: no member qualifies.
    """
    fit = [member for member in seen.members if member.ready and is_synced(member.wsrep)]
    if ordinal is not None:
        fit = [member for member in fit if member.ordinal == ordinal]
    return max(fit, key=lambda member: member.ordinal, default=None)


def heir_of_primary(seen: ClusterObservation, target: str, label: PrimaryLabel) -> MemberObservation | None:
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


def lacking_space(report: CheckReport, data_kb: int, claim: str) -> str | None:
    """Why a data volume is too small for a backup that used `data_kb`, or None. Its old data will be removed."""
    needed = int(data_kb * RESTORE_RESERVE)
    room = report.data_free_kb + report.data_used_kb
    if room >= needed:
        return None
    return f"claim {claim!r}: expected room for {needed} KB, it has {room} KB once its old data is removed"


def lacking_unpack_space(report: CheckReport, data_kb: int, claim: str) -> str | None:
    """Why the backup volume is too small to unpack a backup that used `data_kb`, or None."""
    needed = int(data_kb * RESTORE_RESERVE)
    if report.backup_free_kb >= needed:
        return None
    return f"backup claim {claim!r}: expected {needed} KB free to unpack the backup, it has {report.backup_free_kb} KB"


def claim_state(marker: ClaimMarker | None, restore_id: str) -> ClaimState:
    """What one restore has done to a data claim, from the marker in its data directory."""
    if marker is None or marker.restore_id != restore_id:
        return ClaimState.UNTOUCHED
    return ClaimState.RESTORED if marker.state == "restored" else ClaimState.INCOMPLETE


def may_start(claims: Sequence[ClaimReport]) -> bool:
    """Whether the cluster can start on this data: all old, or all restored.

    A member left on its old data has the same cluster UUID and another history: it must never meet restored ones.
    """
    states = {claim.state for claim in claims}
    return states in ({ClaimState.UNTOUCHED}, {ClaimState.RESTORED})


def describe(claims: Sequence[ClaimReport]) -> str:
    """The state of each claim, in one line."""
    return ", ".join(f"{each.claim} {each.state}" for each in claims)
