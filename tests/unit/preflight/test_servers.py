"""The group, the versions, and what the account may do."""

from __future__ import annotations

import pytest

from galera_backup.models.inspection import ClusterFacts
from galera_backup.models.preflight import Effect, Finding
from galera_backup.models.server import ServerSeen
from galera_backup.models.shape import Mount
from galera_backup.rules.preflight.findings import all_findings, key_volumes, keys_of_backup, layouts
from galera_backup.rules.preflight.servers import servers as look
from tests.unit.preflight.shapes import cluster, mount, pod, server, servers, statefulset

SILENT = ServerSeen(pod="mariadb-server-1", ip="10.0.0.1", error="connection refused")
REFUSED = SILENT.model_copy(update={"refused": True, "error": "Access denied (1045)"})
KEYS = {
    "plugins": ("file_key_management",),
    "files": {"file_key_management_filename": "/keys/keys.txt"},
    "group_size": 1,
}


def kinds(asked: list[ServerSeen]) -> list[str]:
    return [each.kind for each in look(cluster(), asked)]


def test_a_healthy_cluster() -> None:
    assert kinds(servers()) == []


def test_servers_that_do_not_answer() -> None:
    assert kinds([server(0), SILENT, server(2)]) == ["server-silent"]
    nobody = [SILENT.model_copy(update={"pod": f"mariadb-server-{ordinal}"}) for ordinal in range(3)]
    assert kinds(nobody) == [*["server-silent"] * 3, "no-server-answers", "group-unknown"]
    assert list(look(cluster(statefulset=statefulset(replicas=0)), [])) == []
    broken = cluster(members=tuple(pod(ordinal, ready=False) for ordinal in range(3)))
    found = list(look(broken, nobody))
    assert [each.kind for each in found] == [*["server-silent"] * 3, "group-unknown"]
    assert {each.severity.restore for each in found} == {Effect.WARNS}, "a restore may be what mends it"


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


NAMED = cluster(statefulset=statefulset(service="discovery"))


def test_members_by_name() -> None:
    own = ("mariadb-server-0.discovery.openstack", "mariadb-server-1.discovery", "mariadb-server-2")
    (finding,) = look(NAMED, servers(group_size=4, incoming=(*own, "other-0.discovery")))
    assert "it has 4 members: other-0.discovery too" in finding.saw


def group(answering: int, incoming: tuple[str, ...], size: int = 3) -> list[Finding]:
    """Of so many that answer; the others run and are silent."""
    hosts = {"group_size": size, "incoming": incoming}
    silent = [
        SILENT.model_copy(update={"pod": f"mariadb-server-{each}", "ip": f"10.0.0.{each}"})
        for each in range(answering, 3)
    ]
    found = look(NAMED, [*[server(ordinal, **hosts) for ordinal in range(answering)], *silent])
    return [each for each in found if each.kind != "server-silent"]


def full(ordinal: int, domain: str = "") -> str:
    return f"mariadb-server-{ordinal}.discovery.openstack{domain}"


@pytest.mark.parametrize(
    ("answering", "incoming", "expected"),
    [
        (3, (), None),
        (3, (full(0), full(1, ".svc"), full(2, ".svc.example.org.")), None),
        (2, ("10.0.0.0", "10.0.0.1", "10.0.0.2"), None),
        (2, (full(0), full(1), full(2, ".svc.cluster.local")), None),
        (2, ("10.0.0.0", "10.0.0.1", "192.0.2.7"), "3 members: 192.0.2.7 too"),
        (2, ("10.0.0.0", "10.0.0.1"), "3 members: 1 may be mariadb-server-2, which did not answer"),
        (2, ("mariadb-server-0", "mariadb-server-1", "mariadb-server-2"), "1 may be mariadb-server-2"),
        (1, ("10.0.0.0",), "2 may be mariadb-server-1, mariadb-server-2"),
    ],
)
def test_a_foreign_member_beside_one_of_ours_that_is_silent(
    answering: int, incoming: tuple[str, ...], expected: str | None
) -> None:
    """Size and replicas are the same: only who answered, or has an address in the group, is surely ours."""
    found = group(answering, incoming)
    kind = "group-unclear" if expected and "may be" in expected else "members-beyond"
    assert [each.kind for each in found] == ([kind] if expected else [])
    assert all(expected in each.saw for each in found if expected)
    assert all(each.severity.acceptable == (kind == "group-unclear") for each in found)


