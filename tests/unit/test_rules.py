"""The pure decisions."""

from __future__ import annotations

from typing import Any

import pytest

from galera_backup.models.cluster import ClaimObservation, ClusterObservation, MemberObservation
from galera_backup.models.common import PrimaryLabel
from galera_backup.models.layout import Layout, NamedDirectory
from galera_backup.models.reports import CheckReport
from galera_backup.rules.formed import all_answer, not_formed, not_restored, uuid_of
from galera_backup.rules.health import (
    health_problems,
    is_backed_up_in_service,
    is_resynced,
    is_synced,
    lacking_quorum,
    others_in_sync,
)
from galera_backup.rules.plan import changed_since, expected_outage
from galera_backup.rules.selection import primary_pod, select_replica, serves_alone, successor_of_primary
from galera_backup.rules.space import lacking_space, lacking_staging_space, lacking_unpack_space
from galera_backup.show import members_table
from tests.unit.members import CLUSTER, GOOD


def cluster(replicas: int = 3, odd: int = 1, member: dict[str, Any] | None = None, **wsrep: Any) -> ClusterObservation:
    """All is well, but for the member `odd`."""
    members = []
    for ordinal in range(replicas):
        status = GOOD.model_copy(update={"cluster_size": replicas, **(wsrep if ordinal == odd else {})})
        values = {"pod": f"mariadb-server-{ordinal}", "ordinal": ordinal, "exists": True, "phase": "Running"}
        values |= {"ready": True, "node": "n", "wsrep": status} | ((member or {}) if ordinal == odd else {})
        members.append(MemberObservation.model_validate(values))
    claims = [ClaimObservation(ordinal=each, claim=f"c-{each}", uid="u") for each in range(replicas)]
    return ClusterObservation(cluster=CLUSTER, replicas=replicas, members=tuple(members), claims=tuple(claims))


@pytest.mark.parametrize(
    ("seen", "others"),
    [
        (cluster(), 2),
        (cluster(odd=2, desync=True), 2),
        (cluster(desync=True), 1),
        (cluster(local_state=1), 1),
        (cluster(cluster_status="non-Primary"), 1),
        (cluster(member={"wsrep": None, "error": "timed out"}), 1),
        (cluster(replicas=5, local_state=1), 3),
        (cluster(replicas=1, odd=9), 0),
    ],
)
def test_others_in_sync(seen: ClusterObservation, others: int) -> None:
    replica = f"mariadb-server-{len(seen.members) - 1}"
    assert others_in_sync(seen, replica) == others
    assert (lacking_quorum(seen, replica, 2) is None) == (others >= 2)
    assert lacking_quorum(seen, replica, 0) is None


def test_healthy_cluster() -> None:
    assert health_problems(cluster()) == ()
    assert not_formed(cluster(), 3) == ()


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (cluster(member={"exists": False, "wsrep": None}), "expected a pod, there is none"),
        (cluster(member={"phase": "Pending"}), "expected Kubernetes phase Running, saw Pending"),
        (cluster(member={"ready": False}), "expected Kubernetes condition Ready, saw Not Ready"),
        (cluster(member={"wsrep": None, "error": "2003"}), "its wsrep status could not be read: 2003"),
        (cluster(ready=False), "expected wsrep_ready ON, saw OFF"),
        (cluster(connected=False), "expected wsrep_connected ON, saw OFF"),
        (cluster(cluster_status="non-Primary"), "expected wsrep_cluster_status Primary, saw non-Primary"),
        (cluster(local_state_comment="Joined"), "expected wsrep_local_state_comment Synced, saw Joined"),
        (cluster(cluster_size=2), "expected wsrep_cluster_size 3, saw 2"),
        (cluster(desync=True, desync_count=1), "expected wsrep_desync OFF, saw ON"),
        (cluster(on=False), "expected wsrep_on ON, saw OFF"),
        (cluster(desync_count=1), "expected wsrep_desync_count 0, saw 1"),
    ],
)
def test_each_problem_of_a_member(seen: ClusterObservation, expected: str) -> None:
    found = health_problems(seen)
    assert f"mariadb-server-1: {expected}" in "; ".join(found)
    assert not_formed(seen, 3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"cluster_state_uuid": "v"}, "expected one wsrep_cluster_state_uuid on all members, saw u, v"),
        ({"cluster_conf_id": 8}, "expected one wsrep_cluster_conf_id on all members, saw 7, 8"),
    ],
)
def test_members_that_disagree(values: dict[str, Any], expected: str) -> None:
    assert health_problems(cluster(**values)) == (expected,)


