"""Pods that are not what the StatefulSet says, and others who decide about it."""

from __future__ import annotations

import pytest

from galera_backup.models.preflight import Effect
from galera_backup.models.shape import Autoscaler, ClusterShape, Owner, Unread
from galera_backup.rules.preflight.statefulset import controllers, statefulset, unread
from tests.unit.members import CLUSTER
from tests.unit.preflight.shapes import DATA, IMAGE, OWNER, REVISION, cluster, mount, pod
from tests.unit.preflight.shapes import statefulset as shape

NEWER = "mariadb-server-2"
CONTROLLER = Owner(api_version="k8s.mariadb.com/v1alpha1", kind="MariaDB", name="galera", uid="m", controller=True)


def kinds(seen: ClusterShape) -> list[str]:
    return [each.kind for each in statefulset(seen)]


def test_a_healthy_cluster() -> None:
    assert kinds(cluster()) == []
    assert list(controllers(cluster())) == []


def test_ordinals_that_do_not_begin_at_0() -> None:
    assert kinds(cluster(statefulset=shape(first_ordinal=5))) == []
    moved = cluster(statefulset=shape(first_ordinal=1), members=(pod(0), pod(1), pod(2), pod(3)))
    assert [(each.kind, each.about) for each in statefulset(moved)] == [
        ("pod-beyond-the-replicas", "pod 'mariadb-server-0'")
    ]


def test_it_is_being_deleted() -> None:
    assert kinds(cluster(statefulset=shape(deleting=True))) == ["statefulset-deleting"]


def test_a_pod_of_another_owner() -> None:
    """As of a StatefulSet that was deleted without its pods and made anew."""
    former = OWNER.model_copy(update={"uid": "former"})
    seen = cluster(members=(pod(0), pod(1, owners=(former,)), pod(2, owners=())))
    found = list(statefulset(seen))
    assert [each.kind for each in found] == ["pod-of-another-owner"] * 2
    assert "it belongs to StatefulSet 'mariadb-server'" in found[0].saw
    assert "it belongs to nobody" in found[1].saw


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"update_revision": NEWER, "update_strategy": "OnDelete"}, "template-has-another-image"),
        ({"update_revision": NEWER}, "template-has-another-image"),
        ({"update_revision": NEWER, "partition": 3}, "template-has-another-image"),
        ({"update_revision": NEWER, "partition": 3, "image": IMAGE}, None),
        ({"update_revision": NEWER, "partition": 2}, "template-has-another-image"),
        ({"update_revision": NEWER, "image": IMAGE}, "template-differs"),
        ({}, None),
    ],
)
def test_a_template_that_was_changed(fields: dict[str, object], expected: str | None) -> None:
    """The pods run an older revision; the image of the template is another one."""
    changed = shape(**({"image": "mariadb:11.4"} | fields))
    assert kinds(cluster(statefulset=changed)) == ([expected] if expected else [])


def test_an_admission_webhook_gives_the_image_another_name() -> None:
    members = tuple(pod(ordinal, image=f"mirror/{IMAGE}") for ordinal in range(3))
    assert kinds(cluster(members=members)) == []


def test_pods_that_a_partition_keeps_at_another_image() -> None:
    """They start again with it; the tools of a restore are of the template's."""
    members = (pod(0), pod(1), pod(2, revision=NEWER, image="mariadb:11.4"))
    seen = shape(update_revision=NEWER, partition=2, image="mariadb:11.4")
    (finding,) = statefulset(cluster(statefulset=seen, members=members))
    assert (finding.kind, finding.severity.restore) == ("template-has-another-image", Effect.REFUSES)
    assert "mariadb-server-0 runs 'mariadb:10.11', mariadb-server-1 runs" in finding.saw
    assert kinds(cluster(statefulset=seen.model_copy(update={"image": IMAGE}), members=(pod(0), pod(1)))) == []
    assert REVISION != NEWER


@pytest.mark.parametrize(
    ("runs", "planned", "differs"),
    [
        ({}, {}, False),
        ({"path": f"{DATA}/"}, {}, False),
        ({}, {"path": "/data"}, True),
        ({}, {"sub_path": "mysql"}, True),
        ({"sub_path": "mysql"}, {"unresolved": "$(SHARD)"}, True),
        ({"sub_path": "a"}, {"source": "data-mariadb-server-1"}, True),
    ],
)
def test_a_template_that_mounts_the_data_elsewhere(
    runs: dict[str, str], planned: dict[str, str], differs: bool
) -> None:
    seen = cluster(
        members=(pod(1, mounts=(mount(1, **runs),)), pod(2, phase="Failed", mounts=())),
        planned=(pod(1, mounts=(mount(1, **planned),)), pod(2)),
    )
    assert kinds(seen) == (["template-mounts-elsewhere"] if differs else [])


@pytest.mark.parametrize(
    ("fields", "kind", "remedy"),
    [
        ({"owners": (CONTROLLER,)}, "controlled", "kubectl -n openstack patch mariadb galera --type merge"),
        ({"delivered_by": ("Argo CD application 'db'",)}, "delivered", "Suspend that"),
    ],
)
def test_others_who_set_it_back(fields: dict[str, object], kind: str, remedy: str) -> None:
    seen = cluster(statefulset=shape(**fields))
    (finding,) = controllers(seen)
    assert (finding.kind, finding.severity.backup, finding.severity.restore) == (kind, Effect.NONE, Effect.REFUSES)
    assert remedy in finding.remedy
    assert finding.sentence().endswith(f"go on with 'accept': '{kind}'")
    assert finding.effect("restore", {kind}) == Effect.WARNS


def test_an_owner_that_does_not_control_it() -> None:
    owner = CONTROLLER.model_copy(update={"controller": False})
    assert list(controllers(cluster(statefulset=shape(owners=(owner,))))) == []


def test_who_scales_it() -> None:
    seen = cluster(
        statefulset=shape(scaled_by=("kubectl", "helm")),
        autoscalers=(Autoscaler(kind="ScaledObject", name="galera"),),
    )
    found = list(controllers(seen))
    assert [each.kind for each in found] == ["autoscaled", "replicas-written"]
    assert "ScaledObject 'galera'" in found[0].saw
    assert "'kubectl', 'helm', which" in found[1].saw


def test_what_could_not_be_read() -> None:
    (finding,) = unread(CLUSTER, [Unread(what="horizontalpodautoscalers", why="the worker may not list them")])
    assert (finding.kind, finding.severity.restore) == ("unknown-horizontalpodautoscalers", Effect.WARNS)
    assert "the worker may not list them" in finding.saw


def test_budgets_are_told_before_a_backup() -> None:
    (finding,) = statefulset(cluster(disruption_budgets=("galera",)))
    assert (finding.kind, finding.about) == ("disruption-budget", "PodDisruptionBudget 'galera'")
    assert (finding.severity.backup, finding.severity.restore) == (Effect.TELLS, Effect.NONE)


def test_a_probe_that_does_not_ask_for_synced() -> None:
    blind = cluster(members=(pod(0), pod(1, unready_after=None), pod(2)))
    (finding,) = statefulset(blind)
    assert (finding.kind, finding.severity.backup) == ("stays-in-service", Effect.REFUSES)
    assert "mariadb-server-1" in finding.saw
    in_service = cluster(statefulset=shape(replicas=2), members=(pod(0, unready_after=None), pod(1)))
    assert kinds(in_service) == []


def test_a_template_that_its_controller_has_not_seen() -> None:
    assert kinds(cluster(statefulset=shape(observed=False))) == ["template-differs"]
