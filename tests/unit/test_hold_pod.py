"""The pod that holds a replica's name."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes.client import ApiClient

from galera_backup import names
from galera_backup.kube.hold_pod import hold_labels, hold_pod
from galera_backup.models.site import RunnerSettings, Site
from tests.unit.members import CLUSTER

SETTINGS = RunnerSettings(
    labels={"app": "mariadb"},
    annotations={"sidecar.istio.io/inject": "false"},
    requests={"memory": "16Mi"},
    limits={"cpu": "10m"},
    priority_class="high",
)


def built(settings: RunnerSettings, service_account: str | None = None) -> dict[str, Any]:
    """As it is sent to the API server."""
    site = Site(cluster=CLUSTER, runner=settings)
    pod = hold_pod(site, "mariadb-server-0", "owner", "agent:1", service_account)
    found: dict[str, Any] = ApiClient().sanitize_for_serialization(pod)
    return found


def test_what_a_request_adds() -> None:
    pod = built(SETTINGS, "mariadb")
    assert pod["metadata"]["labels"] == hold_labels(CLUSTER), "the StatefulSet would adopt it by its selector's labels"
    assert pod["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
    assert pod["metadata"]["annotations"][names.HOLD_OWNER_ANNOTATION] == "owner"
    assert (pod["spec"]["priorityClassName"], pod["spec"]["serviceAccountName"]) == ("high", "mariadb")
    (container,) = pod["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"cpu": "10m"}}


def test_by_itself() -> None:
    pod = built(RunnerSettings())
    assert not {"priorityClassName", "serviceAccountName"} & set(pod["spec"])
    (container,) = pod["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "1m", "memory": "1Mi"}}


@pytest.mark.parametrize("field", ["runAsUser", "runAsGroup", "fsGroup"])
def test_a_policy_may_give_it_a_user(field: str) -> None:
    """OpenShift refuses a pod that names one outside of the namespace's range."""
    security = built(SETTINGS)["spec"]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert field not in security
