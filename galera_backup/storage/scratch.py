"""The scratch directories of restores, on the backup volume: a backup is unpacked and prepared there for all claims."""

from __future__ import annotations

import logging
from pathlib import Path

from galera_backup.models.common import ClusterRef
from galera_backup.storage import layout
from galera_backup.storage.durable import remove
from galera_backup.storage.space import free_kb

log = logging.getLogger("galera_backup.runner.storage")


class Scratch:
    """Those of one cluster. One operation works on it at a time, so what is not its own is left over."""

    def __init__(self, volume: Path, cluster: ClusterRef) -> None:
        self.volume = volume
        self._cluster = cluster

    def directory(self, restore_id: str) -> Path:
        """Of one restore; it need not be there."""
        return self.volume / layout.restore(self._cluster, restore_id)

    def remove(self, keep: str | None = None) -> None:
        """Remove all but that of the restore `keep`."""
        parent = self.volume / layout.restores(self._cluster)
        if not parent.is_dir():
            return
        kept = self.directory(keep) if keep is not None else None
        for path in sorted(parent.iterdir()):
            if path != kept:
                log.info("removing the scratch directory %r of an earlier restore", path.name)
                remove(path)

    def free_kb(self) -> int:
        """KB that a restore may still write."""
        return free_kb(self.volume)