@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
def test_two_others_must_stay_in_sync(replicas: int) -> None:
    """A cluster that has not so many is backed up in service."""
    assert health_problems(cluster(replicas)) == ()
    assert is_backed_up_in_service(cluster(replicas)) == (replicas < 3)
    problems = health_problems(cluster(replicas, odd=0, local_state=1, local_state_comment="Joining"))
    assert any("expected at least 3 members in sync" in each for each in problems) == (replicas == 3)


def test_small_cluster_can_form() -> None:
    assert not_formed(cluster(1), 1) == ()
    assert "it wants 1" in not_formed(cluster(1), 3)[0]
    assert not_formed(cluster(cluster_state_uuid="v"), 3)
    assert not_formed(cluster(cluster_conf_id=8), 3) == ()  # members that have just joined differ for a moment


def test_uuid_of_the_group_that_runs() -> None:
    assert uuid_of(cluster()) == "u"
    assert uuid_of(cluster(cluster_state_uuid="v")) is None  # in two groups
    assert uuid_of(cluster(cluster_state_uuid="v", cluster_status="non-Primary")) == "u"
    assert uuid_of(cluster(member={"wsrep": None})) == "u"
    assert uuid_of(cluster(1, odd=0, cluster_status="Disconnected")) is None


NOT_SYNCED: list[dict[str, Any]] = [
    {"ready": False},
    {"connected": False},
    {"cluster_status": "non-Primary"},
    {"local_state": 2},
    {"desync": True},
]


@pytest.mark.parametrize("values", NOT_SYNCED)
def test_not_in_sync(values: dict[str, Any]) -> None:
    assert is_synced(GOOD)
    assert not is_synced(None)
    assert not is_synced(GOOD.model_copy(update=values))
    assert not is_resynced(GOOD.model_copy(update=values))


@pytest.mark.parametrize("values", [{"desync_count": 1}, {"pending_desync": True}])
def test_in_sync_but_not_for_good(values: dict[str, Any]) -> None:
    assert is_resynced(GOOD)
    assert is_synced(GOOD.model_copy(update=values))
    assert not is_resynced(GOOD.model_copy(update=values))


def selected(seen: ClusterObservation, ordinal: int | None = None) -> int | None:
    found = select_replica(seen, ordinal)
    return found.ordinal if found else None


def test_selection() -> None:
    assert selected(cluster(11)) == 10
    assert selected(cluster(3), 0) == 0
    assert selected(cluster(3, odd=2, local_state=2)) == 1
    assert selected(cluster(3, odd=2, member={"ready": False})) == 1
    assert selected(cluster(3, odd=2, desync=True), 2) is None
    assert selected(cluster(3), 7) is None


def test_selection_spares_one_where_it_can() -> None:
    for ordinal, avoided, expected in ((None, 1, 0), (None, 0, 1), (1, 1, 1)):
        found = select_replica(cluster(2), ordinal, f"mariadb-server-{avoided}")
        assert found is not None
        assert found.ordinal == expected
    alone = select_replica(cluster(2, local_state=1), None, "mariadb-server-0")
    assert alone is not None
    assert alone.ordinal == 0


@pytest.mark.parametrize(
    ("seen", "alone"),
    [
        (cluster(), False),
        (cluster(2), False),
        (cluster(2, local_state=1), True),
        (cluster(2, member={"ready": False}), True),
        (cluster(1), True),
    ],
)
def test_who_serves_alone(seen: ClusterObservation, alone: bool) -> None:
    assert serves_alone(seen, "mariadb-server-0") == alone


def test_successor_is_the_lowest_in_sync_that_is_no_backup() -> None:
    label = PrimaryLabel()

    def successor(seen: ClusterObservation, target: str) -> str | None:
        found = successor_of_primary(seen, target, label)
        return found.pod if found else None

    assert successor(cluster(), "mariadb-server-2") == "mariadb-server-0"
    assert successor(cluster(), "mariadb-server-0") == "mariadb-server-1"
    assert successor(cluster(odd=1, desync=True), "mariadb-server-0") == "mariadb-server-2"
    assert successor(cluster(odd=1, member={"role": "backup"}), "mariadb-server-0") == "mariadb-server-2"
    assert successor(cluster(1), "mariadb-server-0") is None