def test_a_foreign_member_in_place_of_one_that_is_down() -> None:
    """A pod without an address cannot be the third."""
    seen = cluster(members=(pod(0), pod(1)))
    (finding,) = look(seen, [server(each, incoming=("10.0.0.0", "10.0.0.1")) for each in (0, 1)])
    assert finding.kind == "members-beyond"
    assert finding.saw.endswith("it has 3 members: 1 without an address, as an arbitrator (garbd) has none too")


def test_a_second_site_whose_pods_are_called_the_same() -> None:
    names = tuple(f"mariadb-server-{ordinal}.discovery" for ordinal in range(3))
    (finding,) = group(3, (*names, *names), size=6)
    assert finding.kind == "members-beyond"
    assert finding.saw.endswith("it has 6 members: 3 under names of its pods too")


def test_members_that_have_lost_each_other() -> None:
    """Each part is looked at: foreign members are in one of them."""
    ours = server(0, group="a", group_size=1, incoming=("10.0.0.0",))
    others = [server(each, group="b", incoming=("10.0.0.1", "10.0.0.2", "192.0.2.7")) for each in (1, 2)]
    (finding,) = look(NAMED, [ours, *others])
    assert "it has 3 members: 192.0.2.7 too" in finding.saw


def test_a_member_that_does_not_know_all_addresses() -> None:
    """It joined by a state transfer while another member did."""
    all_of_them = ("10.0.0.0", "10.0.0.1", "10.0.0.2")
    asked = [server(0, incoming=all_of_them), server(1, incoming=all_of_them), server(2, incoming=all_of_them[:2])]
    assert list(look(cluster(), asked)) == []


def test_two_groups_of_one_uuid() -> None:
    """Each part was made primary by hand, at the same number of its configuration."""
    parts = [server(0, group_size=2), server(1, group_size=2), server(2, group_size=2)]
    (finding,) = look(cluster(), parts)
    assert finding.kind == "group-unclear"
    assert "each says that its own has 2 members" in finding.saw


def test_a_secret_that_cannot_be_read() -> None:
    found = all_findings(ClusterFacts(shape=cluster(), no_account="reading Secret: it does not exist"))
    assert [each.kind for each in found] == ["account-unknown"]
    assert "reading Secret: it does not exist" in found[0].saw


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
    check_privileges(3, version, privileges, missing)


@pytest.mark.parametrize(
    ("version", "privileges", "missing"),
    [
        ("10.11.19-MariaDB", {"RELOAD", "PROCESS", "SUPER"}, None),
        ("10.11.19-MariaDB", {"RELOAD", "PROCESS", "BINLOG MONITOR"}, None),
        ("10.11.19-MariaDB", {"RELOAD", "PROCESS"}, "BINLOG MONITOR"),
        ("11.8.9-MariaDB", {"RELOAD", "PROCESS", "SUPER"}, "BINLOG MONITOR"),
        ("11.8.9-MariaDB", {"RELOAD", "PROCESS", "BINLOG MONITOR"}, None),
    ],
)
@pytest.mark.parametrize("replicas", [1, 2])
def test_privileges_where_no_replica_is_taken_out(
    version: str, privileges: set[str], missing: str | None, replicas: int
) -> None:
    check_privileges(replicas, version, privileges, missing)


def check_privileges(replicas: int, version: str, privileges: set[str], missing: str | None) -> None:
    seen = cluster(statefulset=statefulset(replicas=replicas))
    asked = servers(version=version, privileges=frozenset(privileges), group_size=replicas)
    found = [each for each in look(seen, asked[:replicas]) if each.kind != "connections-not-reserved"]
    assert [each.kind for each in found] == (["grants-missing"] if missing else [])
    assert [each.remedy for each in found] == ([f"GRANT {missing} ON *.* TO the account"] if missing else [])


@pytest.mark.parametrize(
    ("limit", "expected"), [(0, []), (3, ["connections-too-few"]), (4, ["connections-limited"]), (5, [])]
)
def test_connections(limit: int, expected: list[str]) -> None:
    assert kinds(servers(max_user_connections=limit)) == expected


