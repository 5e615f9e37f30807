"""Where the agent finds what the pod mounts, and how long it waits; fixed in a pod, moved by tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from galera_backup.models.common import ClusterRef
from galera_backup.runner.handshake import CLAIM_VARIABLE, HOST_VARIABLE, PLACE_VARIABLES, PORT_VARIABLE, SITE_VARIABLE
from galera_backup.storage.archive import Archive
from galera_backup.storage.files import FileArchive
from galera_backup.storage.scratch import Scratch


@dataclass(frozen=True)
class Places:
    """Mounted directories, the file for the answer, and the patience of the agent."""

    backup_root: Path
    data_directory: Path
    volume: Path
    """The whole data volume, in a pod that stages, swaps or looks; `data_directory` is in it there."""
    work: Path
    termination_log: Path
    start_timeout: timedelta = timedelta(minutes=15)
    """How long the mariadb container may take to start: its node may have to pull the image first."""
    progress_every: timedelta = timedelta(seconds=5)
    server: tuple[str, int] | None = None
    """Where the replica's server listens, in a pod that works with it."""

    claim: str = ""
    """The data claim of `volume`."""
    site: str = ""
    """Of one Galera cluster in one Kubernetes cluster; empty: not known."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Places:
        places = (Path(environment.get(name, default)) for name, default in PLACE_VARIABLES.items())
        root, data, volume, work, log = places
        host, port = (environment.get(name) for name in (HOST_VARIABLE, PORT_VARIABLE))
        server = (host, int(port)) if host and port else None
        return cls(
            backup_root=root,
            data_directory=data,
            volume=volume,
            work=work,
            termination_log=log,
            server=server,
            claim=environment.get(CLAIM_VARIABLE, ""),
            site=environment.get(SITE_VARIABLE, ""),
        )

    def archive(self, cluster: ClusterRef) -> Archive:
        """The backups of a cluster."""
        return FileArchive(self.backup_root, cluster, self.site)

    def scratch(self, cluster: ClusterRef) -> Scratch:
        """The scratch directories of a cluster's restores."""
        return Scratch(self.backup_root, cluster, self.site)
