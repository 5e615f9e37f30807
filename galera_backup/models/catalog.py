"""Request and result of the workflow type GaleraCatalog: which backups a cluster has."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from galera_backup.models.common import ClusterRef, KubernetesName, Model, PositiveDuration
from galera_backup.models.jobs import PAGE_LIMIT
from galera_backup.models.manifest import BackupId, Manifest
from galera_backup.models.site import Site


class CatalogRequest(Model):
    """Read the manifests on the backup volume. Needs no lease and touches nothing."""

    cluster: ClusterRef
    source: ClusterRef | None = None
    """Whose backups, where the cluster's claim holds those of another one; None: its own."""
    backup_claim: KubernetesName = "mariadb-phy-backup-data"
    container: KubernetesName = "mariadb"
    run_as_user: Annotated[int, Field(ge=1)] | None = None
    """Uid that owns the data directory; needed only where the StatefulSet names no `runAsUser`."""
    timeout: PositiveDuration = timedelta(minutes=5)
    before: BackupId | None = None
    """Only backups that are older than this one: the `next` of an earlier answer."""
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = 100
    """Most backups in the answer. It has the newest ones."""

    @property
    def site(self) -> Site:
        """The cluster and its backup claim; its server is not asked."""
        return Site(
            cluster=self.cluster,
            backup_claim=self.backup_claim,
            container=self.container,
            run_as_user=self.run_as_user,
        )


class Catalog(Model):
    """Complete backups of a cluster, oldest first."""

    backups: tuple[Manifest, ...]
    next: BackupId | None = None
    """There are older ones: ask again with this as `before`. None: there are none."""
