"""Activities of the janitor: look at marks and at those who should undo them, change a StatefulSet's mark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities._heartbeat import in_thread
from activities._observer import Observer
from galera_backup import names
from galera_backup.kube.facts import PodFacts, StatefulSetFacts
from galera_backup.kube.gateway import KubeGateway
from galera_backup.marks import is_unreadable, mark_of
from galera_backup.models.activities import Observe
from galera_backup.models.cluster import MemberObservation
from galera_backup.models.common import ClusterRef, LeaseRef
from galera_backup.models.janitor import MarkSeen, MemberSeen, Remark, RunnerSeen, Survey
from galera_backup.models.mark import Mark
from galera_backup.mysql.gateway import MysqlGateway


@dataclass(frozen=True)
class _Seen:
    """What Kubernetes and the servers say."""

    statefulset: StatefulSetFacts
    before: Mapping[str, PodFacts]
    members: tuple[MemberObservation, ...]
    after: Mapping[str, PodFacts]
    """Read once more: a mark is written before ON and removed after OFF, and the looks take a moment."""
    runners: tuple[PodFacts, ...]
    held: tuple[str, ...]


class JanitorActivities:
    """Every one may run twice."""

    def __init__(self, kube: KubeGateway, mysql: MysqlGateway, client: Client) -> None:
        self._kube = kube
        self._observer = Observer(kube, mysql)
        self._client = client

    @activity.defn
    async def survey_cluster(self, request: Observe) -> Survey:
        """Members, marks, runner pods, and whether the leases and owners that they name are open."""
        cluster = request.site.cluster
        seen = await in_thread(self._look, request)
        members = []
        for member in seen.members:
            pods = [pods[member.pod] for pods in (seen.after, seen.before) if member.pod in pods]
            found = next((mark for pod in pods if (mark := mark_of(pod.annotations)) is not None), None)
            unreadable = found is None and any(is_unreadable(pod.annotations) for pod in pods)
            members.append(MemberSeen(member=member, mark=await self._seen(found), unreadable=unreadable))
        mark = mark_of(seen.statefulset.annotations)
        return Survey(
            cluster=cluster,
            replicas=seen.statefulset.replicas,
            members=tuple(members),
            mark=await self._seen(mark),
            unreadable=is_unreadable(seen.statefulset.annotations),
            runners=tuple([await self._runner(cluster, pod) for pod in seen.runners]),
            held=seen.held,
            holder=await self._holder(cluster),
        )

    @activity.defn
    async def remark_statefulset(self, task: Remark) -> None:
        """Replace the mark, if it still is that lease's."""
        statefulset = await in_thread(self._kube.statefulset, task.site.cluster, task.site.container)
        mark = mark_of(statefulset.annotations)
        if mark is not None and mark.lease == task.mark.lease and mark != task.mark:
            await in_thread(self._kube.mark_statefulset, statefulset, task.mark)

    def _look(self, request: Observe) -> _Seen:
        cluster = request.site.cluster
        statefulset = self._kube.statefulset(cluster, request.site.container)
        before = self._pods(cluster)
        members = self._observer.members(request, statefulset.ordinals(statefulset.replicas), statefulset.container)
        runners = self._kube.runner_pods(cluster, None)
        held = tuple(sorted(pod.name for pod in self._kube.holds(cluster)))
        return _Seen(statefulset, before, members, self._pods(cluster), tuple(runners), held)

    def _pods(self, cluster: ClusterRef) -> dict[str, PodFacts]:
        return {pod.name: pod for pod in self._kube.members(cluster)}

    async def _seen(self, mark: Mark | None) -> MarkSeen | None:
        if mark is None:
            return None
        return MarkSeen(
            mark=mark,
            lease_open=await self._is_open(mark.lease.workflow_id, mark.lease.run_id),
            owner_open=await self._is_open(mark.owner),
            elsewhere=mark.namespace not in (None, self._client.namespace),
        )

    async def _runner(self, cluster: ClusterRef, pod: PodFacts) -> RunnerSeen:
        lease = LeaseRef(workflow_id=names.lease_id(cluster), run_id=pod.labels[names.LEASE_LABEL])
        return RunnerSeen(pod=pod.name, lease=lease, lease_open=await self._is_open(lease.workflow_id, lease.run_id))

    async def _holder(self, cluster: ClusterRef) -> str | None:
        handle = self._client.get_workflow_handle(names.lease_id(cluster))
        try:
            described = await handle.describe()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return None
        if described.status != WorkflowExecutionStatus.RUNNING:
            return None
        return described.parent_id or described.id

    async def _is_open(self, workflow_id: str, run_id: str | None = None) -> bool:
        """Without a run id: whatever run of it is the last."""
        try:
            described = await self._client.get_workflow_handle(workflow_id, run_id=run_id).describe()
        except RPCError as error:
            # An id that no server gave is refused, not looked for: of a mark that a person wrote.
            if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                raise
            return False
        return described.status == WorkflowExecutionStatus.RUNNING
