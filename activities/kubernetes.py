"""Activities on Kubernetes objects: marks, labels, endpoints, replica counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from temporalio import activity

from activities._fence import Fence
from activities._heartbeat import in_thread, pause
from galera_backup import names
from galera_backup.errors import ClusterNotFound, LeaseLost, ScaleFailed
from galera_backup.kube.facts import PodFacts, StatefulSetFacts
from galera_backup.kube.gateway import KubeGateway
from galera_backup.marks import check_overwrite, mark_of
from galera_backup.models.activities import ReplicaTask, Revoked, ScaleTask
from galera_backup.models.common import LeaseRef
from galera_backup.models.mark import Mark, PrimaryMove
from galera_backup.rules.claims import serving_in_part, stopped_to
from galera_backup.rules.stop import claims_lost, scaled_up


class KubernetesActivities:
    """What needs the API server alone. Every one may run twice."""

    def __init__(self, kube: KubeGateway, fence: Fence) -> None:
        self._kube = kube
        self._fence = fence

    # --- the replica's place in the Services

    @activity.defn
    async def move_primary(self, task: ReplicaTask) -> None:
        """Give the primary label to the successor that the mark names, then the backup label to the replica.

        In this order the Service is never without an endpoint.
        """
        moved = task.mark.moved
        assert moved is not None
        label, namespace = moved.label, task.site.cluster.namespace
        # The successor is read first: undoing changes it after the replica, which nobody undoes yet here.
        successor = await in_thread(self._kube.pod, namespace, moved.successor)
        replica = await self._fence.replica(task.site.cluster, task.pod, task.lease)
        await in_thread(self._kube.set_label, namespace, successor, label.key, label.primary)
        await in_thread(self._kube.set_label, namespace, replica, label.key, label.backup)

    @activity.defn
    async def move_primary_back(self, task: ReplicaTask) -> None:
        """Set the labels as they were before `move_primary`; nothing to do where that was not planned.

        A replica that is gone, or a successor that has lost the label since, keeps its label: somebody else decided.
        The successor is changed all the same, so that a `move_primary` that is still in flight fails.
        """
        namespace = task.site.cluster.namespace
        pod = await in_thread(self._kube.find_pod, namespace, task.pod)
        moved = task.mark.moved or _moved_on(pod)
        if moved is None:
            await self._revoke_possible_successors(task)
            return
        label = moved.label
        successor = await in_thread(self._kube.find_pod, namespace, moved.successor)
        if successor is None:
            return
        if pod is None or successor.labels.get(label.key) != label.primary:
            await in_thread(self._kube.revoke, namespace, successor, task.lease.run_id)
            return
        await in_thread(self._kube.set_label, namespace, pod, label.key, label.primary)
        await in_thread(self._kube.set_label, namespace, successor, label.key, moved.successor_role)

    async def _revoke_possible_successors(self, task: ReplicaTask) -> None:
        """No move was planned; or the plan went with the replica's pod, and any member may be the successor."""
        if task.site.primary_label is None or task.site.primary_label.moved_by != "galera-backup":
            return
        for member in await in_thread(self._kube.members, task.site.cluster):
            if member.name != task.pod:
                await in_thread(self._kube.revoke, task.site.cluster.namespace, member, task.lease.run_id)

    @activity.defn
    async def wait_out_of_service(self, task: ReplicaTask) -> None:
        """Wait until the desynced replica is Not Ready and in no Service's ready endpoints."""
        namespace = task.site.cluster.namespace
        while True:
            pod = await in_thread(self._kube.pod, namespace, task.pod)
            listing = await in_thread(self._kube.services_that_list, namespace, task.pod)
            label = task.site.primary_label
            holds_label = label is not None and pod.labels.get(label.key) == label.primary
            if not pod.ready and not listing and not holds_label:
                return
            if pod.ready:
                await pause(0.5, f"{task.pod} is still Ready: its readiness probe must follow wsrep_local_state")
            elif listing:
                await pause(0.5, f"{task.pod} is still in the endpoints of {', '.join(listing)}")
            else:
                await pause(0.5, f"{task.pod} still has the primary label: the cluster's controller has not moved it")

    @activity.defn
    async def wait_in_service(self, task: ReplicaTask) -> None:
        """Wait until the replica is Ready and in the endpoints of every Service that selects it.

        Ends too when the StatefulSet no longer wants this replica.
        """
        namespace = task.site.cluster.namespace
        while True:
            statefulset = await in_thread(self._kube.statefulset, task.site.cluster, task.site.container)
            if names.ordinal(task.pod) not in statefulset.ordinals(statefulset.replicas):
                return
            pod = await in_thread(self._kube.find_pod, namespace, task.pod)
            if pod is not None and pod.ready:
                selecting = await in_thread(self._kube.services_that_select, namespace, pod.labels)
                listing = await in_thread(self._kube.services_that_list, namespace, task.pod)
                missing = sorted(set(selecting) - set(listing))
                if not missing or set(missing) <= await in_thread(self._listing_nobody, task, missing):
                    return
                await pause(0.5, f"{task.pod} is not yet in the endpoints of {', '.join(missing)}")
            else:
                await pause(0.5, f"{task.pod} is not Ready yet")

    def _listing_nobody(self, task: ReplicaTask, services: Sequence[str]) -> frozenset[str]:
        """Those of the Services that list no other Ready replica which they select either, as of another IP family."""
        namespace, listed = task.site.cluster.namespace, dict[str, bool]()
        for other in self._kube.members(task.site.cluster):
            if other.ready and other.name != task.pod:
                listing = self._kube.services_that_list(namespace, other.name)
                for service in self._kube.services_that_select(namespace, other.labels):
                    listed[service] = listed.get(service, False) or service in listing
        return frozenset(service for service in services if listed.get(service) is False)

    @activity.defn
    async def revoke_replica(self, task: ReplicaTask) -> None:
        """The first step of undoing: no activity of this lease takes the replica out of the cluster from now on.

        The pod is changed, marked or not, so that one that has checked its lease already meets a conflict.
        """
        pod = await in_thread(self._kube.find_pod, task.site.cluster.namespace, task.pod)
        if pod is None:
            return
        await in_thread(self._kube.revoke, task.site.cluster.namespace, pod, task.lease.run_id)

    @activity.defn
    async def unmark_replica(self, task: ReplicaTask) -> None:
        """Remove the mark of the lease, if it is there; change a pod created since, as `revoke_replica` does."""
        namespace = task.site.cluster.namespace
        pod = await in_thread(self._kube.find_pod, namespace, task.pod)
        if pod is None:
            return
        if _is_marked(pod.annotations, task.lease):
            await in_thread(self._kube.set_mark, namespace, pod, None)
        elif names.LAST_LEASE_ANNOTATION not in pod.annotations:
            await in_thread(self._kube.revoke, namespace, pod, task.lease.run_id)

    # --- the StatefulSet's replica count

    @activity.defn
    async def scale_down(self, task: ScaleTask) -> None:
        """Begin to stop: one replica fewer, and the lease's mark, in one patch.

        A lease that stops a second time has a later mark: an attempt at the first one comes too late then. The mark
        of another lease is replaced. Error: `MarkUnreadable`, where what that says of the data would be lost.
        """
        pods = await in_thread(self._kube.members, task.site.cluster)
        statefulset = await self._fence.statefulset(task.site.cluster, task.site.container, task.mark.lease)
        present = mark_of(statefulset.annotations)
        if present is None or present.lease != task.mark.lease or _is_later(task.mark, present):
            await self._scale_down(task, statefulset, pods)

    async def _scale_down(self, task: ScaleTask, statefulset: StatefulSetFacts, pods: Sequence[PodFacts]) -> int:
        """By one replica; how many are left. The mark of the last step says that all are stopped.

        `pods` were read before the lease was seen to be open: undoing changes those whose labels are changed here.
        """
        replicas = max(statefulset.replicas - 1, 0)
        if replicas:
            await self._move_primary_to_first(task, statefulset, pods)
        await in_thread(self._kube.scale, statefulset, replicas, stopped_to(task.mark, replicas))
        return replicas

    async def _move_primary_to_first(
        self, task: ScaleTask, statefulset: StatefulSetFacts, pods: Sequence[PodFacts]
    ) -> None:
        """When the replica that clients write to would go before the first one. `wait_formed` moves the label back."""
        label, ordinals = task.site.primary_label, statefulset.ordinals(statefulset.replicas)
        found = {names.ordinal(pod.name): pod for pod in pods}
        first, last = found.get(ordinals[0]), found.get(ordinals[-1])
        if label is None or label.moved_by != "galera-backup" or first is None or last is None or not first.ready:
            return
        if last.labels.get(label.key) == label.primary:
            namespace = task.site.cluster.namespace
            await in_thread(self._kube.set_label, namespace, first, label.key, label.primary)
            await in_thread(self._kube.set_label, namespace, last, label.key, None)

    @activity.defn
    async def wait_stopped(self, task: ScaleTask) -> None:
        """Take the other replicas too, and wait until every pod is gone: only then are its volumes nobody's.

        One after the other, whatever the pod management policy: two that leave at once can take the quorum with them.
        The first goes last: clients write until then, and from it the cluster can be started on this data again.
        Error: `ScaleFailed`, when somebody scales it up meanwhile, or a data claim did not outlive it.
        """
        lowest: int | None = None
        while True:
            pods = await in_thread(self._kube.members, task.site.cluster)
            # The StatefulSet is read after its pods: one that is not wanted now is not a later one of that name.
            statefulset = await in_thread(self._kube.statefulset, task.site.cluster, task.site.container)
            left = _left_by(statefulset, task)
            if left is None:  # whoever sets it back may have removed the mark with it
                left = lowest
            if left is not None and statefulset.replicas > left:
                cluster, by = statefulset.cluster, statefulset.scaled_by
                raise ScaleFailed(scaled_up(cluster, statefulset.replicas, by, left))
            if not pods and not statefulset.replicas:
                break
            lowest = await self._stop_next(task, statefulset, pods)
            await pause(0.2, f"waiting for {', '.join(pod.name for pod in pods)} to be gone")
        if lost := await in_thread(self._lost_claims, task):
            raise ScaleFailed(claims_lost(task.site.cluster, lost))

    def _lost_claims(self, task: ScaleTask) -> tuple[str, ...]:
        """Data claims that did not outlive the stop, by their uids, or go now that no pod uses them."""
        recipe = task.mark.start
        if recipe is None:
            return ()
        found = zip(recipe.claims, recipe.claim_uids, strict=False)  # an older mark has no uids
        return tuple(claim for claim, uid in found if not self._is_kept(task.site.cluster.namespace, claim, uid))

    def _is_kept(self, namespace: str, claim: str, uid: str) -> bool:
        try:
            found = self._kube.claim(namespace, claim)
        except ClusterNotFound:
            return False
        return found.uid == uid and not found.deleting

    async def _stop_next(self, task: ScaleTask, statefulset: StatefulSetFacts, pods: Sequence[PodFacts]) -> int:
        """Each server is told to go when the one before has ended; the controller would wait until its pod is gone.

        Returns how many the StatefulSet wants then.
        """
        wanted = statefulset.ordinals(statefulset.replicas)
        leaving = [
            pod for pod in pods if names.ordinal(pod.name) not in wanted and statefulset.container not in pod.ended
        ]
        if leaving:
            pod = max(leaving, key=lambda pod: names.ordinal(pod.name))
            if not any(pod.deleting for pod in leaving) and _is_marked(statefulset.annotations, task.mark.lease):
                await in_thread(self._kube.delete_member, task.site.cluster.namespace, pod)  # by uid
        elif statefulset.replicas:
            seen = await self._fence.statefulset(task.site.cluster, task.site.container, task.mark.lease)
            _check_mark(seen, task)
            if seen.replicas == statefulset.replicas:
                return await self._scale_down(task, seen, pods)
        return statefulset.replicas

    @activity.defn
    async def revoke_statefulset(self, task: ScaleTask) -> Revoked:
        """The first step of undoing: no activity of this lease scales down, or writes to a volume, from now on.

        The StatefulSet is changed, marked or not, so that one that has checked its lease already meets a conflict. One
        that is stopped and has lost its mark is marked again: the fence of the pods that undo needs the mark.
        Error: `MarkUnreadable`, until a person has removed a mark on it that cannot be read.
        """
        statefulset = await in_thread(self._kube.statefulset, task.site.cluster, task.site.container)
        lease, replicas = task.mark.lease, statefulset.replicas
        present = mark_of(statefulset.annotations)
        recipe = present.start if present is not None and present.lease == lease else None
        held = tuple(sorted(pod.name for pod in await in_thread(self._kube.holds, task.site.cluster)))
        lost = await in_thread(self._lost_claims, task)
        if _lost_its_mark(statefulset, task, held):
            assert task.known_by is not None
            await self._fence.lease_is_open(task.known_by)
            await in_thread(self._kube.mark_statefulset, statefulset, task.mark, lease.run_id)
            return Revoked(marked=True, replicas=replicas, held=held, lost=lost)
        await in_thread(self._kube.revoke_statefulset, statefulset, lease.run_id)
        return Revoked(
            marked=_is_marked(statefulset.annotations, lease),
            replicas=replicas,
            stopping_from=recipe.stopping_from if recipe is not None else 0,
            held=held,
            lost=lost,
        )

    @activity.defn
    async def renew_mark(self, task: ScaleTask) -> None:
        """Replace the lease's mark on the StatefulSet that it stopped, as its recipe has changed; or write it again.

        Errors: `ScaleFailed`, when somebody has scaled it up; `LeaseLost`, when another lease has marked it;
        `MarkUnreadable`.
        """
        cluster, lease = task.site.cluster, task.mark.lease
        statefulset = await self._fence.statefulset(cluster, task.site.container, lease)
        present = mark_of(statefulset.annotations)
        if statefulset.replicas:
            raise ScaleFailed(scaled_up(cluster, statefulset.replicas, statefulset.scaled_by, 0))
        if present is not None and present.lease != lease:
            raise LeaseLost(
                f"marking StatefulSet {str(cluster)!r}: expected the mark of lease run {lease.run_id} or none, it has "
                f"that of {present.owner!r}. Start the operation again"
            )
        if present != task.mark:
            await in_thread(self._kube.mark_statefulset, statefulset, task.mark)

    @activity.defn
    async def scale_up(self, task: ScaleTask) -> None:
        """Scale the StatefulSet back; the mark stays until all is in order.

        Conditional on the mark being this lease's; or on there being none, if it is known that this lease stopped it.
        Errors: `LeaseLost`; `MarkUnreadable`, until a person has removed a mark on it that cannot be read.
        """
        statefulset = await in_thread(self._kube.statefulset, task.site.cluster, task.site.container)
        mark = mark_of(statefulset.annotations)
        if statefulset.replicas >= task.replicas:
            return  # done by an earlier attempt, or by a person
        if mark is None:
            check_overwrite(statefulset.annotations, task.mark, f"scaling StatefulSet {str(task.site.cluster)!r} back")
            if task.known_by is None:
                return  # a person has removed the mark, and decides
            await self._fence.lease_is_open(task.known_by)
            mark = task.mark
        if mark.lease != task.mark.lease or _is_later(mark, task.mark):
            raise LeaseLost(
                f"scaling StatefulSet {str(task.site.cluster)!r} back: it is marked by {mark.lease.workflow_id!r}, "
                f"run {mark.lease.run_id}, since {mark.since}, which decides about it now"
            )
        revoked_run = task.mark.lease.run_id if task.undoing else None
        await in_thread(self._kube.scale, statefulset, task.replicas, mark, revoked_run)

    @activity.defn
    async def unmark_statefulset(self, task: ScaleTask) -> None:
        """Remove the lease's mark, if it is still there; its note, if that was removed too, is written again."""
        statefulset = await in_thread(self._kube.statefulset, task.site.cluster, task.site.container)
        run_id = task.mark.lease.run_id
        if _is_marked(statefulset.annotations, task.mark.lease):
            await in_thread(self._kube.mark_statefulset, statefulset, None, run_id)
        elif names.LAST_LEASE_ANNOTATION not in statefulset.annotations:
            await in_thread(self._kube.revoke_statefulset, statefulset, run_id)


