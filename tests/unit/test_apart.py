"""What keeps a clone and its source two clusters."""

from __future__ import annotations

from typing import Any

import pytest

from galera_backup.models.clone import GaleraGroup, GroupMember, Side, Sides
from galera_backup.models.cluster import ClusterObservation, MemberObservation
from galera_backup.models.common import ClusterRef
from galera_backup.mysql.settings import incoming_hosts
from galera_backup.rules.clone import in_another_group, joined_already, joined_another, named_in
from tests.unit.members import GOOD

SOURCE = ClusterRef(namespace="openstack", statefulset="mariadb-server")
BESIDE = ClusterRef(namespace="openstack", statefulset="mariadb-clone")
ELSEWHERE = ClusterRef(namespace="test", statefulset="mariadb-server")
THEIRS, OWN = "0979c94d-e6ee-11f1-b6f6-93a976a0f1fb", "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
SERVICES = ("mariadb", "mariadb-discovery")


def side(cluster: ClusterRef, network: str, uuid: str, **group: Any) -> Side:
    """Three members that see each other."""
    ips = [f"{network}.{each}" for each in range(1, 4)]
    seen = GaleraGroup(address="gcomm://", incoming=tuple(ips), state_uuid=uuid, size=3)
    seen = seen.model_copy(update=group)
    second = "fd00::" if cluster == SOURCE else "fd01::"
    members = [
        GroupMember(pod=f"{cluster.statefulset}-{each}", ip=ip, ips=(ip, f"{second}{each}"), group=seen)
        for each, ip in enumerate(ips)
    ]
    return Side(cluster=cluster, members=tuple(members), services=SERVICES)


def sides(target: ClusterRef = BESIDE, **group: Any) -> Sides:
    """Two clusters; `group`: what is different in the target's."""
    return Sides(target=side(target, "10.1.0", OWN, **group), source=side(SOURCE, "10.0.0", THEIRS))


@pytest.mark.parametrize("target", [BESIDE, ELSEWHERE])
@pytest.mark.parametrize("uuid", [OWN, THEIRS])
def test_two_clusters(target: ClusterRef, uuid: str) -> None:
    """Also with one uuid: an earlier restore may have kept the backup's."""
    assert joined_already(sides(target, state_uuid=uuid)) is None


@pytest.mark.parametrize(
    ("target", "address", "joins"),
    [
        (BESIDE, "gcomm://10.0.0.2:4567,10.1.0.1", True),
        (BESIDE, "gcomm://[FD00:0::2]:4567,10.1.0.1", True),
        (BESIDE, "gcomm://[fd00::9]", False),
        (BESIDE, "gcomm://10.1.0.1,10.1.0.2?pc.wait_prim=no", False),
        (BESIDE, "gcomm://mariadb-server-1.mariadb-discovery", True),
        (BESIDE, "gcomm://mariadb-server-1.mariadb-discovery.openstack.svc.cluster.local:4567", True),
        (BESIDE, "gcomm://mariadb-clone-0.mariadb-discovery.openstack.svc.cluster.local", False),
        (BESIDE, "gcomm://mariadb-server-backup-0.other.openstack.svc", False),
        (BESIDE, "gcomm://mariadb-discovery", True),
        (BESIDE, "gcomm://clone-discovery", False),
        (ELSEWHERE, "gcomm://mariadb-discovery", False),
        (ELSEWHERE, "gcomm://mariadb-discovery.openstack.svc.cluster.local.", True),
        (ELSEWHERE, "gcomm://mariadb-server-0.mariadb-discovery", False),
        (ELSEWHERE, "gcomm://mariadb-server-0.mariadb-discovery.openstack.svc", True),
        (ELSEWHERE, "gcomm://mariadb-server-0.mariadb-discovery.test.svc", False),
    ],
)
def test_address_of_the_target(target: ClusterRef, address: str, joins: bool) -> None:
    found = joined_already(sides(target, address=address))
    assert (found is not None) == joins
    if found is not None:
        assert "wsrep_cluster_address of" in found
        assert "Nothing was changed" in found


def test_one_group() -> None:
    both = ("10.1.0.1", "10.0.0.1")
    found = joined_already(sides(incoming=both, state_uuid=THEIRS, size=6))
    assert found is not None
    assert "mariadb-clone-0 has the source's members 10.0.0.1 in its group" in found
    assert "in a group of 6, with the source's uuid; it has 3 pods" in found


