"""Which pods an operation will need, for a dry run of each."""

from __future__ import annotations

from typing import Literal

from galera_backup.models.admission import Quota, Trial
from galera_backup.models.common import Facts, Model
from galera_backup.models.shape import Unread
from galera_backup.models.site import Site

Way = Literal["backup", "staged", "rolling", "in_place", "rollback"]
"""A backup, a restore by one of its strategies, or what undoes one."""


class TrialRequest(Model):
    """Try the pods of one operation."""

    site: Site
    way: Way
    claim: str
    """A data claim: the pods of the others are alike."""
    server_volumes: tuple[str, ...] = ()


class Trials(Facts):
    """What Kubernetes would say to each kind of pod, and what its quotas have left."""

    runners: tuple[Trial, ...]
    server: Trial
    """A pod of the StatefulSet, as its template makes it."""
    hold: Trial | None = None
    """A pod that holds a server's name in the outage."""
    scaling: str = ""
    """Why the StatefulSet cannot be scaled down; empty: it can."""
    quotas: tuple[Quota, ...] = ()
    unread: tuple[Unread, ...] = ()
