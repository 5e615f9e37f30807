"""`KubeGateway` and `MysqlGateway` over worlds: the same methods, the same errors, faults where a test wants them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from kubernetes.client import V1Container, V1ObjectMeta, V1Pod, V1PodSpec

from galera_backup import names
from galera_backup.credentials import Credentials
from galera_backup.errors import ClusterNotFound, DatabaseRefused, DatabaseUnavailable, KubernetesRefused
from galera_backup.kube.facts import ClaimFacts, PodFacts, StatefulSetFacts
from galera_backup.marks import check_overwrite
from galera_backup.models.admission import Quota
from galera_backup.models.blocked import BackupWait
from galera_backup.models.clone import GaleraGroup
from galera_backup.models.cluster import WsrepStatus
from galera_backup.models.common import ClusterRef, SecretRef
from galera_backup.models.mark import Mark
from galera_backup.models.proof import SeenTables, Table
from galera_backup.models.server import ServerSettings
from galera_backup.models.shape import ClusterShape
from galera_backup.models.site import RunnerSite
from galera_backup.mysql.gateway import Endpoint
from galera_backup.mysql.proofs import QueryFault
from galera_backup.runner.handshake import AGENT_CONTAINER
from tests.fakes.member import Member
from tests.fakes.proof import ProofAnswers
from tests.fakes.shape import settings_of, shape_of
from tests.fakes.world import World

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="_Fake")


class Worlds:
    """All worlds, by namespace."""

    def __init__(self) -> None:
        self._worlds: dict[str, World] = {}

    def add(self, world: World) -> World:
        """From now on the gateways know it."""
        self._worlds[world.cluster.namespace] = world
        return world

    def at(self, namespace: str) -> World:
        """An empty one for a namespace that does not exist: the API server lists nothing there."""
        if namespace not in self._worlds:
            nothing = World(ClusterRef(namespace=namespace, statefulset="none"), replicas=0, primary=None)
            nothing.exists, nothing.services = False, {}
            return nothing
        return self._worlds[namespace]


class _Fake:
    def __init__(self, worlds: Worlds) -> None:
        self.worlds = worlds


def _call(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A gateway call: faults before and after its effect, the effect itself under the world's lock."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def wrapped(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        arguments = signature.bind(self, *args, **kwargs).arguments
        world = self.worlds.at(_namespace(arguments))
        fault = world.faults.take(method.__name__, arguments)
        if fault is not None:
            fault.before_effect()
        with world.lock:
            world.time.advance()
            result = method(self, *args, **kwargs)
        if fault is not None:
            fault.after_effect()
        return result

    return cast(Callable[Concatenate[S, P], T], wrapped)


def _namespace(arguments: Mapping[str, Any]) -> str:
    if "namespace" in arguments:
        return str(arguments["namespace"])
    if "server" in arguments:
        return str(arguments["server"].namespace)
    if "site" in arguments:
        return str(arguments["site"].cluster.namespace)
    cluster = arguments["cluster"] if "cluster" in arguments else arguments["statefulset"].cluster
    return str(cluster.namespace)


class FakeKube(_Fake):
    """In place of `KubeGateway`."""

    @_call
    def statefulset(
        self, cluster: ClusterRef, container: str | None, data_directory: str | None = None
    ) -> StatefulSetFacts:
        world = self.worlds.at(cluster.namespace)
        if cluster != world.cluster:
            raise ClusterNotFound(f"reading StatefulSet {str(cluster)!r}: it does not exist. Check the names")
        return world.statefulset_facts(container)

    @_call
    def shape(self, site: RunnerSite, replicas: int | None) -> ClusterShape:
        world = self.worlds.at(site.cluster.namespace)
        if site.cluster != world.cluster:
            raise ClusterNotFound(f"reading StatefulSet {str(site.cluster)!r}: it does not exist. Check the names")
        world.statefulset_facts(site.container)
        return world.reshape(shape_of(world, replicas))

    @_call
    def pod(self, namespace: str, name: str) -> PodFacts:
        found = self._pod(namespace, name)
        if found is None:
            raise ClusterNotFound(f"reading pod {name!r}: it does not exist. Check the names in the request")
        return found

    @_call
    def find_pod(self, namespace: str, name: str) -> PodFacts | None:
        return self._pod(namespace, name)

    def _pod(self, namespace: str, name: str) -> PodFacts | None:
        world = self.worlds.at(namespace)
        if name in world.members:
            return world.members[name].facts()
        if name in world.holds:
            return world.holds[name].facts()
        return next((each.facts() for each in world.present_runners() if each.name == name), None)

    @_call
    def members(self, cluster: ClusterRef) -> list[PodFacts]:
        world = self.worlds.at(cluster.namespace)
        return [member.facts() for member in world.members.values()] if cluster == world.cluster else []

    @_call
    def claim(self, namespace: str, name: str) -> ClaimFacts:
        claim = self.worlds.at(namespace).claims.get(name)
        if claim is None:
            raise ClusterNotFound(f"reading claim {name!r}: it does not exist. Check the names in the request")
        return ClaimFacts(uid=claim.uid, deleting=claim.deleting)

    @_call
    def credentials(self, namespace: str, reference: SecretRef) -> Credentials:
        world = self.worlds.at(namespace)
        if (reference.user_key, reference.password_key) != (SecretRef().user_key, SecretRef().password_key):
            raise ClusterNotFound(f"reading Secret {namespace}/{reference.secret}: it has no such key")
        if reference.secret in world.secrets:
            return world.secrets[reference.secret]
        if not world.exists or reference.secret != SecretRef().secret:
            raise ClusterNotFound(f"reading Secret {namespace}/{reference.secret}: it does not exist")
        return world.looking_credentials

    @_call
    def services_that_list(self, namespace: str, pod: str) -> list[str]:
        return self.worlds.at(namespace).listing(pod)

    @_call
    def services_that_select(self, namespace: str, labels: Mapping[str, str]) -> list[str]:
        return self.worlds.at(namespace).selecting(dict(labels))

    @_call
    def services_that_match(self, namespace: str, labels: Mapping[str, str]) -> list[str]:
        return self.worlds.at(namespace).selecting(dict(labels))

    @_call
    def services_of(self, statefulset: StatefulSetFacts) -> list[str]:
        world = self.worlds.at(statefulset.cluster.namespace)
        return sorted({statefulset.service, *world.selecting(dict(statefulset.labels))})

    @_call
    def set_mark(self, namespace: str, pod: PodFacts, mark: Mark | None) -> None:
        check_overwrite(pod.annotations, mark, f"marking pod {pod.name!r}")

        def change(member: Member) -> None:
            if mark is None:
                member.annotations.pop(names.LEASE_ANNOTATION, None)
            else:
                member.annotations[names.LEASE_ANNOTATION] = mark.model_dump_json()
            member.events.append(f"{'mark' if mark else 'unmark'} {member.name}")

        self.worlds.at(namespace).patch_member(pod.name, pod.resource_version, change)

    @_call
    def set_label(self, namespace: str, pod: PodFacts, key: str, value: str | None) -> None:
        def change(member: Member) -> None:
            if member.labels.get(key) != value:
                member.events.append(f"label {member.name} {value}")
            if value is None:
                member.labels.pop(key, None)
            else:
                member.labels[key] = value

        self.worlds.at(namespace).patch_member(pod.name, pod.resource_version, change)

    @_call
    def revoke(self, namespace: str, pod: PodFacts, lease_run: str) -> None:
        def change(member: Member) -> None:
            member.annotations[names.LAST_LEASE_ANNOTATION] = lease_run

        self.worlds.at(namespace).patch_member(pod.name, pod.resource_version, change)

    @_call
    def revoke_statefulset(self, statefulset: StatefulSetFacts, lease_run: str) -> None:
        world = self.worlds.at(statefulset.cluster.namespace)
        annotations = {**statefulset.annotations, names.LAST_LEASE_ANNOTATION: lease_run}
        world.patch_statefulset(statefulset.resource_version, world.statefulset.replicas, annotations)

    @_call
    def scale(self, statefulset: StatefulSetFacts, replicas: int, mark: Mark, revoked_run: str | None = None) -> None:
        self.worlds.at(statefulset.cluster.namespace).scale(statefulset, replicas, mark, revoked_run)

    @_call
    def mark_statefulset(
        self, statefulset: StatefulSetFacts, mark: Mark | None, revoked_run: str | None = None
    ) -> None:
        self.worlds.at(statefulset.cluster.namespace).mark_statefulset(statefulset, mark, revoked_run)

    @_call
    def create_pod(self, namespace: str, pod: V1Pod) -> None:
        world = self.worlds.at(namespace)
        if names.HOLD_LABEL in pod.metadata.labels:
            if pod.metadata.name not in {*world.members, *world.taken}:
                world.holds.create(pod)
        else:
            world.create_runner(pod)

    @_call
    def holds(self, cluster: ClusterRef) -> list[PodFacts]:
        world = self.worlds.at(cluster.namespace)
        return [hold.facts() for hold in world.holds.values()] if cluster == world.cluster else []

    @_call
    def take_hold(self, namespace: str, pod: PodFacts, owner: str) -> None:
        self.worlds.at(namespace).holds.take(pod, owner)

    @_call
    def release_hold(self, namespace: str, pod: PodFacts) -> None:
        self.worlds.at(namespace).holds.release(pod)

    @_call
    def wake(self, statefulset: StatefulSetFacts, at: datetime) -> None:
        world = self.worlds.at(statefulset.cluster.namespace)
        annotations = {**statefulset.annotations, names.RELEASED_ANNOTATION: at.isoformat()}
        world.patch_statefulset(statefulset.resource_version, world.statefulset.replicas, annotations)
        world.controller.reconcile_soon()

    @_call
    def try_pod(self, namespace: str, pod: V1Pod) -> V1Pod:
        refused = self.worlds.at(namespace).refuses_pods
        if refused is not None and refused in (pod.metadata.name or pod.metadata.generate_name):
            raise KubernetesRefused(f"trying pod {pod.metadata.name!r}: Kubernetes answered 403 Forbidden: a policy")
        return pod

    @_call
    def try_scale(self, statefulset: StatefulSetFacts, replicas: int) -> None:
        if self.worlds.at(statefulset.cluster.namespace).refuses_scaling:
            raise KubernetesRefused("trying to scale: Kubernetes answered 403 Forbidden: a policy")

    @_call
    def server_pod(self, statefulset: StatefulSetFacts) -> V1Pod:
        containers = [V1Container(name="mariadb", image=statefulset.image)]
        return V1Pod(metadata=V1ObjectMeta(generate_name="server-"), spec=V1PodSpec(containers=containers))

    @_call
    def quotas(self, namespace: str) -> tuple[Quota, ...]:
        return self.worlds.at(namespace).quotas

    @_call
    def release_pod(self, namespace: str, pod: PodFacts) -> None:
        self.worlds.at(namespace).release_runner(pod)

    @_call
    def delete_pod(self, namespace: str, name: str) -> None:
        world = self.worlds.at(namespace)
        if name in world.runners:
            world.runners[name].delete()

    @_call
    def delete_unstarted(self, namespace: str, pod: PodFacts) -> None:
        self.worlds.at(namespace).delete_unstarted(pod)

    @_call
    def delete_member(self, namespace: str, pod: PodFacts) -> None:
        self.worlds.at(namespace).delete_member(pod)

    @_call
    def runner_pods(self, cluster: ClusterRef, lease_run: str | None) -> list[PodFacts]:
        pods = self.worlds.at(cluster.namespace).present_runners()
        managed = {names.MANAGED_BY_LABEL: names.MANAGED_BY, names.CLUSTER_LABEL: cluster.statefulset}
        ours = [pod for pod in pods if managed.items() <= pod.labels.items() and names.LEASE_LABEL in pod.labels]
        return [pod.facts() for pod in ours if lease_run in (None, pod.labels[names.LEASE_LABEL])]

    @_call
    def log(self, namespace: str, pod: str, container: str, tail_lines: int) -> str:
        runner = self.worlds.at(namespace).runners.get(pod)
        written = runner is not None and runner.phase != "Pending" and container == AGENT_CONTAINER
        lines = runner.log.splitlines() if runner is not None and written else []
        return "".join(f"{line}\n" for line in lines[-tail_lines:])


class FakeMysql(_Fake):
    """In place of `MysqlGateway`."""

    @_call
    def wsrep_status(self, server: Endpoint) -> WsrepStatus:
        world = self.worlds.at(server.namespace)
        return self._member(server).status(world.group().size, world.cluster_uuid)

    @_call
    def group(self, server: Endpoint) -> GaleraGroup:
        self._member(server).answer()
        return self.worlds.at(server.namespace).group()

    @_call
    def settings(self, server: Endpoint) -> ServerSettings:
        self._member(server).answer()
        return settings_of(self.worlds.at(server.namespace))

    @_call
    def now(self, server: Endpoint) -> datetime:
        self._member(server).answer()
        return datetime.now(UTC)

    @_call
    def backup_wait(self, server: Endpoint) -> BackupWait | None:
        return self._member(server).backup_wait

    @_call
    def set_desync(self, server: Endpoint, on: bool, until: datetime) -> None:
        member = self._member(server)
        if datetime.now(UTC) < until:
            member.set_desync(on)

    @_call
    def ask(self, server: Endpoint, query: str, limit: timedelta) -> tuple[int, list[str | None]]:
        answer = self._proof(server).answers.get((self._data(server), query), (1, ["1"]))
        if isinstance(answer, int):
            raise QueryFault(answer, "as told")
        return answer

    @_call
    def seen_tables(self, server: Endpoint, limit: timedelta) -> SeenTables:
        return self._proof(server).seen_tables

    @_call
    def check_table(self, server: Endpoint, table: Table, limit: timedelta) -> list[tuple[str, str]]:
        answer = self._proof(server).damaged.get(str(table), [("status", "OK")])
        if isinstance(answer, int):
            raise QueryFault(answer, "as told")
        return answer

    def _proof(self, server: Endpoint) -> ProofAnswers:
        self._member(server).answer()
        return self.worlds.at(server.namespace).proof

    def _data(self, server: Endpoint) -> str:
        world = self.worlds.at(server.namespace)
        return world.claims[world.claim_name(self._member(server).ordinal)].data

    def _member(self, server: Endpoint) -> Member:
        member = self.worlds.at(server.namespace).members.get(server.pod)
        if member is None:
            raise DatabaseUnavailable(f"MariaDB error 2003: nobody listens at {server.host}")
        member.answer()
        if not self.worlds.at(server.namespace).knows(server.credentials):
            raise DatabaseRefused(f"MariaDB error 1045: access denied for {server.credentials.user!r}")
        return member
