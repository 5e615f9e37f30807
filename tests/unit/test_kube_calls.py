"""What the answers of the API server mean."""

from __future__ import annotations

import json
from typing import NoReturn

import pytest
from kubernetes.client import ApiException

from galera_backup.errors import GaleraBackupError, KubernetesRefused, KubernetesUnavailable, QuotaExceeded
from galera_backup.kube.calls import call

FULL = (
    'pods "runner" is forbidden: exceeded quota: compute.resources, requested: pods=1,requests.cpu=20m, used: pods=3, '
    "limited: pods=3"
)
SILENT = 'pods "runner" is forbidden: failed quota: compute: must specify limits.memory for: agent'


def answered(status: int, message: str) -> GaleraBackupError:
    def refuse(**options: object) -> NoReturn:
        error = ApiException(status=status, reason="Forbidden")
        error.body = json.dumps({"kind": "Status", "message": message})
        raise error

    with pytest.raises(GaleraBackupError) as failed:
        call("trying pod 'runner'", refuse)
    return failed.value


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (403, FULL, QuotaExceeded),
        (403, SILENT, KubernetesRefused),
        (403, 'pods is forbidden: User "worker" cannot create resource "pods"', KubernetesRefused),
        (409, "Operation cannot be fulfilled on resourcequotas", KubernetesUnavailable),
    ],
)
def test_a_refusal_by_a_quota(status: int, message: str, kind: type[GaleraBackupError]) -> None:
    assert type(answered(status, message)) is kind


def test_the_name_of_the_quota() -> None:
    error = answered(403, FULL)
    assert error.details == ("compute.resources",)
    assert error.retryable
