"""Data claims that would not outlive a stop, and claims on which nobody can work."""

from __future__ import annotations

import pytest

from galera_backup.models.preflight import Effect, Finding, Undertaking, refusing
from galera_backup.models.shape import ClusterShape, Owner
from galera_backup.rules.preflight.claims import claims
from tests.unit.preflight.shapes import OWNER, claim, cluster, mount, pod, statefulset

BACKUP_CLAIM = claim(0, name="backups", ordinal=None)
CHART = Owner(api_version="v1", kind="Release", name="galera", uid="x")
A_POD = Owner(api_version="v1", kind="Pod", name="mariadb-server-2", uid="pod-2")


def one_claim(**fields: object) -> ClusterShape:
    return cluster(claims=(claim(0), claim(1, **fields), claim(2), BACKUP_CLAIM))


def found(seen: ClusterShape) -> list[tuple[str, str]]:
    return [(each.kind, each.about) for each in claims(seen)]


def refused(seen: ClusterShape, undertaking: Undertaking) -> bool:
    return bool(refusing(list(claims(seen)), undertaking))


def test_a_healthy_cluster() -> None:
    assert found(cluster()) == []
    assert found(one_claim(access_modes=("ReadWriteMany",))) == []


def test_scaling_would_delete_the_claims() -> None:
    seen = cluster(statefulset=statefulset(claims_when_scaled="Delete"))
    (finding,) = claims(seen)
    assert finding.kind == "claims-deleted-by-scaling"
    assert (finding.severity.backup, finding.severity.restore) == (Effect.WARNS, Effect.REFUSES)
    assert finding.remedy == (
        "kubectl -n openstack patch statefulset mariadb-server --type merge -p "
        """'{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Retain"}}}'"""
    )


@pytest.mark.parametrize(
    ("fields", "kind", "backup", "restore"),
    [
        ({"phase": "Lost"}, "claim-lost", True, True),
        ({"phase": "Pending"}, "claim-unbound", False, True),
        ({"deleting": True}, "claim-deleting", False, True),
        ({"owners": (A_POD,)}, "claim-owned-by-a-pod", False, True),
        ({"owners": (CHART,)}, "claim-owned", False, True),
        ({"owners": (OWNER,)}, "claim-owned-by-the-statefulset", False, True),
        ({"access_modes": ("ReadWriteOncePod",)}, "claim-for-one-pod", True, True),
        ({"volume_mode": "Block"}, "claim-without-filesystem", True, True),
    ],
)
def test_one_claim(fields: dict[str, object], kind: str, backup: bool, restore: bool) -> None:
    seen = one_claim(**fields)
    assert found(seen) == [(kind, "claim 'mysql-data-mariadb-server-1'")]
    assert (refused(seen, "backup"), refused(seen, "restore")) == (backup, restore)


def test_a_claim_that_is_not_there() -> None:
    seen = cluster(claims=(claim(0), claim(1)), missing_claims=("mysql-data-mariadb-server-2",))
    assert found(seen) == [("claim-missing", "claim 'mysql-data-mariadb-server-2'")]


def test_a_claim_for_one_pod_that_nobody_uses() -> None:
    """A cluster at 0: a pod of ours may be the one pod."""
    claim_for_one = claim(0, access_modes=("ReadWriteOncePod",))
    assert found(cluster(members=(), claims=(claim_for_one,))) == []
    assert found(cluster(members=(pod(0, phase="Succeeded"),), claims=(claim_for_one,))) == []


def test_another_pod_mounts_a_claim() -> None:
    debug = pod(0, name="debug", owners=(), mounts=(mount(1, "/data"),))
    ended = pod(0, name="ended", owners=(), mounts=(mount(1, "/data"),), phase="Succeeded")
    (finding,) = claims(cluster(others=(debug, ended)))
    assert (finding.kind, finding.about) == ("claim-shared", "claim 'mysql-data-mariadb-server-1'")
    assert "'debug' does too" in finding.saw
    assert finding.remedy == "kubectl -n openstack delete pod debug"


def test_another_pod_only_reads_a_claim() -> None:
    reader = pod(0, name="exporter", owners=(), mounts=(mount(1, "/data", read_only=True),))
    (finding,) = claims(cluster(others=(reader,)))
    assert (finding.kind, finding.severity.backup, finding.severity.restore) == (
        "claim-read-by-others",
        Effect.NONE,
        Effect.WARNS,
    )
    both = pod(0, name="both", owners=(), mounts=(mount(1, "/data", read_only=True), mount(1, "/rw")))
    assert [each.kind for each in claims(cluster(others=(both,)))] == ["claim-shared"]


