"""The janitor's verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from galera_backup.models.cluster import WsrepStatus
from galera_backup.models.janitor import Finding, MarkSeen, MemberSeen, RunnerSeen, Survey, Verdict
from galera_backup.models.mark import Mark
from galera_backup.names import LEASE_ANNOTATION
from galera_backup.rules.claims import is_stopped_in_part, serving_in_part
from galera_backup.rules.health import DONOR_DESYNCED, is_synced
from galera_backup.show import on_or_off

JANITOR_MENDS = frozenset({Verdict.ABANDONED, Verdict.STALE_MARK})
JANITOR_IS_CONTENT = frozenset({Verdict.IN_SYNC, Verdict.HELD})
TRY_AGAIN_AFTER = timedelta(hours=1)
"""A mixture of data stays one; but a volume that could not be read counts as one too, and may be readable later."""


def triage(seen: Survey, now: datetime) -> tuple[Finding, ...]:
    """What the janitor finds: runner pods without a lease, the StatefulSet, every member; in the order of mending."""
    marks = [seen.mark, *(member.mark for member in seen.members)]
    elsewhere = next((mark for mark in marks if mark is not None and mark.elsewhere), None)
    runners = [
        Finding(kind="runner", name=runner.pod, verdict=verdict, text=text)
        for runner in seen.runners
        for verdict, text in (_judge_runner(runner, elsewhere, _undone_by(runner, marks)),)
    ]
    members = [
        Finding(kind="replica", name=member.member.pod, verdict=verdict, text=text)
        for member in seen.members
        for verdict, text in (_unreadable() if member.unreadable else _judge_member(member),)
    ]
    return (*runners, *_judge_statefulset(seen, now), *members)


def _undone_by(runner: RunnerSeen, marks: Sequence[MarkSeen | None]) -> MarkSeen | None:
    """The mark of the runner's lease, whose owner undoes what that did: with this pod, as it may be."""
    owned = (mark for mark in marks if mark is not None and mark.owner_open)
    return next((mark for mark in owned if mark.mark.lease == runner.lease), None)


def _judge_runner(seen: RunnerSeen, elsewhere: MarkSeen | None, undone_by: MarkSeen | None) -> tuple[Verdict, str]:
    if seen.lease_open:
        return Verdict.HELD, f"works under lease run {seen.lease.run_id}, which is open"
    if (mark := elsewhere or undone_by) is not None:
        return _in_good_hands(mark)
    return Verdict.ABANDONED, f"works under lease run {seen.lease.run_id}, which is not open"


def _judge_member(seen: MemberSeen) -> tuple[Verdict, str]:
    mark, wsrep = seen.mark, seen.member.wsrep
    if mark is not None and (mark.lease_open or mark.owner_open or mark.elsewhere):
        return _in_good_hands(mark)
    if mark is not None and mark.mark.is_newer:
        return _newer(mark.mark)
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
        f"{wsrep.local_state_comment}, {wsrep.cluster_status}, wsrep_ready {on_or_off(wsrep.ready)}, for another "
        "reason than wsrep_desync. Look at its log"
    )


def _judge_desync(seen: MemberSeen) -> tuple[Verdict, str]:
    if seen.mark is not None:
        mark = seen.mark.mark
        since = f" since {mark.since:%Y-%m-%d %H:%M:%S}Z" if mark.since else ""
        return Verdict.ABANDONED, f"desynced by {mark.owner!r}{since}, which is closed, as is its lease"
    return Verdict.FOREIGN, (
        "wsrep_desync=ON without our mark: galera-backup did not set it. When it is not needed any more, run "
        "SET GLOBAL wsrep_desync=OFF on the server"
    )


def _judge_statefulset(seen: Survey, now: datetime) -> Iterable[Finding]:
    verdict, text = _unreadable() if seen.unreadable else _statefulset_verdict(seen, now)
    if verdict is not None:
        yield Finding(kind="statefulset", name=seen.cluster.statefulset, verdict=verdict, text=text)


