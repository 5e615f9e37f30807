"""Pure decisions. They get facts that activities fetched and return what to do, or what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from galera_backup.models.cluster import ClusterObservation, MemberObservation, WsrepStatus
from galera_backup.models.common import PrimaryLabel
from galera_backup.models.janitor import Finding, MarkSeen, MemberSeen, RunnerSeen, Survey, Verdict
from galera_backup.models.jobs import CheckReport
from galera_backup.models.lease import StopOrder
from galera_backup.models.restore import ClaimReport, ClaimState, Strategy
from galera_backup.models.volumes import SwapState
from galera_backup.names import LEASE_ANNOTATION
from galera_backup.runner.protocol import STAGING_RESERVE

SYNCED = 4
DONOR_DESYNCED = 2
OTHERS_IN_SYNC = 2
"""Members that must stay in sync beside the one that is backed up: one may fail, and one still can be a donor."""
LOOKS_UNTIL_DEGRADED = 3
"""Looks in a row at too few members in sync; one can miss a member that answers late."""
STOP_AND_START_SECONDS = 10
COPIED_PER_SECOND, UNPACKINGS = 500e6, 2
"""Of a restore: bytes, and what unpacking and preparing takes in copies. See docs/benchmarks.md."""
RESTARTS = 2
"""Of a server that will not start: once may be the kubelet's liveness probe, or an address that was not known yet."""
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


def changed_since(planned: ClusterObservation, seen: ClusterObservation) -> str | None:
    """What of a cluster is not as a restore has planned with, or None."""
    if seen.replicas != planned.replicas:
        return f"expected {planned.replicas} replicas of {str(seen.cluster)!r}, saw {seen.replicas}"
    claims = {each.claim: each.uid for each in planned.claims}
    others = sorted(each.claim for each in seen.claims if claims.get(each.claim) != each.uid)
    if others or len(claims) != len(seen.claims):
        return f"expected the data claims of {str(seen.cluster)!r} to be the same, saw others: {', '.join(others)}"
    return None


def expected_outage(strategy: Strategy, data_bytes: int, replicas: int) -> float:
    """Seconds, as a rough guess."""
    if strategy == Strategy.STAGED:
        return STOP_AND_START_SECONDS
    copies = 1 if strategy == Strategy.ROLLING else UNPACKINGS + replicas
    return STOP_AND_START_SECONDS + data_bytes * copies / COPIED_PER_SECOND


def kept(order: StopOrder, claims: Sequence[ClaimReport]) -> str | None:
    """The restore whose old data stays on the volumes when the cluster was started on `claims`, or None."""
    return order.restore_id if (order.keep_previous_for or order.undoes) and are_restored(claims) else None


def are_restored(claims: Sequence[ClaimReport]) -> bool:
    """Whether all of them hold the backup."""
    return all(claim.state == ClaimState.RESTORED for claim in claims)


def does_not_start(seen: ClusterObservation) -> str | None:
    """Why the first server, from which the others start, will not come up on its data; None: it still may."""
    first = next((member for member in seen.members if member.ordinal == 0), None)
    if first is None or first.restarts < RESTARTS or any(_is_primary(member) for member in seen.members):
        return None
    return (
        f"{first.pod}: expected its server to start on this data, it has ended {first.restarts} times and no member is "
        f"in a primary component"
    )


def serves(seen: ClusterObservation, pod: str | None) -> bool:
    """Whether a member takes writes, however many others there are."""
    member = next((each for each in seen.members if each.pod == pod), None)
    return member is not None and member.ready and _is_primary(member)


def _is_primary(member: MemberObservation) -> bool:
    return member.wsrep is not None and member.wsrep.cluster_status == "Primary"


def all_answer(seen: ClusterObservation) -> bool:
    """Whether the server of every member could be asked."""
    return all(member.wsrep is not None for member in seen.members)


def not_restored(seen: ClusterObservation, uuid: str) -> str | None:
    """Why a cluster that has formed is not the one with this uuid, of the backup or of its clone; or None."""
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


def lacking_staging_space(report: CheckReport, data_kb: int, claim: str) -> str | None:
    """Why a second copy does not fit on a data volume, or None. Its replica goes on serving, and needs room too."""
    needed = int(data_kb * RESTORE_RESERVE + report.data_total_kb * STAGING_RESERVE)
    free = report.data_free_kb + report.copies_kb
    if free >= needed:
        return None
    return (
        f"claim {claim!r}: expected {needed} KB free for a second copy and {STAGING_RESERVE:.0%} of the volume for the "
        f"live one, it has {free} KB"
    )


def lacking_unpack_space(report: CheckReport, data_kb: int, claim: str) -> str | None:
    """Why the backup volume is too small to unpack a backup that used `data_kb`, or None."""
    needed = int(data_kb * RESTORE_RESERVE)
    if report.backup_free_kb >= needed:
        return None
    return f"backup claim {claim!r}: expected {needed} KB free to unpack the backup, it has {report.backup_free_kb} KB"


