"""Whether Kubernetes would let pods run: dry runs, and the quotas that no dry run is charged to."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

from galera_backup.models.common import Facts

Whose = Literal["runner", "server"]


class Trial(Facts):
    """A server-side dry run of the creation of one pod."""

    name: str
    """What the pod is for: `stage`, `swap`, or the replica's name."""
    whose: Whose
    problem: str = ""
    """Why it would be refused; empty: it would be created."""
    over_quota: str = ""
    """Name of the quota that has no room for it now, which is the problem then."""
    is_known: bool = True
    """False: the problem is that nobody knows how to build it."""
    selected_by: tuple[str, ...] = ()
    """Services that would send clients to it."""
    pulled: tuple[str, ...] = ()
    """Images that its node pulls again, though it has them: `imagePullPolicy: Always`, as completed by admission."""
    requests: Mapping[str, Decimal] = {}
    """Of the whole pod, as admission has completed them, in the base unit: `cpu`, `memory`, ..."""
    limits: Mapping[str, Decimal] = {}
    memory: Decimal | None = None
    """Bytes: the lowest memory limit of our containers in it, as completed by admission; None: none has one."""
    has_deadline: bool = False
    """It has `activeDeadlineSeconds`, so quotas of the scope Terminating count it."""


class Quota(Facts):
    """A ResourceQuota."""

    name: str
    hard: Mapping[str, Decimal]
    used: Mapping[str, Decimal] = {}
    scopes: tuple[str, ...] = ()
    has_selector: bool = False
    """It counts pods by a scope selector, such as a priority class."""
