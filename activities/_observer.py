"""What Kubernetes and the servers say of a cluster, put together."""

from __future__ import annotations

from galera_backup import names
from galera_backup.credentials import Credentials
from galera_backup.errors import GaleraBackupError
from galera_backup.kube.facts import PodFacts, StatefulSetFacts
from galera_backup.kube.gateway import KubeGateway
from galera_backup.marks import mark_of
from galera_backup.models.activities import Observe
from galera_backup.models.cluster import ClaimObservation, ClusterObservation, MemberObservation
from galera_backup.models.common import SecretRef
from galera_backup.models.mark import StartRecipe
from galera_backup.models.site import Site
from galera_backup.mysql.gateway import Endpoint, MysqlGateway
from galera_backup.rules.claims import is_stopped_in_part, serving_in_part


class Observer:
    """Puts together what Kubernetes and the servers say of a cluster. Blocking."""

    def __init__(self, kube: KubeGateway, mysql: MysqlGateway) -> None:
        self._kube = kube
        self._mysql = mysql

    def observe(self, request: Observe) -> ClusterObservation:
        """All members; a server that cannot be asked is a fact, not an error."""
        cluster = request.site.cluster
        statefulset = self._kube.statefulset(cluster, request.site.container, request.site.data_directory)
        ordinals = statefulset.ordinals(statefulset.replicas or request.replicas or 0)
        mark = mark_of(statefulset.annotations)
        recipe = mark.start if mark else None
        return ClusterObservation(
            cluster=cluster,
            replicas=statefulset.replicas,
            image=statefulset.image,
            members=self.members(request, ordinals, statefulset.container),
            claims=tuple(self._claim(statefulset, ordinal) for ordinal in ordinals),
            primary_before=recipe.primary_pod if recipe else None,
            unfinished=_unfinished(recipe, statefulset.replicas) if recipe else None,
        )

    def members(self, request: Observe, ordinals: range, container: str) -> tuple[MemberObservation, ...]:
        """The members with these ordinals; a pod that is missing is a fact too. `container`: the server's."""
        cluster = request.site.cluster
        credentials = self._kube.credentials(cluster.namespace, request.site.credentials)
        pods = {pod.name: pod for pod in self._kube.members(cluster)}
        wanted = [names.pod(cluster, ordinal) for ordinal in ordinals]
        return tuple(self._member(request.site, name, pods.get(name), credentials, container) for name in wanted)

    def endpoint(self, site: Site, pod: PodFacts, secret: SecretRef) -> Endpoint:
        """Where one member's server listens."""
        credentials = self._kube.credentials(site.cluster.namespace, secret)
        return _endpoint(site, pod, credentials)

    def _member(
        self, site: Site, name: str, pod: PodFacts | None, credentials: Credentials, container: str
    ) -> MemberObservation:
        if pod is None:
            return MemberObservation(pod=name, ordinal=names.ordinal(name), exists=False)
        wsrep, error = None, None
        if pod.ip:
            try:
                wsrep = self._mysql.wsrep_status(_endpoint(site, pod, credentials))
            except GaleraBackupError as failure:
                error = failure.message
        else:
            error = "the pod has no address"
        return MemberObservation(
            pod=name,
            ordinal=names.ordinal(name),
            exists=True,
            phase=pod.phase,
            ready=pod.ready,
            restarts=pod.restarts.get(container, 0),
            node=pod.node,
            role=pod.labels.get(site.primary_label.key) if site.primary_label else None,
            wsrep=wsrep,
            error=error,
        )

    def _claim(self, statefulset: StatefulSetFacts, ordinal: int) -> ClaimObservation:
        name = statefulset.claim(ordinal)
        uid = self._kube.claim(statefulset.cluster.namespace, name).uid
        return ClaimObservation(ordinal=ordinal, claim=name, uid=uid)


def _endpoint(site: Site, pod: PodFacts, credentials: Credentials) -> Endpoint:
    return Endpoint(site.cluster.namespace, pod.name, pod.ip, credentials, site.port or pod.port)


def _unfinished(recipe: StartRecipe, replicas: int) -> int | None:
    """Size of a cluster that was started, or stopped, in part; None: it is whole, or at 0."""
    if is_stopped_in_part(recipe, replicas):
        return recipe.stopping_from
    return recipe.replicas if serving_in_part(recipe, replicas) else None
