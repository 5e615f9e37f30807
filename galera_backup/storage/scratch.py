"""The scratch directories of restores, on the backup volume: a backup is unpacked and prepared there for all claims."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from galera_backup.failure import AgentError
from galera_backup.models.common import ClusterRef
from galera_backup.storage import layout
from galera_backup.storage.at_work import Worker, at_work, clock, others_work
from galera_backup.storage.durable import remove
from galera_backup.storage.space import free_kb

log = logging.getLogger("galera_backup.runner.storage")


class Scratch:
    """Those of one cluster. One operation works on it at a time: what is not its own is left over, or another site's.

    `site`: as in `at_work.Worker`.
    """

    def __init__(self, volume: Path, cluster: ClusterRef, site: str = "") -> None:
        self.volume = volume
        self._cluster = cluster
        self._site = site

    def directory(self, restore_id: str) -> Path:
        """Of one restore; it need not be there."""
        return self.volume / layout.restore(self._cluster, restore_id)

    @contextmanager
    def at_work(self, restore_id: str) -> Generator[None]:
        """As `at_work.at_work`, in the directory of this restore, which is made. Error: `RestoreFailed`."""
        directory = self.directory(restore_id)
        directory.mkdir(parents=True, exist_ok=True)
        with at_work(directory, Worker(site=self._site, run=restore_id)) as alone:
            if not alone:
                raise AgentError(
                    "RestoreFailed",
                    f"unpacking in {str(directory)!r}: another site, with a cluster of the same name on the same "
                    "volume, does so now. Nothing was changed; start the restore again",
                )
            yield

    def remove(self, keep: str | None = None) -> None:
        """Remove all but that of the restore `keep`, and those in which another site may be at work."""
        parent = self.volume / layout.restores(self._cluster)
        if not parent.is_dir():
            return
        kept = self.directory(keep) if keep is not None else None
        others = [path for path in sorted(parent.iterdir()) if path != kept]
        now = clock(parent) if others else 0
        us = Worker(site=self._site, run=keep or "")
        for path in others:
            if path.is_dir() and others_work(path, us, now):
                log.warning("the scratch directory %r was written to not long ago: it may be another site's", path.name)
            else:
                log.info("removing the scratch directory %r of an earlier restore", path.name)
                remove(path)

    def free_kb(self) -> int:
        """KB that a restore may still write."""
        return free_kb(self.volume)
