"""The fence: an activity acts only while its lease is open and the mark on the cluster is that lease's.

A process can be frozen between the check and the effect, and go on when its lease has long ended. So an activity first
reads the object that it will change, then checks, then patches what it has read: undoing begins with a change of that
object, and the late patch meets a conflict. See docs/adr/0007-fencing.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities._heartbeat import in_thread
from galera_backup import names
from galera_backup.errors import LeaseLost, ScaleFailed
from galera_backup.kube.facts import PodFacts, StatefulSetFacts
from galera_backup.kube.gateway import KubeGateway
from galera_backup.marks import is_revoked, is_unreadable, mark_of
from galera_backup.models.common import ClusterRef, LeaseRef
from galera_backup.models.mark import Mark, StartRecipe
from galera_backup.rules.stop import not_held, scaled_up


class Fence:
    """Checks before an effect. Error: `LeaseLost`, which no retry mends."""

    def __init__(self, client: Client, kube: KubeGateway) -> None:
        self._client = client
        self._kube = kube

    async def lease_is_open(self, lease: LeaseRef) -> None:
        """The lease's run is open. A reset or frozen run of an operation may believe in one that closed long ago."""
        handle = self._client.get_workflow_handle(lease.workflow_id, run_id=lease.run_id)
        try:
            status = (await handle.describe()).status
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            status = None
        if status != WorkflowExecutionStatus.RUNNING:
            raise LeaseLost(
                f"lease {lease.workflow_id!r}, run {lease.run_id}: expected it to be open, "
                f"it is {status.name if status else 'unknown to Temporal'}. Nothing was done; start the operation again"
            )

    async def replica(self, cluster: ClusterRef, name: str, lease: LeaseRef, *, marked: bool = True) -> PodFacts:
        """A replica that this lease may change; as it was before the lease was seen open, so patch what is returned.

        `marked`: it must carry the lease's mark.
        """
        found = await in_thread(self._kube.pod, cluster.namespace, name)
        await self.lease_is_open(lease)
        _may_change(found.annotations, lease, f"pod {name!r}", marked)
        return found

    async def statefulset(self, cluster: ClusterRef, container: str | None, lease: LeaseRef) -> StatefulSetFacts:
        """The StatefulSet, which this lease may scale down; as `replica`, and not marked yet."""
        found = await in_thread(self._kube.statefulset, cluster, container)
        await self.lease_is_open(lease)
        _may_change(found.annotations, lease, f"StatefulSet {str(cluster)!r}", marked=False)
        return found

    async def stopped(
        self, cluster: ClusterRef, container: str | None, lease: LeaseRef, *, undoing: bool = False, first: int = 0
    ) -> None:
        """The replicas from ordinal `first` on are stopped by this lease, which may write to their volumes.

        Their names are held, so no server can start on them, whatever the StatefulSet says now.
        `undoing`: the lease, open or not, is one whose changes are undone. Error: `LeaseLost`.
        """
        mark = await self.marked(cluster, container, lease, undoing=undoing)
        assert mark.start is not None, "every mark on a StatefulSet has how to start it"
        if missing := await names_not_held(self._kube, mark.start, first):
            raise LeaseLost(not_held(cluster, missing))

    async def at_zero(self, cluster: ClusterRef, container: str | None) -> None:
        """Nobody has scaled it up since. Error: `ScaleFailed`, which says who did."""
        found = await in_thread(self._kube.statefulset, cluster, container)
        if found.replicas:
            raise ScaleFailed(scaled_up(cluster, found.replicas, found.scaled_by, 0))

    async def marked(
        self, cluster: ClusterRef, container: str | None, lease: LeaseRef, *, undoing: bool = False
    ) -> Mark:
        """The StatefulSet carries the mark of this lease, which is open, or is being undone."""
        what = f"StatefulSet {str(cluster)!r}"
        found = await in_thread(self._kube.statefulset, cluster, container)
        if undoing:
            return _mark(found.annotations, lease, what)
        await self.lease_is_open(lease)
        _not_revoked(found.annotations, lease, what)
        return _mark(found.annotations, lease, what)


async def names_not_held(kube: KubeGateway, recipe: StartRecipe, first: int) -> Sequence[str]:
    """Names of stopped replicas, from this ordinal on, that no pod holds."""
    cluster = recipe.site.cluster
    held = {pod.name for pod in await in_thread(kube.holds, cluster)}
    wanted = (names.pod(cluster, ordinal) for ordinal in recipe.ordinals if ordinal >= first)
    return [name for name in wanted if name not in held]


def _may_change(annotations: Mapping[str, str], lease: LeaseRef, what: str, marked: bool) -> None:
    _not_revoked(annotations, lease, what)
    if marked:
        _mark(annotations, lease, what)


def _not_revoked(annotations: Mapping[str, str], lease: LeaseRef, what: str) -> None:
    if is_revoked(annotations, lease):
        raise LeaseLost(
            f"{what}: lease {lease.workflow_id!r}, run {lease.run_id} has begun to undo what it did, and does nothing "
            "more. Start the operation again"
        )


def _mark(annotations: Mapping[str, str], lease: LeaseRef, what: str) -> Mark:
    """The lease's mark among them."""
    mark = mark_of(annotations)
    if mark is None or mark.lease != lease:
        if mark is not None:
            saw = f"that of {mark.lease.workflow_id!r}, run {mark.lease.run_id}, which has taken over"
        elif is_unreadable(annotations):
            saw = "one that cannot be read: a newer version of galera-backup wrote it, or it is damaged"
        else:
            saw = "none: it was created again, or somebody removed the mark"
        raise LeaseLost(
            f"{what}: expected the mark of lease {lease.workflow_id!r}, run {lease.run_id}, it has {saw}. "
            "Nothing was done; start the operation again"
        )
    return mark
