"""What is read of Kubernetes objects, from the client library's own models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from kubernetes import client

from galera_backup.errors import ClusterNotFound, InvalidInput
from galera_backup.kube.facts import pod_facts, statefulset_facts
from galera_backup.kube.shape import pod_shape
from galera_backup.models.common import ClusterRef

CLUSTER = ClusterRef(namespace="openstack", statefulset="mariadb-server")
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def container(name: str = "mariadb", mounts: tuple[tuple[str, str], ...] = (("mysql-data", "/var/lib/mysql"),)) -> Any:
    return client.V1Container(
        name=name,
        image="docker.io/mariadb:10.11",
        image_pull_policy="IfNotPresent",
        volume_mounts=[
            client.V1VolumeMount(name=volume, mount_path=path, sub_path="mysql" if volume == "mysql-data" else None)
            for volume, path in mounts
        ],
        security_context=client.V1SecurityContext(run_as_user=999),
        command=["start"],
        args=["--wsrep-cluster-address=gcomm://mariadb"],
        env=[client.V1EnvVar(name="DISCOVERY", value="mariadb.openstack"), client.V1EnvVar(name="POD_IP")],
    )


def statefulset(*containers: Any, templates: tuple[str, ...] = ("mysql-data",), **pod: Any) -> Any:
    return client.V1StatefulSet(
        metadata=client.V1ObjectMeta(name="mariadb-server", uid="u", resource_version="17", annotations=None),
        spec=client.V1StatefulSetSpec(
            replicas=3,
            selector=client.V1LabelSelector(match_labels={"app": "mariadb"}),
            service_name="mariadb",
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(labels={"app": "mariadb"}),
                spec=client.V1PodSpec(
                    containers=list(containers or (container(),)),
                    security_context=client.V1PodSecurityContext(run_as_user=1000, fs_group=42424),
                    service_account_name="mariadb",
                    tolerations=[client.V1Toleration(key="database")],
                    **pod,
                ),
            ),
            volume_claim_templates=[
                client.V1PersistentVolumeClaim(metadata=client.V1ObjectMeta(name=name)) for name in templates
            ],
        ),
    )


def test_statefulset() -> None:
    found = statefulset_facts(statefulset(), CLUSTER, "mariadb")
    assert (found.replicas, found.resource_version, found.image) == (3, "17", "docker.io/mariadb:10.11")
    assert (found.data_volume, found.data_path) == ("mysql-data", "/var/lib/mysql")
    assert (found.user, found.group, found.fs_group) == (999, None, 42424)  # the container's word before the pod's
    assert found.claim(10) == "mysql-data-mariadb-server-10"
    assert (found.service, found.labels) == ("mariadb", {"app": "mariadb"})
    assert found.settings == ("start", "--wsrep-cluster-address=gcomm://mariadb", "mariadb.openstack")
    assert "mariadb.openstack" not in repr(found)  # a setting may be a password
    assert found.annotations == {}
    assert [each.key for each in found.pod.tolerations] == ["database"]


def test_container_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ClusterNotFound, match="expected a container 'mysqld', it has exporter, mariadb"):
        statefulset_facts(statefulset(container(), container("exporter", ())), CLUSTER, "mysqld")


@pytest.mark.parametrize("name", ["mariadb", None])
def test_claims_that_no_template_makes(name: str | None) -> None:
    with pytest.raises(ClusterNotFound, match="expected volumeClaimTemplates, it has none"):
        statefulset_facts(statefulset(templates=()), CLUSTER, name)


@pytest.mark.parametrize(
    ("mounts", "templates", "volume"),
    [
        ((("config", "/etc/mysql"), ("mysql-data", "/var/lib/mysql")), ("mysql-data",), "mysql-data"),
        ((("logs", "/var/log"), ("mysql-data", "/var/lib/mysql/")), ("mysql-data", "logs"), "mysql-data"),
        ((("data", "/bitnami/mariadb"),), ("data",), "data"),
    ],
)
def test_data_mount(mounts: Any, templates: tuple[str, ...], volume: str) -> None:
    found = statefulset_facts(statefulset(container(mounts=mounts), templates=templates), CLUSTER, "mariadb")
    assert found.data_volume == volume


@pytest.mark.parametrize(
    ("mounts", "templates"),
    [((("config", "/var/lib/mysql"),), ("mysql-data",)), ((("a", "/a"), ("b", "/b")), ("a", "b"))],
)
def test_data_mount_that_cannot_be_told(mounts: Any, templates: tuple[str, ...]) -> None:
    """Only who works with the data has to know it."""
    found = statefulset_facts(statefulset(container(mounts=mounts), templates=templates), CLUSTER, "mariadb")
    with pytest.raises(ClusterNotFound, match="mount its data from one volume claim template"):
        found.claim(0)


@pytest.mark.parametrize(
    ("data_directory", "volume", "path"),
    [
        ("/srv/db/mysql", "data", "/srv/db"),
        ("/srv/db", "data", "/srv/db"),
        ("/srv/other", "outer", "/srv"),
        (None, "usual", "/var/lib/mysql"),
    ],
)
def test_data_mount_by_the_request(data_directory: str | None, volume: str, path: str) -> None:
    mounts = (("usual", "/var/lib/mysql"), ("outer", "/srv"), ("data", "/srv/db"))
    several = statefulset(container(mounts=mounts), templates=("usual", "outer", "data"))
    found = statefulset_facts(several, CLUSTER, "mariadb", data_directory)
    assert (found.data_volume, found.data_path) == (volume, path)
    with pytest.raises(InvalidInput, match="at /srv, /srv/db, /var/lib/mysql, it is '/elsewhere'"):
        statefulset_facts(several, CLUSTER, "mariadb", "/elsewhere")


def pod(conditions: dict[str, str], statuses: Any = None, **metadata: Any) -> Any:
    return client.V1Pod(
        metadata=client.V1ObjectMeta(
            name="p", uid="u", resource_version="5", creation_timestamp=NOW, labels={"a": "b"}, **metadata
        ),
        spec=client.V1PodSpec(containers=[container()], node_name="node-1"),
        status=client.V1PodStatus(
            phase="Running",
            pod_ip="10.0.0.3",
            reason="Evicted",
            conditions=[
                client.V1PodCondition(type=name, status=status, message="0/3 nodes")
                for name, status in conditions.items()
            ],
            container_statuses=statuses,
        ),
    )


def status_of(name: str, state: Any) -> Any:
    return client.V1ContainerStatus(
        name=name, state=state, ready=False, restart_count=0, image="i", image_id="i", started=False
    )


def test_pod() -> None:
    found = pod_facts(pod({"Ready": "True", "PodScheduled": "True"}))
    assert found.ready
    assert not found.deleting
    assert (found.node, found.ip, found.reason, found.unscheduled) == ("node-1", "10.0.0.3", "Evicted", "")
    assert (found.labels, found.annotations, found.resource_version) == ({"a": "b"}, {}, "5")


def test_pod_that_is_deleted_is_not_ready() -> None:
    found = pod_facts(pod({"Ready": "True"}, deletion_timestamp=NOW))
    assert found.deleting
    assert not found.ready


def test_pod_without_node() -> None:
    assert pod_facts(pod({"Ready": "False", "PodScheduled": "False"})).unscheduled == "0/3 nodes"


def test_gated_pod() -> None:
    assert not pod_facts(pod({})).gated
    gated = pod({})
    gated.spec.scheduling_gates = [client.V1PodSchedulingGate(name="galera-backup/lease")]
    assert pod_facts(gated).gated


def test_containers() -> None:
    ended = client.V1ContainerState(
        terminated=client.V1ContainerStateTerminated(exit_code=137, reason="OOMKilled", message="m")
    )
    waits = client.V1ContainerState(waiting=client.V1ContainerStateWaiting(reason="ImagePullBackOff"))
    runs = client.V1ContainerState(running=client.V1ContainerStateRunning(started_at=NOW))
    found = pod_facts(pod({}, [status_of("agent", ended), status_of("mariadb", waits), status_of("other", runs)]))
    assert {name: (end.exit_code, end.reason, end.message) for name, end in found.ended.items()} == {
        "agent": (137, "OOMKilled", "m")
    }
    assert {name: wait.reason for name, wait in found.waiting.items()} == {"mariadb": "ImagePullBackOff"}
    assert pod_facts(pod({})).ended == {}


def ports(*, claims: tuple[str, ...], containers: tuple[tuple[str, str, int], ...]) -> Any:
    """A pod whose volumes are claims; of each container its name, the volume that it mounts, and its port `mysql`."""
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name="p", uid="u", resource_version="5"),
        spec=client.V1PodSpec(
            volumes=[client.V1Volume(name=name, persistent_volume_claim={"claimName": name}) for name in claims],
            containers=[
                client.V1Container(
                    name=name,
                    image=f"{name}:1",
                    volume_mounts=[client.V1VolumeMount(name=volume, mount_path="/v")] if volume else None,
                    ports=[client.V1ContainerPort(name="mysql", container_port=port)] if port else None,
                )
                for name, volume, port in containers
            ],
        ),
        status=client.V1PodStatus(),
    )


@pytest.mark.parametrize(
    ("containers", "port"),
    [
        ((("proxy", "", 6033), ("mariadb", "data", 3307)), 3307),
        ((("proxy", "", 6033), ("mariadb", "data", 0)), 3306),
        ((("agent", "data", 6033), ("mariadb", "data", 3307)), 3307),
        ((("galera", "data", 3307), ("agent", "data", 0)), 3307),
        ((("proxy", "tmp", 6033),), 3306),
    ],
)
def test_the_port_is_that_of_the_server(containers: Any, port: int) -> None:
    found = ports(claims=("data",), containers=containers)
    assert pod_facts(found).port == port
    assert pod_shape(found, None).port == port


def test_the_port_of_the_container_that_is_named() -> None:
    found = ports(claims=("data",), containers=(("mariadb", "data", 3306), ("other", "data", 3307)))
    assert pod_shape(found, "other").port == 3307


def test_images_of_a_pod() -> None:
    assert pod_facts(ports(claims=(), containers=(("mariadb", "", 0),))).images == {"mariadb": "mariadb:1"}