_NOT_SWAPPED = (SwapState.STAGING, SwapState.STAGED, SwapState.RETURNED)


def claim_state(seen: CheckReport, restore_id: str) -> ClaimState:
    """What one restore has done to a data claim, from its journal on the volume or the marker in the data directory."""
    if seen.journal is not None and seen.journal.restore_id == restore_id:
        if seen.journal.state in _NOT_SWAPPED:
            return ClaimState.UNTOUCHED
        return ClaimState.RESTORED if seen.journal.state == SwapState.SWAPPED else ClaimState.INCOMPLETE
    if seen.marker is None or seen.marker.restore_id != restore_id:
        return ClaimState.UNTOUCHED
    return ClaimState.RESTORED if seen.marker.state == "restored" else ClaimState.INCOMPLETE


def may_start(claims: Sequence[ClaimReport]) -> bool:
    """Whether the cluster can start on this data: all old, or all restored.

    A member left on its old data has the same cluster UUID and another history: it must never meet restored ones.
    """
    states = {claim.state for claim in claims}
    return states in ({ClaimState.UNTOUCHED}, {ClaimState.RESTORED})


def serves_meanwhile(strategy: Strategy, ordinal: int) -> bool:
    """Whether the database is up while this claim is restored."""
    return strategy == Strategy.ROLLING and ordinal > 0


def replicas_on(claims: Sequence[ClaimReport], order: StopOrder) -> int:
    """Size of a cluster that starts on these claims, which may start."""
    return order.replicas if claims[0].state == ClaimState.RESTORED else order.replicas_before


def is_started_in_part(order: StopOrder, replicas: int) -> bool:
    """Whether a rolling restore has started its first replica, and not yet the others: `replicas` is what runs."""
    return order.strategy == Strategy.ROLLING and 0 < replicas < order.replicas


def must_be_finished(claims: Sequence[ClaimReport], serving: int = 0) -> bool:
    """Whether the only way to a cluster that can start is to restore the claims that are left.

    Not when a volume could not be read: what is on it may still be the old data, and whole.
    `serving`: so many replicas run already; one on old data must not meet restored ones.
    """
    states = {claim.state for claim in claims}
    fits = {claim.state for claim in claims[:serving]} <= {ClaimState.RESTORED}
    return fits and not may_start(claims) and ClaimState.UNKNOWN not in states


def describe(claims: Sequence[ClaimReport]) -> str:
    """The state of each claim, in one line."""
    return ", ".join(f"{each.claim} {each.state}" for each in claims)


# --- the janitor


JANITOR_MENDS = frozenset({Verdict.ABANDONED, Verdict.STALE_MARK})
JANITOR_IS_CONTENT = frozenset({Verdict.IN_SYNC, Verdict.HELD})
TRY_AGAIN_AFTER = timedelta(hours=1)
"""A mixture of data does not mend itself; but a volume that could not be read counts as one, and may be readable."""


def triage(seen: Survey, now: datetime) -> tuple[Finding, ...]:
    """What the janitor finds: runner pods without a lease, the StatefulSet, every member; in the order of mending."""
    marks = [seen.mark, *(member.mark for member in seen.members)]
    elsewhere = next((mark for mark in marks if mark is not None and mark.elsewhere), None)
    runners = [
        Finding(kind="runner", name=runner.pod, verdict=verdict, text=text)
        for runner in seen.runners
        for verdict, text in (_judge_runner(runner, elsewhere),)
    ]
    members = [
        Finding(kind="replica", name=member.member.pod, verdict=verdict, text=text)
        for member in seen.members
        for verdict, text in (_judge_member(member),)
    ]
    return (*runners, *_judge_statefulset(seen, now), *members)


def _judge_runner(seen: RunnerSeen, elsewhere: MarkSeen | None) -> tuple[Verdict, str]:
    if seen.lease_open:
        return Verdict.HELD, f"works under lease run {seen.lease.run_id}, which is open"
    if elsewhere is not None:
        return _in_good_hands(elsewhere)
    return Verdict.ABANDONED, f"works under lease run {seen.lease.run_id}, which is not open"


def _judge_member(seen: MemberSeen) -> tuple[Verdict, str]:
    mark, wsrep = seen.mark, seen.member.wsrep
    if mark is not None and (mark.lease_open or mark.owner_open or mark.elsewhere):
        return _in_good_hands(mark)
    if not seen.member.exists:
        return Verdict.UNREACHABLE, "there is no such pod. Look at the events of the StatefulSet"
    if wsrep is None:
        return Verdict.UNREACHABLE, f"its server could not be asked: {seen.member.error}"
    if wsrep.desync or wsrep.pending_desync:
        return _judge_desync(seen)
    return _judge_not_desynced(seen, wsrep)