def test_the_backup_claim_may_have_an_owner_and_other_users() -> None:
    chart = Owner(api_version="v1", kind="Release", name="backups", uid="x")
    reader = pod(0, name="reader", owners=(), mounts=(mount(0, "/backups", source="backups"),))
    assert found(cluster(claims=(claim(0, name="backups", ordinal=None, owners=(chart,)),), others=(reader,))) == []
    deleting = claim(0, name="backups", ordinal=None, deleting=True)
    assert found(cluster(claims=(deleting,))) == [("claim-deleting", "claim 'backups'")]


def test_a_sentence() -> None:
    (finding,) = claims(one_claim(deleting=True))
    assert isinstance(finding, Finding)
    assert finding.sentence().startswith("claim 'mysql-data-mariadb-server-1': expected nobody to delete it")
    assert finding.sentence().endswith("kubectl -n openstack delete pod mariadb-server-1")


def test_what_a_request_can_accept() -> None:
    owned, deleting = one_claim(owners=(CHART,)), one_claim(deleting=True)
    kinds = {"claim-owned", "claim-owned-by-a-pod", "claim-deleting"}
    assert refusing(list(claims(owned)), "restore", {"claim-deleting"})
    assert not refusing(list(claims(owned)), "restore", kinds)
    assert refusing(list(claims(deleting)), "restore", kinds)
    assert refusing(list(claims(one_claim(owners=(A_POD,)))), "restore", kinds), "the stop deletes it for sure"


@pytest.mark.parametrize(
    ("mode", "nodes", "in_turn"),
    [
        ("ReadWriteOnce", ("a", "a", "a"), False),
        ("ReadWriteOnce", ("a", "b", "a"), True),
        ("ReadWriteOncePod", ("a", "a", "a"), True),
        ("ReadWriteMany", ("a", "b", "c"), False),
    ],
)
def test_a_backup_claim_that_two_pods_cannot_use_at_once(mode: str, nodes: tuple[str, ...], in_turn: bool) -> None:
    members = tuple(pod(ordinal, node=node) for ordinal, node in enumerate(nodes))
    seen = cluster(
        members=members, claims=(claim(0), claim(1), claim(2), claim(0, name="b", ordinal=None, access_modes=(mode,)))
    )
    assert found(seen) == ([("backup-claim-in-turn", "claim 'b'")] if in_turn else [])
    assert not refused(seen, "restore")


@pytest.mark.parametrize(
    ("nodes", "planned", "mode", "in_turn"),
    [
        ((), 3, "ReadWriteOnce", True),
        ((), 1, "ReadWriteOnce", False),
        ((), 3, "ReadWriteMany", False),
        (("a", "a", ""), 3, "ReadWriteOnce", True),
        (("a", "a", "a"), 3, "ReadWriteOnce", False),
    ],
)
def test_nobody_knows_on_which_nodes_the_volumes_are(
    nodes: tuple[str, ...], planned: int, mode: str, in_turn: bool
) -> None:
    seen = cluster(
        members=tuple(pod(ordinal, node=node) for ordinal, node in enumerate(nodes)),
        planned=tuple(pod(ordinal, node="") for ordinal in range(planned)),
        claims=(claim(0, name="b", ordinal=None, access_modes=(mode,)),),
    )
    assert found(seen) == ([("backup-claim-in-turn", "claim 'b'")] if in_turn else [])


@pytest.mark.parametrize(
    ("mode", "fields", "told"),
    [
        ("ReadWriteOnce", {"node": "other"}, True),
        ("ReadWriteOnce", {"node": "node"}, False),
        ("ReadWriteOnce", {"node": "other", "phase": "Succeeded"}, False),
        ("ReadWriteOnce", {"node": ""}, False),
        ("ReadWriteMany", {"node": "other"}, False),
        ("ReadWriteOncePod", {"node": "node"}, True),
    ],
)
def test_who_else_uses_the_backup_claim(mode: str, fields: dict[str, str], told: bool) -> None:
    backups = claim(0, name="backups", ordinal=None, access_modes=(mode,))
    user = pod(0, name="copier", owners=(), mounts=(mount(0, "/b", source="backups"),), **fields)
    found = [each for each in claims(cluster(claims=(backups,), backup_users=(user,))) if each.kind.endswith("in-use")]
    assert [each.severity.restore for each in found] == [Effect.WARNS] * told
    assert all(f"pod 'copier' uses it on node '{fields['node']}'" in each.saw for each in found)