def test_limits_for_an_hour() -> None:
    (finding,) = look(cluster(), servers(hourly_limits=("MAX_QUERIES_PER_HOUR 100",)))
    assert (finding.kind, finding.severity.backup, finding.severity.restore) == (
        "hourly-limits",
        Effect.WARNS,
        Effect.WARNS,
    )
    assert "MAX_QUERIES_PER_HOUR 100" in finding.saw


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
    (finding,) = look(cluster(), [server(0, plugins=("hashicorp_key_management",), group_size=1)])
    assert finding.kind == "keys-out-of-reach"
    assert "'hashicorp_key_management'" in finding.saw


def test_where_the_keys_are() -> None:
    keys = Mount(path="/keys", volume="keys", kind="secret", source="keys")
    seen = cluster(members=(pod(0, mounts=(mount(0), keys)),))
    assert key_volumes(ClusterFacts(shape=seen, servers=(server(0, **KEYS),))) == ("keys",)
    assert key_volumes(ClusterFacts(shape=cluster(), servers=tuple(servers()))) == ()


def test_a_backup_knows_where_its_keys_were() -> None:
    """A restore of a cluster that is down asks nobody else."""
    keys = Mount(path="/keys", volume="keys", kind="secret", source="keys")
    seen = cluster(members=(pod(0, mounts=(mount(0), keys)),), planned=(pod(0, mounts=(mount(0), keys)),))
    (layout,) = layouts(ClusterFacts(shape=seen, servers=(server(0, **KEYS),))).values()
    assert layout.key_files == ("/keys/keys.txt",)
    assert keys_of_backup(layout.key_files, seen.planned[0]) == (("keys",), ())
    assert keys_of_backup(layout.key_files, None) == ((), ())
    volumes, (missing,) = keys_of_backup(("/elsewhere/keys.txt",), seen.planned[0])
    assert (volumes, missing.kind) == ((), "keys-out-of-reach")


@pytest.mark.parametrize(
    ("fields", "kind", "effects"),
    [
        ({"wsrep_mode": "STRICT_REPLICATION,BF_ABORT_MARIABACKUP"}, "backup-gives-way", (Effect.WARNS, Effect.NONE)),
        ({"sst_method": "rsync"}, "copies-sent-by-rsync", (Effect.NONE, Effect.WARNS)),
    ],
)
def test_settings_of_galera(fields: dict[str, str], kind: str, effects: tuple[Effect, Effect]) -> None:
    found = list(look(cluster(), [server(0, **fields), server(1), server(2)]))
    assert [(each.kind, each.about) for each in found] == [(kind, "server of 'mariadb-server-0'")]
    assert (found[0].severity.backup, found[0].severity.restore) == effects
    assert kinds(servers(wsrep_mode="STRICT_REPLICATION", sst_method="mariabackup")) == []


@pytest.mark.parametrize(
    ("synced", "expected"),
    [
        ((True, True, True), []),
        ((True, False, False), []),
        ((False, False, False), []),
        ((False, True, False), ["first-not-in-sync"]),
    ],
)
def test_the_first_replica_is_behind(synced: tuple[bool, ...], expected: list[str]) -> None:
    assert kinds([server(ordinal, synced=each) for ordinal, each in enumerate(synced)]) == expected
    absent = [server(ordinal, synced=each) for ordinal, each in enumerate(synced)][1:]
    assert ("first-not-in-sync" in kinds(absent)) == any(synced[1:])


@pytest.mark.parametrize(
    ("version", "more", "expected"),
    [
        ("10.11.19-MariaDB", {"SUPER"}, []),
        ("11.4.5-MariaDB", {"SUPER", "BINLOG MONITOR"}, ["connections-not-reserved"]),
        ("11.4.5-MariaDB", {"SUPER", "BINLOG MONITOR", "CONNECTION ADMIN"}, []),
    ],
)
def test_the_connection_that_a_server_keeps_free(version: str, more: set[str], expected: list[str]) -> None:
    assert kinds(servers(version=version, privileges={"RELOAD", "PROCESS", *more})) == expected
