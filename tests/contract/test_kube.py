"""The gateway to Kubernetes and its fake do the same to pods, the StatefulSet and runner pods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from kubernetes.client import V1Pod

from galera_backup import names
from galera_backup.errors import ClusterNotFound, KubernetesUnavailable, MarkUnreadable
from galera_backup.kube.facts import PodFacts
from galera_backup.kube.runner_pod import runner_pod
from galera_backup.marks import is_revoked, mark_of
from galera_backup.models.activities import RunnerTask
from galera_backup.models.common import ClusterRef, LeaseRef, SecretRef
from galera_backup.models.jobs import ListJob
from galera_backup.models.mark import Mark
from galera_backup.models.reports import ListReport
from galera_backup.models.runner import RunnerResult
from galera_backup.models.site import Site
from galera_backup.names import LEASE_ANNOTATION
from galera_backup.runner.handshake import AGENT_CONTAINER
from tests.contract.clusters import Subject
from tests.support.eventually import eventually

LEASE = LeaseRef(workflow_id="galera-lease/contract", run_id="contract-run")
MARK = Mark(lease=LEASE, owner="contract", until=datetime(2026, 11, 25, tzinfo=UTC))
ROLE = "mariadb-role"
RUNNER = "contract-runner"
NOWHERE = "no-such-namespace"


def gated_pod(subject: Subject) -> V1Pod:
    """A runner pod under a lease, so with a gate."""
    task = RunnerTask[ListJob](
        site=Site(cluster=subject.cluster, backup_claim="mariadb-phy-backup-data"),
        lease=LEASE,
        fence="lease",
        pod=RUNNER,
        job=ListJob(cluster=subject.cluster),
        data_claim=None,
        timeout=timedelta(minutes=5),
    )
    return runner_pod(task, subject.statefulset(), None, subject.agent_image)


# --- what there is


def test_a_healthy_member(subject: Subject) -> None:
    pod = subject.pod()
    assert subject.kube.find_pod(subject.namespace, pod.name) == pod
    assert (pod.phase, pod.ready, pod.deleting, pod.gated, pod.unscheduled) == ("Running", True, False, False, "")
    assert (pod.ended, pod.waiting, pod.reason) == ({}, {}, "")
    assert "mariadb" in pod.restarts
    assert pod.node
    assert pod.ip


def test_members_are_those_of_the_statefulset(subject: Subject) -> None:
    found, statefulset = subject.kube.members(subject.cluster), subject.statefulset()
    assert {pod.name for pod in found} == {subject.pod_name(ordinal) for ordinal in range(statefulset.replicas)}
    assert len({pod.uid for pod in found}) == len({pod.ip for pod in found}) == statefulset.replicas
    claims = {subject.kube.claim(subject.namespace, statefulset.claim(ordinal)).uid for ordinal in range(3)}
    assert len(claims) == 3


def test_what_must_exist_and_does_not(subject: Subject) -> None:
    kube, namespace = subject.kube, subject.namespace
    pod = gated_pod(subject)
    pod.metadata.namespace = NOWHERE
    missing: list[Callable[[], object]] = [
        lambda: kube.statefulset(ClusterRef(namespace=namespace, statefulset="other"), "mariadb"),
        lambda: kube.statefulset(ClusterRef(namespace=NOWHERE, statefulset="mariadb-server"), "mariadb"),
        lambda: kube.statefulset(subject.cluster, "other"),
        lambda: kube.pod(namespace, "other"),
        lambda: kube.pod(NOWHERE, subject.pod_name(0)),
        lambda: kube.claim(namespace, "other"),
        lambda: kube.credentials(namespace, SecretRef(secret="other")),
        lambda: kube.credentials(namespace, SecretRef(user_key="other")),
        lambda: kube.credentials(namespace, SecretRef(password_key="other")),
        lambda: kube.credentials(NOWHERE, SecretRef()),
        lambda: kube.create_pod(NOWHERE, pod),
    ]
    for call in missing:
        with pytest.raises(ClusterNotFound):
            call()


@pytest.mark.parametrize("statefulset", ["other", "mariadb-server"])
def test_what_may_be_missing(subject: Subject, statefulset: str) -> None:
    """Another StatefulSet of the namespace, and a namespace that does not exist, have nothing."""
    kube, namespace = subject.kube, subject.namespace if statefulset == "other" else NOWHERE
    assert kube.find_pod(namespace, f"{statefulset}-0") is None
    assert kube.members(ClusterRef(namespace=namespace, statefulset=statefulset)) == []
    assert kube.runner_pods(ClusterRef(namespace=namespace, statefulset=statefulset), None) == []
    assert kube.services_that_list(namespace, f"{statefulset}-0") == []
    assert kube.services_that_select(namespace, {}) == []
    assert kube.log(namespace, "other", AGENT_CONTAINER, 10) == ""
    kube.delete_pod(namespace, "other")
    kube.delete_member(namespace, replace(subject.pod(), name="other"))


# --- Services


async def test_services_follow_a_label(subject: Subject) -> None:
    kube, namespace, pod = subject.kube, subject.namespace, subject.pod()
    selecting = kube.services_that_select(namespace, pod.labels)
    without = kube.services_that_select(namespace, {key: pod.labels[key] for key in pod.labels if key != ROLE})
    assert set(without) < set(selecting)
    kube.set_label(namespace, pod, ROLE, None)
    await eventually(lambda: kube.services_that_list(namespace, pod.name) == without, 20, "it is out of the Service")
    kube.set_label(namespace, subject.pod(), ROLE, "primary")
    await eventually(lambda: kube.services_that_list(namespace, pod.name) == selecting, 20, "it is in it again")


def test_services_of_the_pods_names(subject: Subject) -> None:
    statefulset, pod = subject.statefulset(), subject.pod()
    services = subject.kube.services_of(statefulset)
    assert statefulset.service in services
    assert statefulset.labels.items() <= pod.labels.items()
    by_template = subject.kube.services_that_select(subject.namespace, statefulset.labels)
    by_role = set(subject.kube.services_that_select(subject.namespace, pod.labels)) - set(by_template)
    assert set(by_template) <= set(services)
    assert by_role
    assert not by_role & set(services)


# --- conditional patches

PATCHES: dict[str, Callable[[Subject, PodFacts], None]] = {
    "mark": lambda subject, pod: subject.kube.set_mark(subject.namespace, pod, MARK),
    "label": lambda subject, pod: subject.kube.set_label(subject.namespace, pod, "contract", "yes"),
    "revoke": lambda subject, pod: subject.kube.revoke(subject.namespace, pod, LEASE.run_id),
}


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES)
def test_a_pod_that_has_changed_is_not_patched(subject: Subject, patch: Callable[[Subject, PodFacts], None]) -> None:
    before = subject.pod(2)
    subject.kube.set_label(subject.namespace, before, "contract-first", "yes")
    after = subject.pod(2)
    assert after.resource_version != before.resource_version
    with pytest.raises(KubernetesUnavailable):
        patch(subject, before)
    assert subject.pod(2) == after
    patch(subject, after)
    changed = subject.pod(2)
    assert changed.resource_version != after.resource_version
    patch(subject, changed)  # there is nothing to change
    assert subject.pod(2) == changed
    with pytest.raises(ClusterNotFound):
        patch(subject, replace(changed, name="other"))


def test_a_mark_on_a_pod(subject: Subject) -> None:
    kube, namespace, before = subject.kube, subject.namespace, subject.pod(2)
    kube.set_mark(namespace, before, MARK)
    kube.revoke(namespace, subject.pod(2), LEASE.run_id)
    marked = subject.pod(2)
    assert mark_of(marked.annotations) == MARK
    assert is_revoked(marked.annotations, LEASE)
    assert (marked.uid, marked.labels) == (before.uid, before.labels)
    kube.set_mark(namespace, marked, None)
    free = subject.pod(2)
    assert mark_of(free.annotations) is None
    assert is_revoked(free.annotations, LEASE)


def test_a_statefulset_that_has_changed_is_not_patched(subject: Subject) -> None:
    kube, before = subject.kube, subject.statefulset()
    kube.mark_statefulset(before, MARK)
    marked = subject.statefulset()
    assert mark_of(marked.annotations) == MARK
    stale: list[Callable[[], None]] = [
        lambda: kube.scale(before, 0, MARK),
        lambda: kube.mark_statefulset(before, None),
        lambda: kube.revoke_statefulset(before, LEASE.run_id),
    ]
    for patch in stale:
        with pytest.raises(KubernetesUnavailable):
            patch()
    assert subject.statefulset() == marked

    other = MARK.model_copy(update={"owner": "other"})
    kube.scale(marked, marked.replicas, other, LEASE.run_id)
    scaled = subject.statefulset()
    assert (scaled.replicas, mark_of(scaled.annotations)) == (marked.replicas, other)
    assert is_revoked(scaled.annotations, LEASE)
    kube.mark_statefulset(scaled, None)
    free = subject.statefulset()
    assert mark_of(free.annotations) is None
    assert is_revoked(free.annotations, LEASE)
    kube.revoke_statefulset(free, "another-run")
    assert not is_revoked(subject.statefulset().annotations, LEASE)


def test_a_mark_that_cannot_be_read_is_not_overwritten(subject: Subject) -> None:
    """Decided from what was read, so nothing is sent."""
    kube, pod, statefulset = subject.kube, subject.pod(2), subject.statefulset()
    damaged = {LEASE_ANNOTATION: "{"}
    damaged_pod, damaged_set = replace(pod, annotations=damaged), replace(statefulset, annotations=damaged)
    for mark in (MARK, None):
        with pytest.raises(MarkUnreadable, match="marking pod"):
            kube.set_mark(subject.namespace, damaged_pod, mark)
        with pytest.raises(MarkUnreadable, match="marking StatefulSet"):
            kube.mark_statefulset(damaged_set, mark)
    with pytest.raises(MarkUnreadable, match="scaling StatefulSet"):
        kube.scale(damaged_set, 0, MARK)
    assert (subject.pod(2), subject.statefulset()) == (pod, statefulset)


# --- deleting, and runner pods


def test_another_pod_of_the_name_is_not_deleted(subject: Subject) -> None:
    pod = subject.pod(2)
    with pytest.raises(KubernetesUnavailable):
        subject.kube.delete_member(subject.namespace, replace(pod, uid="0979c94d-e6ee-11f1-b6f6-93a976a0f1fb"))
    assert not subject.pod(2).deleting


async def test_a_gated_pod(subject: Subject) -> None:
    kube, namespace = subject.kube, subject.namespace
    kube.create_pod(namespace, gated_pod(subject))
    first = kube.pod(namespace, RUNNER)
    kube.create_pod(namespace, gated_pod(subject))
    assert kube.pod(namespace, RUNNER).uid == first.uid
    await eventually(lambda: kube.pod(namespace, RUNNER).unscheduled, 10, "the API server says that it is gated")
    gated = kube.pod(namespace, RUNNER)
    assert (gated.phase, gated.gated, gated.ready) == ("Pending", True, False)
    assert (gated.node, gated.ip, gated.ended, gated.waiting) == ("", "", {}, {})
    assert kube.log(namespace, RUNNER, AGENT_CONTAINER, 10) == ""
    for run in (LEASE.run_id, None):
        assert [pod.name for pod in kube.runner_pods(subject.cluster, run)] == [RUNNER]
    assert kube.runner_pods(subject.cluster, "other-run") == []
    assert kube.runner_pods(subject.cluster.model_copy(update={"statefulset": "other"}), None) == []
    assert RUNNER not in {pod.name for pod in kube.members(subject.cluster)}

    kube.delete_pod(namespace, RUNNER)
    kube.delete_pod(namespace, RUNNER)
    await eventually(lambda: kube.find_pod(namespace, RUNNER) is None, 20, "it is gone")
    with pytest.raises(ClusterNotFound):
        kube.release_pod(namespace, gated)
    kube.create_pod(namespace, gated_pod(subject))
    with pytest.raises(KubernetesUnavailable):
        kube.release_pod(namespace, gated)
    second = kube.pod(namespace, RUNNER)
    assert second.gated
    assert second.uid != first.uid


async def test_a_released_pod_works(subject: Subject) -> None:
    kube, namespace = subject.kube, subject.namespace
    kube.create_pod(namespace, gated_pod(subject))
    await eventually(lambda: kube.pod(namespace, RUNNER).unscheduled, 10, "the API server says that it is gated")
    kube.release_pod(namespace, kube.pod(namespace, RUNNER))
    assert not kube.pod(namespace, RUNNER).gated
    await eventually(lambda: kube.pod(namespace, RUNNER).phase == "Succeeded", 60, "it has done its job")
    done = kube.pod(namespace, RUNNER)
    assert done.node
    end = done.ended[AGENT_CONTAINER]
    assert end.exit_code == 0
    assert RunnerResult[ListReport].model_validate_json(end.message).report is not None
    assert not done.ready
    whole = kube.log(namespace, RUNNER, AGENT_CONTAINER, 1000)
    assert kube.log(namespace, RUNNER, AGENT_CONTAINER, 1) == whole.splitlines(keepends=True)[-1]
    assert kube.log(namespace, RUNNER, "other", 10) == ""
    assert [pod.name for pod in kube.runner_pods(subject.cluster, names_run(done))] == [RUNNER]


def names_run(pod: PodFacts) -> str:
    """The lease's run that a runner pod works under."""
    return pod.labels[names.LEASE_LABEL]