def _is_marked(annotations: Mapping[str, str], lease: LeaseRef) -> bool:
    mark = mark_of(annotations)
    return mark is not None and mark.lease == lease


def _is_later(mark: Mark, other: Mark) -> bool:
    return mark.since is not None and other.since is not None and mark.since > other.since


def _left_by(statefulset: StatefulSetFacts, task: ScaleTask) -> int | None:
    """How many replicas this stop has left so far; None: somebody has removed its mark."""
    mark = mark_of(statefulset.annotations)
    if mark is None or mark.lease != task.mark.lease or mark.start is None:
        return None
    return mark.start.stopping_to


def _check_mark(statefulset: StatefulSetFacts, task: ScaleTask) -> None:
    """Another lease that has marked it since decides. Where somebody has removed the mark, the next step writes it."""
    present = mark_of(statefulset.annotations)
    if present is not None and (present.lease != task.mark.lease or _is_later(present, task.mark)):
        raise LeaseLost(
            f"stopping StatefulSet {str(task.site.cluster)!r}: it is marked by {present.lease.workflow_id!r}, run "
            f"{present.lease.run_id}, since {present.since}, which decides about it now. Start the operation again"
        )


def _moved_on(pod: PodFacts | None) -> PrimaryMove | None:
    mark = mark_of(pod.annotations) if pod is not None else None
    return mark.moved if mark is not None else None


def _lost_its_mark(statefulset: StatefulSetFacts, task: ScaleTask, held: Sequence[str]) -> bool:
    """A StatefulSet that is still stopped, or started in part, by its lease has no mark: somebody has removed it.

    So it is too with a mark that cannot be read, which is not overwritten.
    """
    if task.known_by is None or mark_of(statefulset.annotations) is not None:
        return False
    recipe = task.mark.start
    in_part = recipe is not None and serving_in_part(recipe, statefulset.replicas, held) > 0
    return statefulset.replicas == 0 or in_part or bool(held)