def _statefulset_verdict(seen: Survey, now: datetime) -> tuple[Verdict | None, str]:
    if seen.mark is None:
        return _unmarked(seen)
    if seen.mark.lease_open or seen.mark.owner_open or seen.mark.elsewhere:
        return _in_good_hands(seen.mark)
    mark, recipe = seen.mark.mark, seen.mark.mark.start
    if recipe is None:
        return _newer(mark) if mark.is_newer else _without_recipe(mark)
    in_part = serving_in_part(recipe, seen.replicas, seen.held)
    stopping = is_stopped_in_part(recipe, seen.replicas)
    if seen.replicas and not in_part and not stopping and not seen.held:
        return _started_verdict(seen, f"carries the mark of {mark.owner!r}, which is closed, as is its lease")
    if mark.tried_at is not None and now < mark.tried_at + TRY_AGAIN_AFTER:
        return Verdict.STAYS_STOPPED, f"at {mark.tried_at:%Y-%m-%d %H:%M:%S}Z: {mark.tried}"
    done = "scaled to 0"
    if in_part:
        done = f"started with {in_part} of {recipe.replicas} replicas"
    elif stopping:
        done = f"stopped as far as {seen.replicas} of {recipe.stopping_from} replicas"
    return Verdict.ABANDONED, f"{done} by {mark.owner!r}, which is closed, as is its lease"


def _started_verdict(seen: Survey, text: str) -> tuple[Verdict, str]:
    if all(each.member.ready and is_synced(each.member.wsrep) for each in seen.members):
        return Verdict.STALE_MARK, text
    return Verdict.NOT_IN_SYNC, (
        f"{text}. It was started, but not all replicas are Ready and in sync yet. When they are, the next run puts the "
        "primary label back and removes the mark"
    )


def _unmarked(seen: Survey) -> tuple[Verdict | None, str]:
    if seen.held:
        return Verdict.STAYS_STOPPED, (
            f"pods of ours hold the names of {', '.join(seen.held)}, and no mark says what became of their data: the "
            "StatefulSet was created again, or somebody removed the mark. Start a restore: it redoes every claim, and "
            "then lets the names go. Where all data is known to be whole, an annotation of these pods says how to let "
            "a name go by hand"
        )
    stopped = seen.replicas == 0
    return (Verdict.FOREIGN if stopped else None), "scaled to 0 without our mark. Scale it up when it should run"


def _without_recipe(mark: Mark) -> tuple[Verdict, str]:
    return Verdict.STAYS_STOPPED, (
        f"carries the mark of {mark.owner!r}, which does not say how to start it. At 0 replicas, start the restore "
        f"again with 'replicas' set to the size of the cluster; else remove the annotation {LEASE_ANNOTATION!r}"
    )


def _newer(mark: Mark) -> tuple[Verdict, str]:
    return Verdict.NEWER, (
        f"carries the mark of {mark.owner!r}, which is closed, as is its lease. A newer version of galera-backup wrote "
        "its recipe, so this version does not touch it. Run the janitor of the newer version"
    )


def _unreadable() -> tuple[Verdict, str]:
    return Verdict.UNREADABLE, (
        f"its annotation {LEASE_ANNOTATION!r} cannot be read: a newer version of galera-backup wrote it, or it is "
        "damaged. It may say how to undo what an operation did, so nothing is touched, and no backup or restore begins "
        "here. Run the janitor of the newer version; or read the annotation, undo by hand what it says, and remove it"
    )


def _in_good_hands(mark: MarkSeen) -> tuple[Verdict, str]:
    if mark.elsewhere:
        return Verdict.FOREIGN, (
            f"{mark.mark.owner!r} changed it from another Temporal namespace, {mark.mark.namespace!r}. Run the janitor "
            "there"
        )
    if mark.lease_open:
        return Verdict.HELD, f"held by {mark.mark.owner!r}, whose lease is open"
    return Verdict.OWNED, (
        f"the lease is closed, but {mark.mark.owner!r} is open and undoes what the lease did. If it hangs, terminate "
        "it; then the next run of the janitor undoes that"
    )
