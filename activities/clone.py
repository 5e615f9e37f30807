"""Activities of a clone: look at it and at its source."""

from __future__ import annotations

from temporalio import activity

from activities._heartbeat import in_thread
from galera_backup.errors import ClusterNotFound, GaleraBackupError, KubernetesRefused
from galera_backup.kube.facts import PodFacts, StatefulSetFacts
from galera_backup.kube.gateway import KubeGateway
from galera_backup.models.clone import GroupMember, LookAtSides, Side, Sides
from galera_backup.models.common import ClusterRef
from galera_backup.mysql.gateway import Endpoint, MysqlGateway
from galera_backup.rules.clone import named_in


class CloneActivities:
    """Reads only."""

    def __init__(self, kube: KubeGateway, mysql: MysqlGateway) -> None:
        self._kube = kube
        self._mysql = mysql

    @activity.defn
    async def look_at_sides(self, request: LookAtSides) -> Sides:
        """Members, addresses and Services of a clone and of its source.

        A source that is not in this Kubernetes cluster, or that the worker may not read, is a fact, not an error.
        """
        return await in_thread(self._sides, request)

    def _sides(self, request: LookAtSides) -> Sides:
        site = request.site
        statefulset = self._kube.statefulset(site.cluster, site.container, site.data_directory)
        target = self._side(request, statefulset, site.port)
        try:
            source = self._side(request, self._of_source(request), None)
        except (ClusterNotFound, KubernetesRefused) as error:
            source = Side(cluster=request.source, unseen=error.message)
        named = named_in(statefulset.settings, source, target)  # here: the others may hold a password
        return Sides(target=target, source=source, named=named)

    def _of_source(self, request: LookAtSides) -> StatefulSetFacts:
        """The request names the target's container; the source's is found, or has the same name."""
        site = request.site
        try:
            return self._kube.statefulset(request.source, None, site.data_directory)
        except ClusterNotFound:
            return self._kube.statefulset(request.source, site.container, site.data_directory)

    def _side(self, request: LookAtSides, statefulset: StatefulSetFacts, port: int | None) -> Side:
        """`port`: on which its servers listen; None: as their containers say."""
        cluster = statefulset.cluster
        members = tuple(self._member(request, cluster, pod, port or pod.port) for pod in self._kube.members(cluster))
        return Side(cluster=cluster, members=members, services=tuple(self._kube.services_of(statefulset)))

    def _member(self, request: LookAtSides, cluster: ClusterRef, pod: PodFacts, port: int) -> GroupMember:
        try:
            credentials = self._kube.credentials(cluster.namespace, request.site.credentials)
            group = self._mysql.group(Endpoint(cluster.namespace, pod.name, pod.ip, credentials, port))
        except GaleraBackupError as error:
            return GroupMember(pod=pod.name, ip=pod.ip, ips=pod.ips, error=error.message)
        return GroupMember(pod=pod.name, ip=pod.ip, ips=pod.ips, group=group)