def test_primary_pod() -> None:
    seen = cluster(member={"role": "primary"})
    assert primary_pod(seen, PrimaryLabel()) == "mariadb-server-1"
    assert primary_pod(seen, None) is None
    assert primary_pod(cluster(), PrimaryLabel()) is None


def report(free: int, used: int, backup: int) -> CheckReport:
    return CheckReport(data_total_kb=free + used, data_free_kb=free, data_used_kb=used, backup_free_kb=backup)


def test_space() -> None:
    assert lacking_space(report(105, 0, 0), 100, "c") is None
    assert lacking_space(report(5, 100, 0), 100, "c") is None  # old data goes
    assert "expected room for 105 KB, it has 104 KB" in (lacking_space(report(4, 100, 0), 100, "c") or "")
    assert lacking_unpack_space(report(0, 0, 105), 100, "b") is None
    assert "expected 105 KB free" in (lacking_unpack_space(report(0, 0, 104), 100, "b") or "")
    assert lacking_staging_space(report(125, 75, 0), 100, "c") is None  # 105, and a tenth of the volume
    assert "expected 125 KB free" in (lacking_staging_space(report(124, 76, 0), 100, "c") or "")


def test_table() -> None:
    lines = members_table(cluster(member={"exists": False, "phase": "", "ready": False, "wsrep": None})).splitlines()
    assert lines[2] == "| mariadb-server-0 | Running, Ready | Synced | Primary | 3 | OFF |"
    assert lines[3] == "| mariadb-server-1 | missing, Not Ready | unreachable | | | |"


def test_restored_cluster_is_known_by_its_uuid() -> None:
    assert not_restored(cluster(), "u") is None
    assert "saw mariadb-server-1 has other" in (not_restored(cluster(cluster_state_uuid="other"), "u") or "")
    silent = cluster(member={"wsrep": None, "error": "timed out"})
    assert "saw mariadb-server-1 has no answer. Look at the logs" in (not_restored(silent, "u") or "")
    assert (all_answer(cluster()), all_answer(silent)) == (True, False)


def test_expected_outage_grows_with_what_is_written_in_it() -> None:
    assert [expected_outage(10**9, copies) for copies in (0, 1, 5)] == [10, 12, 20]


def planned(image: str = "mariadb:10.11", uid: str = "u", **layout: Any) -> ClusterObservation:
    """As a restore was planned for it; its servers were asked, if not told otherwise."""
    seen = cluster()
    place = Layout(**({"asked": True} | layout))
    claims = [each.model_copy(update={"layout": place, "uid": uid}) for each in seen.claims]
    return seen.model_copy(update={"claims": tuple(claims), "image": image})


@pytest.mark.parametrize(
    ("then", "now", "says"),
    [
        ({}, {}, None),
        ({}, {"uid": "v"}, "saw others: c-0, c-1, c-2, made anew"),
        ({"below": "data"}, {"below": "data"}, None),
        ({"below": "data"}, {}, "at other places on c-0, c-1, c-2"),
        ({}, {"sub_path": "mysql"}, "at other places on c-0, c-1, c-2"),
        ({}, {"directories": (NamedDirectory(variable="tmpdir", path="tmp"),)}, "at other places"),
        ({"below": "data", "asked": False}, {}, None),
        ({"below": "data"}, {"asked": False}, None),
        ({"sub_path": "a", "asked": False}, {"asked": False}, "at other places"),
        ({}, {"host_files": ("notes",)}, None),
        ({}, {"image": "mariadb:11.4"}, "expected the image 'mariadb:10.11' in the template"),
        ({}, {"image": ""}, None),
    ],
)
def test_what_has_changed_since_the_plan(then: dict[str, Any], now: dict[str, Any], says: str | None) -> None:
    found = changed_since(planned(**then), planned(**now))
    assert found is None if says is None else found is not None and says in found


def test_others_in_the_group_do_not_keep_it_from_having_formed() -> None:
    """An arbitrator that was left running joins the restored cluster."""
    members = {"cluster_size": 4}
    seen = cluster()
    bigger = [
        each.model_copy(update={"wsrep": each.wsrep.model_copy(update=members)}) for each in seen.members if each.wsrep
    ]
    assert not_formed(seen.model_copy(update={"members": tuple(bigger)}), 3) == ()
    assert not_formed(cluster(cluster_size=4), 3), "they are not in one group"
