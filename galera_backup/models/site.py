"""Where an operation works, and as whom: made once from a request, and carried whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from galera_backup.models.common import ClusterRef, KubernetesName, Model, PrimaryLabel, SecretRef

BACKUP_ROOT = "/var/backup"
"""Where a runner pod mounts the backup volume."""


_OURS = "galera-backup/"
"""Begin of the keys by which this project knows its pods."""


class RunnerSettings(Model):
    """What runner pods get beside what they take over from the servers' pods. Its text as JSON is taken too."""

    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    requests: Mapping[str, str] = {}
    """Of each container: `{"cpu": "100m", "memory": "128Mi"}`; what is not named keeps its default."""
    limits: Mapping[str, str] = {}
    priority_class: KubernetesName | None = None
    """None: that of the servers' pods."""
    pull_secrets: tuple[KubernetesName, ...] = ()
    """Beside those of the servers' pods: for the agent's image."""

    @field_validator("labels", "annotations")
    @classmethod
    def _not_ours(cls, given: Mapping[str, str]) -> Mapping[str, str]:
        ours = sorted(key for key in given if key.startswith(_OURS))
        if ours:
            raise ValueError(f"expected keys that do not begin with {_OURS!r}, got {', '.join(ours)}")
        return given

    @model_validator(mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"expected JSON: {error}") from None


class RunnerSite(Model):
    """One Galera cluster as its runner pods need to know it. Everything else is discovered from the StatefulSet."""

    cluster: ClusterRef
    backup_claim: KubernetesName = "mariadb-phy-backup-data"
    """PersistentVolumeClaim, in the cluster's namespace, that holds the backups (mounted at /var/backup)."""
    container: KubernetesName | None = None
    """Name of the StatefulSet's container that runs the server; None: the one that mounts the data."""
    runner: RunnerSettings = RunnerSettings()
    run_as_user: Annotated[int, Field(ge=1)] | None = None
    """Uid that owns the data directory; needed only where the StatefulSet names no `runAsUser`."""

    data_directory: Annotated[str, Field(pattern=r"^/")] | None = None
    """The servers' data directory, in their container; needed only where none of them can be asked for it, and it is
    not where the data volume is mounted."""

    @property
    def backup_root(self) -> str:
        """Where the names of `storage.layout` begin, as a person is told of them."""
        return BACKUP_ROOT


class Site(RunnerSite):
    """One Galera cluster, how its server is reached, and where its backups are. Requests have these fields flat."""

    credentials: SecretRef = SecretRef()
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """On which the servers listen; None: as their container says, else 3306."""
    host_files: tuple[Annotated[str, Field(pattern=r"^[^/]+$")], ...] = ()
    """Patterns of names at the top of the data directory, beside `models.layout.HOST_FILES`: files of the host that no
    backup holds, and that a restore leaves where they are."""
    primary_label: PrimaryLabel | None = PrimaryLabel()
    """None: no Service of this cluster follows a label."""


class SiteRequest(Site):
    """Base of a request: the fields of its site."""

    @property
    def site(self) -> Site:
        """The part of the request that every step needs."""
        return Site(**{name: getattr(self, name) for name in Site.model_fields})


class OperationRequest(SiteRequest):
    """The fields that all operations share which hold a cluster."""

    wait_for_cluster: Annotated[timedelta, Field(ge=timedelta(0), le=timedelta(days=7))] = timedelta(0)
    """How long to wait while another operation holds the cluster; zero: fail at once with `ClusterBusy`."""
    accept: tuple[str, ...] = ()
    """Kinds of findings of the preflight in spite of which to go on, where a person can know better."""
