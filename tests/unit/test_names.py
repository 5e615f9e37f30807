"""Derived names."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from galera_backup import names
from galera_backup.models.common import ClusterRef
from galera_backup.models.manifest import is_backup_id

CLUSTER = ClusterRef(namespace="openstack", statefulset="mariadb-server")
AT = datetime(2026, 11, 22, 2, 0, 0, tzinfo=timezone(timedelta(hours=1)))


def test_of_a_cluster() -> None:
    assert names.lease_id(CLUSTER) == "galera-lease/openstack/mariadb-server"
    assert names.lease_queue("galera-backup") == "galera-backup-lease"
    assert names.schedule_id(CLUSTER) == "galera-backup/openstack/mariadb-server"
    assert names.janitor_schedule_id(CLUSTER) == "galera-janitor/openstack/mariadb-server"
    assert names.operation_id("backup", CLUSTER, AT) == "galera-backup/openstack/mariadb-server/20261122T010000Z"


def test_times_are_utc() -> None:
    assert names.timestamp(AT) == "20261122T010000Z"
    assert names.backup_id(AT) == "20261122T010000Z-full"
    assert is_backup_id(names.backup_id(AT))


def test_ordinals_are_numbers() -> None:
    assert names.ordinal("mariadb-server-10") == 10
    assert names.pod(CLUSTER, 10) == "mariadb-server-10"
    assert max(["mariadb-server-9", "mariadb-server-10"], key=names.ordinal) == "mariadb-server-10"


def test_runner_pods_have_names_that_kubernetes_takes() -> None:
    """The kubelet makes the host name of the pod's name, and cuts it at 63."""
    longest = "p" * names.RUNNER_PREFIX_LIMIT
    for prefix in (names.BACKUP_RUNNER_PREFIX, names.RESTORE_RUNNER_PREFIX, names.JANITOR_RUNNER_PREFIX, longest):
        for part in ("backup", "prune-2", "prove-up-99", "prove-up-9999-2"):
            name = names.runner_pod(prefix, CLUSTER, "run", part)
            assert name.startswith(f"{prefix}-")
            assert name.endswith(f"-{part}")
            assert len(name) <= 63
            assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)


def test_a_runner_pod_is_of_one_run_of_one_cluster() -> None:
    other = CLUSTER.model_copy(update={"statefulset": "other"})
    found = [names.runner_pod("p", each, run, "backup") for each in (CLUSTER, other) for run in ("run", "run-2")]
    assert len(set(found)) == 4
    assert names.runner_pod("p", CLUSTER, "run", "backup") == found[0]


def test_labels_and_annotations_have_names_that_kubernetes_takes() -> None:
    for label in (names.LEASE_ANNOTATION, names.LEASE_LABEL, names.MANAGED_BY_LABEL, names.CLUSTER_LABEL):
        assert len(label.rpartition("/")[2]) <= 63
