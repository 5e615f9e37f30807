"""The two clusters: a fake world, and the one of dev/up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import pytest

from dev.stack import images, lifecycle, processes, settings
from galera_backup import names
from galera_backup.kube.facts import PodFacts, StatefulSetFacts
from galera_backup.kube.gateway import KubeGateway
from galera_backup.models.common import ClusterRef, SecretRef
from galera_backup.mysql.gateway import Endpoint, MysqlGateway
from tests.fakes.gateways import FakeKube, FakeMysql, Worlds
from tests.fakes.world import World, fresh_cluster
from tests.integration.galera import CLUSTER, NAMESPACE, PODS, Galera
from tests.support.eventually import eventually


@dataclass
class Subject:
    """A healthy cluster of three and the gateways to it."""

    kube: KubeGateway
    mysql: MysqlGateway
    cluster: ClusterRef
    agent_image: str = "agent:test"

    @property
    def namespace(self) -> str:
        return self.cluster.namespace

    def pod_name(self, ordinal: int) -> str:
        return names.pod(self.cluster, ordinal)

    def pod(self, ordinal: int = 0) -> PodFacts:
        return self.kube.pod(self.namespace, self.pod_name(ordinal))

    def statefulset(self) -> StatefulSetFacts:
        return self.kube.statefulset(self.cluster, settings.CONTAINER)

    def server(self, ordinal: int) -> Endpoint:
        pod = self.pod(ordinal)
        return Endpoint(self.namespace, pod.name, pod.ip, self.kube.credentials(self.namespace, SecretRef()))

    def is_whole(self) -> bool:
        """Every member is Ready, the Services list what they select, and no runner pod is left."""
        members = self.kube.members(self.cluster)
        return not self.kube.runner_pods(self.cluster, None) and all(
            pod.ready
            and self.kube.services_that_list(self.namespace, pod.name)
            == self.kube.services_that_select(self.namespace, pod.labels)
            for pod in members
        )


def fake() -> Subject:
    worlds = Worlds()
    world = worlds.add(World(fresh_cluster()))
    return Subject(cast(KubeGateway, FakeKube(worlds)), cast(MysqlGateway, FakeMysql(worlds)), world.cluster)


@cache
def stack() -> Galera:
    """The real cluster, which must be up; with this checkout's agent."""
    dead = [name for name in lifecycle.PARTS if processes.running(name) is None]
    if dead:
        pytest.fail(f"the stack is not up ({', '.join(dead)} does not run): start it with dev/up, or use dev/test")
    images.ensure_loaded(images.agent())
    return Galera()


def real() -> Subject:
    return Subject(KubeGateway(stack().api_client), MysqlGateway(), CLUSTER, images.agent().reference)


class Before:
    """Labels and annotations of the real cluster's objects as they were, to be put back."""

    def __init__(self) -> None:
        self._galera = stack()
        self._seen = self._look()

    async def put_back(self, subject: Subject) -> None:
        """Also resync every member, and remove runner pods; the cluster is whole when this returns."""
        for pod in subject.kube.runner_pods(CLUSTER, None):
            subject.kube.delete_pod(NAMESPACE, pod.name)
        core, apps = self._galera.core, self._galera.apps
        for name, now in self._look().items():
            if now == self._seen[name]:
                continue
            body = {"metadata": {key: _difference(now[key], self._seen[name][key]) for key in now}}
            if name in PODS:
                core.patch_namespaced_pod(name, NAMESPACE, body)
            else:
                apps.patch_namespaced_stateful_set(name, NAMESPACE, body)
        for name in PODS:
            self._galera.root_sql("SET GLOBAL wsrep_desync=OFF", name)
        await eventually(subject.is_whole, 60, "the cluster is whole after the test")

    def _look(self) -> dict[str, dict[str, dict[str, str]]]:
        objects: list[Any] = [self._galera.pod(pod) for pod in PODS] + [self._galera.statefulset()]
        return {
            each.metadata.name: {
                "labels": each.metadata.labels or {},
                "annotations": each.metadata.annotations or {},
            }
            for each in objects
        }


def _difference(now: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str | None]:
    return {**dict.fromkeys(now), **before}
