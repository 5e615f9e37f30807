"""One call to the API server: its time limit, and errors of the one tree."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

from galera_backup import timing
from galera_backup.errors import (
    ClusterNotFound,
    GaleraBackupError,
    KubernetesRefused,
    KubernetesUnavailable,
    QuotaExceeded,
)
from galera_backup.text import bounded

T = TypeVar("T")

TIMEOUT = (timing.KUBERNETES_CONNECT.total_seconds(), timing.KUBERNETES_READ.total_seconds())

_FINAL = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}


_OVER_QUOTA = re.compile(r"exceeded quota: (?P<name>[-a-z0-9.]+), requested: ")
"""In the answer 403 of the API server, which has no code for it."""


def call(doing: str, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Errors: `KubernetesUnavailable`, `KubernetesRefused`, `ClusterNotFound`, `QuotaExceeded`."""
    try:
        return function(*arguments, **options, _request_timeout=TIMEOUT)
    except ApiException as error:
        raise translated(error, doing) from error
    except HTTPError as error:
        raise unreachable(error, doing) from error


def translated(error: ApiException, doing: str) -> GaleraBackupError:
    """What the API server has answered."""
    text = f"{doing}: Kubernetes answered {error.status} {error.reason}: {bounded(str(error.body or ''), 500)}"
    if error.status == HTTPStatus.NOT_FOUND:
        return ClusterNotFound(f"{doing}: it does not exist. Check the names in the request")
    over = _OVER_QUOTA.search(str(error.body or "")) if error.status == HTTPStatus.FORBIDDEN else None
    if over is not None:
        return QuotaExceeded(f"{text}. Raise the quota, or wait until other pods are gone", over["name"])
    if error.status in _FINAL:
        return KubernetesRefused(f"{text}. Check the worker's service account and its role")
    return KubernetesUnavailable(text)


def unreachable(error: HTTPError, doing: str) -> GaleraBackupError:
    """It has not answered."""
    return KubernetesUnavailable(f"{doing}: the API server could not be reached: {bounded(str(error), 300)}")