def test_members_that_do_not_tell_their_addresses_are_counted() -> None:
    found = joined_already(sides(incoming=(), size=4))
    assert found is not None
    assert "in a group of 4, with members that are not its pods" in found
    assert joined_already(sides(incoming=(), size=3)) is None


def test_only_the_source_sees_it() -> None:
    seen = sides()
    source = side(SOURCE, "10.0.0", THEIRS, incoming=("10.0.0.1", "mariadb-clone-2.mariadb-discovery"))
    found = joined_already(seen.model_copy(update={"source": source}))
    assert found is not None
    assert "the source's mariadb-server-0 has the target's members mariadb-clone-2.mariadb-discovery" in found


def test_target_that_does_not_answer_and_source_that_is_unseen() -> None:
    silent = Side(cluster=BESIDE, members=(GroupMember(pod="mariadb-clone-0", ip="", error="refused"),))
    assert joined_already(Sides(target=silent, source=Side(cluster=SOURCE, unseen="403"))) is None


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("mariadb-discovery.openstack.svc.cluster.local", True),
        ("mariadb-discovery", False),
        ("mariadb", False),
        ("--wsrep-cluster-address=gcomm://mariadb-discovery", True),
        ("exec mariadbd --wsrep_cluster_address=gcomm://mariadb-server-0.mariadb-discovery,10.1.0.7", True),
        ("10.0.0.3", True),
        ("mariadb-discovery.test.svc.cluster.local", False),
        ("docker.io/mariadb:10.11", False),
    ],
)
def test_settings_of_the_target(setting: str, named: bool) -> None:
    seen = sides()
    found = named_in(["--other", setting], seen.source, seen.target)
    assert bool(found) == named
    assert (joined_already(seen.model_copy(update={"named": found})) is not None) == named


# --- after the start


@pytest.mark.parametrize(
    ("group", "text"),
    [
        ({}, None),
        ({"incoming": ()}, None),
        ({"incoming": ("mariadb-clone-0.mariadb-discovery.openstack.svc", "10.1.0.2")}, None),
        ({"state_uuid": THEIRS}, f"has wsrep_cluster_state_uuid {THEIRS}"),
        ({"size": 4}, "is in a group of 4"),
        ({"incoming": ("10.1.0.1", "10.0.0.1")}, "sees the members 10.0.0.1, which are not"),
        ({"incoming": ("mariadb-server-0.mariadb-discovery",)}, "sees the members mariadb-server-0"),
    ],
)
def test_clone_that_has_started(group: dict[str, Any], text: str | None) -> None:
    found = joined_another(sides(**group), OWN, 3)
    assert (found is None) == (text is None)
    if text is not None:
        assert text in str(found)


def test_clone_whose_member_does_not_answer() -> None:
    target = Side(cluster=BESIDE, members=(GroupMember(pod="mariadb-clone-0", ip="", error="refused"),))
    seen = Sides(target=target, source=Side(cluster=SOURCE))
    assert "could not be asked: refused" in str(joined_another(seen, OWN, 1))


@pytest.mark.parametrize(
    ("wsrep", "strange"),
    [
        ({"cluster_state_uuid": OWN}, False),
        ({"cluster_state_uuid": THEIRS}, True),
        ({"cluster_state_uuid": THEIRS, "cluster_status": "Disconnected"}, False),
        ({"cluster_state_uuid": "00000000-0000-0000-0000-000000000000"}, False),
    ],
)
def test_clone_that_starts(wsrep: dict[str, Any], strange: bool) -> None:
    member = MemberObservation(pod="c-0", ordinal=0, exists=True, wsrep=GOOD.model_copy(update=wsrep))
    silent = MemberObservation(pod="c-1", ordinal=1, exists=True, error="starting")
    seen = ClusterObservation(cluster=BESIDE, replicas=2, members=(member, silent), claims=())
    assert (in_another_group(seen, (OWN,)) is not None) == strange


def test_incoming_addresses() -> None:
    text = "10.0.0.1:3306,AUTO,[fd00::2]:3306,fd00::3, mariadb-0.mariadb:3306,,10.0.0.9"
    hosts = ("10.0.0.1", "fd00::2", "fd00::3", "mariadb-0.mariadb", "10.0.0.9")
    assert incoming_hosts(text) == hosts
    assert incoming_hosts("") == ()
