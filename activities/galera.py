"""Activities on the members of a cluster: look at them, take one out of the cluster's flow, bring it back."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from temporalio import activity

from activities._fence import Fence
from activities._heartbeat import in_thread, in_threads, pause
from activities._observer import Observer
from activities._quorum import Quorum
from galera_backup import timing
from galera_backup.errors import ClusterNotFormed, DatabaseUnavailable, DesyncFailed, GaleraBackupError, NotYet
from galera_backup.kube.facts import PodFacts
from galera_backup.kube.gateway import KubeGateway
from galera_backup.marks import is_held_for, mark_of
from galera_backup.models.activities import (
    DesyncReport,
    FormTask,
    Observe,
    ReplicaTask,
    ResyncReport,
)
from galera_backup.models.cluster import ClusterObservation, WsrepStatus
from galera_backup.models.common import PrimaryLabel
from galera_backup.models.mark import Mark, PrimaryMove, ResyncRecipe
from galera_backup.mysql.gateway import Endpoint, MysqlGateway
from galera_backup.rules.clone import in_another_group
from galera_backup.rules.formed import does_not_start, not_formed, started, takes_writes
from galera_backup.rules.health import DONOR_DESYNCED, SMALL_QUEUE, is_resynced
from galera_backup.rules.selection import primary_pod, successor_of_primary
from galera_backup.show import members_table

DESYNC_LOOKS = 20
"""Seconds that a replica may take from ON to Donor/Desynced; it takes milliseconds."""


class GaleraActivities:
    """What needs the servers. Every one may run twice."""

    def __init__(self, kube: KubeGateway, mysql: MysqlGateway, fence: Fence) -> None:
        self._kube = kube
        self._mysql = mysql
        self._fence = fence
        self._observer = Observer(kube, mysql)
        self._quorum = Quorum(self._observer)

    @activity.defn
    async def observe_cluster(self, request: Observe) -> ClusterObservation:
        """The StatefulSet, its pods, its claims and each member's wsrep status."""
        return await in_thread(self._observer.observe, request)

    @activity.defn
    async def mark_replica(self, task: ReplicaTask) -> Mark:
        """Write the lease's mark on the replica, with the successor if it carries the primary label.

        A mark that a dead lease left is replaced: the cluster check has seen the replica in sync.
        Errors: `DesyncFailed`; `MarkUnreadable`, where a recipe would be lost that this version cannot read or follow.
        """
        pod = await self._fence.replica(task.site.cluster, task.pod, task.lease, marked=False)
        present = mark_of(pod.annotations)
        if present is not None and present.lease == task.lease:
            return present
        label = task.site.primary_label
        moved = None
        if label is not None and label.moved_by == "galera-backup" and pod.labels.get(label.key) == label.primary:
            moved = await in_thread(self._plan_move, task, label)
        mark = task.mark.model_copy(update={"undo": ResyncRecipe(moved=moved)})
        await in_thread(self._kube.set_mark, task.site.cluster.namespace, pod, mark)
        return mark

    def _plan_move(self, task: ReplicaTask, label: PrimaryLabel) -> PrimaryMove:
        seen = self._observer.observe(Observe(site=task.site))
        successor = successor_of_primary(seen, task.pod, label)
        if successor is None:
            raise DesyncFailed(
                f"moving the label {label.key}={label.primary} of pod {task.pod!r} to another member: expected "
                f"one that is Ready and in sync, there is none\n{members_table(seen)}"
            )
        return PrimaryMove(label=label, successor=successor.pod, successor_role=successor.role)

    @activity.defn
    async def desync(self, task: ReplicaTask) -> DesyncReport:
        """SET GLOBAL wsrep_desync=ON on the replica and wait until it is Donor/Desynced."""
        look = Observe(site=task.site)
        await self._quorum.check(look, task.pod, task.others_in_sync, f"desyncing {task.pod!r}")
        await self._fence.replica(task.site.cluster, task.pod, task.lease)
        server = await self._server(task)
        await self._set_on_once(task, server)
        wsrep = None
        for _ in range(DESYNC_LOOKS):
            wsrep = await in_thread(self._mysql.wsrep_status, server)
            if not wsrep.desync:
                raise NotYet(
                    f"desyncing {task.pod!r}: wsrep_desync=ON came later than {timing.DESYNC_WINDOW} after the checks "
                    "before it, and the server did not obey it"
                )
            if wsrep.local_state == DONOR_DESYNCED:
                return DesyncReport(attempt=activity.info().attempt)
            await pause(1, f"{task.pod} is {wsrep.local_state_comment}")
        raise DesyncFailed(
            f"desyncing {task.pod!r}: expected Donor/Desynced within {DESYNC_LOOKS} s after wsrep_desync=ON, "
            f"saw {wsrep.local_state_comment if wsrep else 'nothing'}"
        )

    async def _set_on_once(self, task: ReplicaTask, server: Endpoint) -> None:
        """Send ON, unless one that an earlier attempt lost is still in the server: that one is waited for.

        Each ON that waits behind a lock raises wsrep_desync_count when it lands, and OFF takes back one alone: with
        two, the replica would stay desynced until its server restarts.
        """
        while not (wsrep := await in_thread(self._mysql.wsrep_status, server)).desync:
            if not wsrep.pending_desync:
                # MariaDB has no compare-and-set. So its own clock decides whether ON still comes soon after the check.
                until = await in_thread(self._mysql.now, server) + timing.DESYNC_WINDOW
                await self._fence.replica(task.site.cluster, task.pod, task.lease)
                await in_thread(self._mysql.set_desync, server, on=True, until=until)
                return
            await pause(1, f"{task.pod}: an earlier wsrep_desync=ON waits behind a lock")

    @activity.defn
    async def resync(self, task: ReplicaTask) -> ResyncReport:
        """Bring the replica back, as a poll: one OFF proves nothing, because a timed-out ON can land after it.

        Drains the receive queue first (until `drain_until`), and ends after two good readings in a row. A pod that is
        gone or was restarted has nothing to undo. A replica that another lease has marked since is left alone.
        Every error is retryable: this must never give up.
        """
        was_desynced, drained, good = False, True, 0
        begun_at, begun = activity.info().started_time, time.monotonic()  # the worker's clock may be wrong
        while True:
            pod = await in_thread(self._kube.find_pod, task.site.cluster.namespace, task.pod)
            if pod is None or _is_not_ours(pod, task):
                return ResyncReport(was_desynced=was_desynced, drained=drained)
            try:
                server = await self._server(task)
                wsrep = await in_thread(self._mysql.wsrep_status, server)
                if wsrep.desync:
                    was_desynced = True
                    now = begun_at + timedelta(seconds=time.monotonic() - begun)
                    overdue = task.drain_until is None or now >= task.drain_until
                    if wsrep.recv_queue <= SMALL_QUEUE or overdue:
                        drained = wsrep.recv_queue <= SMALL_QUEUE
                        await self._set_off(task, server)
            except GaleraBackupError as error:
                raise DatabaseUnavailable(error.message) from error
            good = good + 1 if is_resynced(wsrep) else 0
            if good == 2:
                return ResyncReport(was_desynced=was_desynced, drained=drained)
            await pause(1, _waiting(task.pod, wsrep))

    async def _set_off(self, task: ReplicaTask, server: Endpoint) -> None:
        """OFF, soon after the mark was seen: the next lease may have desynced the replica when a frozen one goes on."""
        until = await in_thread(self._mysql.now, server) + timing.DESYNC_WINDOW
        pod = await in_thread(self._kube.find_pod, task.site.cluster.namespace, task.pod)
        if pod is not None and not _is_not_ours(pod, task):
            await in_thread(self._mysql.set_desync, server, on=False, until=until)

    @activity.defn
    async def wait_formed(self, task: FormTask) -> None:
        """Wait until all replicas are Ready, in sync and in one cluster of the right size.

        The primary label goes back to the pod that had it as soon as that serves, where no pod carries it: clients
        write while the others join.
        """
        request = Observe(site=task.site)
        label = task.site.primary_label
        while True:
            seen = started(await in_thread(self._observer.observe, request), task.replicas, alone=task.alone)
            missing = not_formed(seen, task.replicas)
            if task.uuids and (strange := in_another_group(seen, task.uuids)) is not None:
                raise ClusterNotFormed(strange)
            is_vacant = label is not None and primary_pod(seen, label) is None
            if label is not None and (not missing or (is_vacant and takes_writes(seen, task.primary_pod))):
                await self._put_back_primary(task, label, request)
            if not missing:
                return
            await self._release_late_holds(task, seen)
            if task.may_fail and (reason := does_not_start(seen)):
                raise ClusterNotFormed(f"{reason}. Look at the log of its container")
            await pause(0.5, missing[0])

    async def _release_late_holds(self, task: FormTask, seen: ClusterObservation) -> None:
        """A worker that was frozen may have held a name after all were released: the replica could never come.

        Not where another lease has marked the StatefulSet since: the names are that one's.
        """
        absent = {member.pod for member in seen.members[: task.replicas] if not member.exists}
        if not absent:
            return
        held = [
            pod
            for pod in await in_thread(self._kube.holds, task.site.cluster)
            if pod.name in absent and is_held_for(pod.annotations, task.stop)
        ]
        if not held:
            return
        statefulset = await in_thread(self._kube.statefulset, task.site.cluster, task.site.container)
        if (mark := mark_of(statefulset.annotations)) is not None and mark.lease != task.lease:
            return
        await in_threads(self._kube.release_hold, task.site.cluster.namespace, held)
        await in_thread(self._kube.wake, statefulset, datetime.now(UTC))

    async def _put_back_primary(self, task: FormTask, label: PrimaryLabel, request: Observe) -> None:
        """Also from the first replica, to which the stop has moved it where that did not reach the end.

        Both pods are read before the look at all, and changed in any case: what comes late meets a conflict.
        """
        namespace = task.site.cluster.namespace
        if task.primary_pod is None or label.moved_by != "galera-backup":
            return
        pods = {pod.name: pod for pod in await in_thread(self._kube.members, task.site.cluster)}
        seen = await in_thread(self._observer.observe, request)
        held, pod = primary_pod(seen, label), pods.get(task.primary_pod)
        if pod is None:
            return
        first = pods.get(seen.members[0].pod) if seen.members else None
        is_moved = first is not None and held == first.name != pod.name
        if held is None or is_moved:
            await in_thread(self._kube.set_label, namespace, pod, label.key, label.primary)
        else:
            await in_thread(self._kube.revoke, namespace, pod, task.lease.run_id)
        if first is not None and is_moved:
            await in_thread(self._kube.set_label, namespace, first, label.key, task.first_role)
        elif first is not None and first.name != pod.name:
            await in_thread(self._kube.revoke, namespace, first, task.lease.run_id)

    async def _server(self, task: ReplicaTask) -> Endpoint:
        pod = await in_thread(self._kube.pod, task.site.cluster.namespace, task.pod)
        if not pod.ip:
            raise NotYet(f"pod {task.pod!r} has no address yet")
        return await in_thread(self._observer.endpoint, task.site, pod, task.site.credentials)


def _is_not_ours(pod: PodFacts, task: ReplicaTask) -> bool:
    mark = mark_of(pod.annotations)
    if mark is None:
        return task.only_if_marked
    return mark.lease != task.lease


def _waiting(pod: str, wsrep: WsrepStatus) -> str:
    return (
        f"{pod}: {wsrep.local_state_comment}, {wsrep.cluster_status}, wsrep_desync_count {wsrep.desync_count}, "
        f"{wsrep.recv_queue} write-sets to apply"
    )
