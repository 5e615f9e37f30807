"""The activity that reads what the preflight judges."""

from __future__ import annotations

from temporalio import activity

from activities._heartbeat import in_thread
from galera_backup.credentials import Credentials
from galera_backup.errors import ClusterNotFound, DatabaseRefused, GaleraBackupError, KubernetesRefused
from galera_backup.kube.gateway import KubeGateway
from galera_backup.models.activities import Observe
from galera_backup.models.inspection import ClusterFacts
from galera_backup.models.server import ServerSeen
from galera_backup.models.shape import PodShape
from galera_backup.models.site import Site
from galera_backup.mysql.gateway import Endpoint, MysqlGateway


class PreflightActivities:
    """Reads only."""

    def __init__(self, kube: KubeGateway, mysql: MysqlGateway) -> None:
        self._kube = kube
        self._mysql = mysql

    @activity.defn
    async def inspect_cluster(self, request: Observe) -> ClusterFacts:
        """The cluster's objects and its servers' settings; a server that cannot be asked is a fact, not an error."""
        return await in_thread(self._inspect, request)

    def _inspect(self, request: Observe) -> ClusterFacts:
        site = request.site
        shape = self._kube.shape(site, request.replicas)
        try:
            credentials = self._kube.credentials(site.cluster.namespace, site.credentials)
        except (ClusterNotFound, KubernetesRefused) as error:
            return ClusterFacts(shape=shape, no_account=error.message)
        running = [member for member in shape.members if member.ip]
        servers = tuple(self._server(site, member, credentials) for member in running)
        return ClusterFacts(shape=shape, servers=servers)

    def _server(self, site: Site, member: PodShape, credentials: Credentials) -> ServerSeen:
        server = Endpoint(site.cluster.namespace, member.name, member.ip, credentials, site.port or member.port)
        try:
            settings = self._mysql.settings(server)
        except GaleraBackupError as error:
            refused = isinstance(error, DatabaseRefused)
            return ServerSeen(pod=member.name, ip=member.ip, error=error.message, refused=refused)
        return ServerSeen(pod=member.name, ip=member.ip, settings=settings)