def _judge_not_desynced(seen: MemberSeen, wsrep: WsrepStatus) -> tuple[Verdict, str]:
    mark = seen.mark
    if wsrep.desync_count or (wsrep.local_state == DONOR_DESYNCED and mark is None):
        return Verdict.DONOR, (
            f"{wsrep.local_state_comment} with wsrep_desync=OFF and wsrep_desync_count {wsrep.desync_count}: an SST "
            "donor, another backup or FLUSH TABLES WITH READ LOCK. It ends by itself"
        )
    if mark is not None and (is_synced(wsrep) or wsrep.local_state == DONOR_DESYNCED):
        return Verdict.STALE_MARK, f"carries the mark of {mark.mark.owner!r}, which is closed, as is its lease"
    if is_synced(wsrep):
        return Verdict.IN_SYNC, "Synced" if seen.member.ready else "Synced, but Not Ready in Kubernetes"
    return Verdict.NOT_IN_SYNC, (
        f"{wsrep.local_state_comment}, {wsrep.cluster_status}, wsrep_ready {_on(wsrep.ready)}, for another reason than "
        "wsrep_desync. Look at its log"
    )


def _judge_desync(seen: MemberSeen) -> tuple[Verdict, str]:
    if seen.mark is not None:
        mark = seen.mark.mark
        since = f" since {mark.since:%Y-%m-%d %H:%M:%S}Z" if mark.since else ""
        return Verdict.ABANDONED, f"desynced by {mark.owner!r}{since}, which is closed, as is its lease"
    unreadable = f", and its annotation {LEASE_ANNOTATION!r} cannot be read" if seen.unreadable else ""
    return Verdict.FOREIGN, (
        f"wsrep_desync=ON without our mark{unreadable}: somebody else desynced it. When nobody needs that any more, "
        "run SET GLOBAL wsrep_desync=OFF on it"
    )


def _judge_statefulset(seen: Survey, now: datetime) -> Iterable[Finding]:
    verdict, text = _statefulset_verdict(seen, now)
    if verdict is not None:
        yield Finding(kind="statefulset", name=seen.cluster.statefulset, verdict=verdict, text=text)


def _statefulset_verdict(seen: Survey, now: datetime) -> tuple[Verdict | None, str]:
    if seen.mark is None:
        unreadable = f", and its annotation {LEASE_ANNOTATION!r} cannot be read" if seen.unreadable else ""
        stopped = seen.replicas == 0
        return (Verdict.FOREIGN if stopped else None), f"scaled to 0 without our mark{unreadable}: by somebody else"
    if seen.mark.lease_open or seen.mark.owner_open or seen.mark.elsewhere:
        return _in_good_hands(seen.mark)
    mark = seen.mark.mark
    if mark.order is None:
        return Verdict.STAYS_STOPPED, (
            f"carries the mark of {mark.owner!r}, which does not say how to start it (written by an older version). At "
            f"0 replicas, start the restore again with 'replicas': {mark.replicas_before}; else remove the annotation "
            f"{LEASE_ANNOTATION!r}"
        )
    in_part = is_started_in_part(mark.order, seen.replicas)
    if seen.replicas and not in_part:
        return _started_verdict(seen, f"carries the mark of {mark.owner!r}, which is closed, as is its lease")
    if mark.tried_at is not None and now < mark.tried_at + TRY_AGAIN_AFTER:
        return Verdict.STAYS_STOPPED, f"at {mark.tried_at:%Y-%m-%d %H:%M:%S}Z: {mark.tried}"
    done = f"started with {seen.replicas} of {mark.order.replicas} replicas" if in_part else "scaled to 0"
    return Verdict.ABANDONED, f"{done} by {mark.owner!r}, which is closed, as is its lease"


def _started_verdict(seen: Survey, text: str) -> tuple[Verdict, str]:
    if all(each.member.ready and is_synced(each.member.wsrep) for each in seen.members):
        return Verdict.STALE_MARK, text
    return Verdict.NOT_IN_SYNC, (
        f"{text}. It was started, and is not whole yet: when all replicas are Ready and in sync, the next run puts the "
        "primary label back and removes the mark"
    )


def _in_good_hands(mark: MarkSeen) -> tuple[Verdict, str]:
    if mark.elsewhere:
        return Verdict.FOREIGN, (
            f"the work of {mark.mark.owner!r} in the Temporal namespace {mark.mark.namespace!r}, which is another one. "
            "Run the janitor there"
        )
    if mark.lease_open:
        return Verdict.HELD, f"held by {mark.mark.owner!r}, whose lease is open"
    return Verdict.OWNED, (
        f"the lease is closed, but {mark.mark.owner!r} is open, and undoes what its lease did. If it hangs, terminate "
        "it: then the janitor does"
    )


def findings_table(found: Sequence[Finding]) -> str:
    """What the janitor found, as a Markdown table for the UI."""
    rows = ["| object | verdict | |", "|---|---|---|"]
    return "\n".join([*rows, *(f"| {each.name} | {each.verdict} | {each.text} |" for each in found)])
