"""The fence: an activity acts only while its lease is open and the mark on the cluster is that lease's."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities._heartbeat import in_thread
from galera_backup import names
from galera_backup.errors import LeaseLost
from galera_backup.kube.gateway import KubeGateway
from galera_backup.models.common import ClusterRef, LeaseRef
from galera_backup.models.lease import Mark


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
                f"it is {status.name if status else 'unknown to Temporal'}. Nothing was done; start the operation anew"
            )

    async def replica_is_marked(self, cluster: ClusterRef, pod: str, lease: LeaseRef) -> None:
        """The pod carries this lease's mark."""
        found = await in_thread(self._kube.pod, cluster.namespace, pod)
        _same_lease(mark_of(found.annotations), lease, f"pod {pod!r}")

    async def statefulset_is_marked(self, cluster: ClusterRef, container: str, lease: LeaseRef) -> None:
        """The StatefulSet carries this lease's mark: it was this lease that scaled it to 0."""
        found = await in_thread(self._kube.statefulset, cluster, container)
        _same_lease(mark_of(found.annotations), lease, f"StatefulSet {str(cluster)!r}")


def mark_of(annotations: Mapping[str, str]) -> Mark | None:
    """The lease's mark among an object's annotations; one that cannot be read is no mark of ours."""
    text = annotations.get(names.LEASE_ANNOTATION)
    try:
        return Mark.model_validate_json(text) if text else None
    except ValidationError:
        return None


def _same_lease(mark: Mark | None, lease: LeaseRef, what: str) -> None:
    if mark is None or mark.lease != lease:
        holder = f"that of {mark.lease.workflow_id!r}, run {mark.lease.run_id}" if mark else "none"
        raise LeaseLost(
            f"{what}: expected the mark of lease {lease.workflow_id!r}, run {lease.run_id}, it has {holder}. "
            "Another operation took over; nothing was done"
        )
