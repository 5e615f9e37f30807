"""The group, the versions, and what the account may do."""

from __future__ import annotations

import pytest

from galera_backup.models.inspection import ClusterFacts
from galera_backup.models.preflight import Effect
from galera_backup.models.server import ServerSeen
from galera_backup.models.shape import Mount
from galera_backup.rules.preflight.findings import key_volumes
from galera_backup.rules.preflight.servers import servers as look
from tests.unit.preflight.shapes import cluster, mount, pod, server, servers, statefulset

SILENT = ServerSeen(pod="mariadb-server-1", ip="10.0.0.1", error="connection refused")
REFUSED = SILENT.model_copy(update={"refused": True, "error": "Access denied (1045)"})
KEYS = {"plugins": ("file_key_management",), "files": {"file_key_management_filename": "/keys/keys.txt"}}


def kinds(asked: list[ServerSeen]) -> list[str]:
    return [each.kind for each in look(cluster(), asked)]


def test_a_healthy_cluster() -> None:
    assert kinds(servers()) == []


def test_servers_that_do_not_answer() -> None:
    assert kinds([server(0), SILENT, server(2)]) == ["server-silent"]
    nobody = [SILENT.model_copy(update={"pod": f"mariadb-server-{ordinal}"}) for ordinal in range(3)]
    assert kinds(nobody) == [*["server-silent"] * 3, "no-server-answers"]
    assert list(look(cluster(statefulset=statefulset(replicas=0)), [])) == []
    broken = cluster(members=tuple(pod(ordinal, ready=False) for ordinal in range(3)))
    assert [each.kind for each in look(broken, nobody)] == ["server-silent"] * 3  # a restore may be what mends it


def test_a_server_that_refuses_the_account() -> None:
    """Its restored form would stand right and Ready, and nobody could tell."""
    (finding,) = look(cluster(), [server(0), REFUSED, server(2)])
    assert (finding.kind, finding.severity.backup, finding.severity.restore) == (
        "log-in",
        Effect.REFUSES,
        Effect.REFUSES,
    )
    assert "Access denied (1045)" in finding.saw


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("10.6.0-MariaDB", []),
        ("10.5.26-MariaDB-log", ["version-too-old"]),
        ("8.0.36-28", ["version-unknown"]),
    ],
)
def test_versions(version: str, expected: list[str]) -> None:
    assert kinds(servers(version=version)) == expected * 3


def test_an_upgrade_under_way() -> None:
    (finding,) = look(cluster(), [server(0), server(1), server(2, version="10.11.20-MariaDB")])
    assert finding.kind == "versions-differ"
    assert "mariadb-server-2 10.11.20-MariaDB" in finding.saw


def test_members_that_are_not_its_pods() -> None:
    asked = servers(group_size=5, incoming=("10.0.0.0", "10.0.0.1", "10.0.0.2", "192.0.2.7"))
    (finding,) = look(cluster(), asked)
    assert (finding.kind, finding.severity.backup, finding.severity.restore) == (
        "members-beyond",
        Effect.TELLS,
        Effect.REFUSES,
    )
    assert finding.saw.endswith(
        "it has 5 members: 192.0.2.7, 1 without an address, as an arbitrator (garbd) has none too"
    )


def test_members_by_name() -> None:
    own = ("mariadb-server-0.discovery.openstack", "mariadb-server-1.discovery", "mariadb-server-2")
    (finding,) = look(cluster(), servers(group_size=4, incoming=(*own, "other-0.discovery")))
    assert "it has 4 members: other-0.discovery too" in finding.saw


@pytest.mark.parametrize(
    ("version", "privileges", "missing"),
    [
        ("10.11.19-MariaDB", {"RELOAD", "PROCESS", "SUPER"}, None),
        ("10.11.19-MariaDB", {"ALL PRIVILEGES"}, None),
        ("10.11.19-MariaDB", {"RELOAD", "PROCESS"}, "SUPER"),
        ("11.8.9-MariaDB", {"RELOAD", "PROCESS", "SUPER"}, "BINLOG MONITOR"),
        ("11.8.9-MariaDB", {"RELOAD", "PROCESS", "SUPER", "BINLOG MONITOR"}, None),
        ("10.11.19-MariaDB", {"USAGE"}, "PROCESS, RELOAD, SUPER"),
    ],
)
def test_privileges(version: str, privileges: set[str], missing: str | None) -> None:
    found = list(look(cluster(), servers(version=version, privileges=frozenset(privileges))))
    assert [each.kind for each in found] == (["grants-missing"] if missing else [])
    assert [each.remedy for each in found] == ([f"GRANT {missing} ON *.* TO the account"] if missing else [])


@pytest.mark.parametrize(("limit", "expected"), [(0, []), (2, ["connections-limited"]), (5, [])])
def test_connections(limit: int, expected: list[str]) -> None:
    assert kinds(servers(max_user_connections=limit)) == expected


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ((Mount(path="/keys", volume="keys", kind="secret", source="keys"),), []),
        ((Mount(path="/keys", volume="keys", kind="emptyDir"),), ["keys-out-of-reach"]),
        ((), ["keys-out-of-reach"]),
    ],
)
def test_keys_of_data_that_is_encrypted(mounts: tuple[Mount, ...], expected: list[str]) -> None:
    seen = cluster(members=(pod(0, mounts=(mount(0), *mounts)),))
    assert [each.kind for each in look(seen, [server(0, **KEYS)])] == expected


def test_keys_that_come_over_the_network() -> None:
    (finding,) = look(cluster(), [server(0, plugins=("hashicorp_key_management",))])
    assert finding.kind == "keys-out-of-reach"
    assert "'hashicorp_key_management'" in finding.saw


def test_where_the_keys_are() -> None:
    keys = Mount(path="/keys", volume="keys", kind="secret", source="keys")
    seen = cluster(members=(pod(0, mounts=(mount(0), keys)),))
    assert key_volumes(ClusterFacts(shape=seen, servers=(server(0, **KEYS),))) == ("keys",)
    assert key_volumes(ClusterFacts(shape=cluster(), servers=tuple(servers()))) == ()
