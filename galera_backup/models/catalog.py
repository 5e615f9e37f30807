"""Request and result of the workflow type GaleraCatalog: which backups a cluster has."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from galera_backup.models.common import ClusterRef, Model, PositiveDuration
from galera_backup.models.jobs import PAGE_LIMIT
from galera_backup.models.manifest import BackupId, Manifest
from galera_backup.models.site import RunnerSite, Site


class CatalogRequest(RunnerSite):
    """Read the manifests on the backup volume. Needs no lease and changes nothing; no server is asked."""

    source: ClusterRef | None = None
    """Whose backups, where the cluster's claim holds those of another one; None: its own."""
    timeout: PositiveDuration = timedelta(minutes=5)
    before: BackupId | None = None
    """Only backups that are older than this one: the `next` of an earlier answer."""
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = 100
    """Most backups in the answer. It has the newest ones."""

    @property
    def site(self) -> Site:
        """The part of the request that a runner pod needs."""
        return Site(**{name: getattr(self, name) for name in RunnerSite.model_fields})


class Catalog(Model):
    """Complete backups of a cluster, oldest first."""

    backups: tuple[Manifest, ...]
    next: BackupId | None = None
    """There are older ones: ask again with this as `before`. None: there are none."""
