"""The scratch directory of a restore on the backup volume: the backup, unpacked and prepared, once for all claims."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

from pydantic import ValidationError

from galera_backup.models.common import Model
from galera_backup.models.jobs import RestoreJob, UnpackJob
from galera_backup.models.manifest import GaleraPosition, Manifest
from galera_backup.models.passwords import PasswordReport
from galera_backup.runner.container import MariadbContainer
from galera_backup.runner.places import Places
from galera_backup.runner.prepare import Room, Unpacking
from galera_backup.runner.staged.passwords import settle_passwords
from galera_backup.runner.volumes import tree
from galera_backup.storage import layout
from galera_backup.storage.archive import Archive
from galera_backup.storage.durable import remove, sync_tree, write_atomically


class Prepared(Model):
    """Content of `.prepared`: written when the directory is ready to be copied from."""

    restore_id: str
    backup_id: str
    position: GaleraPosition
    """The one that InnoDB recovered: for `grastate.dat`."""
    files: int
    bytes: int
    passwords: PasswordReport | None = None
    """As an UnpackJob has compared them."""


class ScratchDirectory:
    """One restore's scratch directory. A half-made one is never continued, but made again."""

    def __init__(self, job: RestoreJob | UnpackJob, archive: Archive, manifest: Manifest, places: Places) -> None:
        # Under the cluster that is restored: a clone's source may have a restore of its own under way.
        scratch = self._scratch = places.scratch(job.cluster)
        self.directory = scratch.directory(job.restore_id)
        self.data = self.directory / layout.PREPARED_DATA
        self._restore_id = job.restore_id
        self._backup_id = manifest.backup_id
        room = Room(scratch.volume, "the backup volume", "Enlarge the backup claim or remove old backups")
        self._unpacking = Unpacking(archive, manifest, self.data, room, places)
        self._uuid = job.uuid
        self._compares_passwords = isinstance(job, UnpackJob)

    def at_work(self) -> AbstractContextManager[None]:
        """So that another site, on the same volume, does not take it for left over."""
        return self._scratch.at_work(self._restore_id)

    def prepared(self) -> Prepared | None:
        """What an earlier pod of this restore has finished here; None when it has not, or it is not whole any more."""
        try:
            prepared = Prepared.model_validate_json((self.directory / layout.PREPARED_MARKER).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return prepared if prepared == self._describe(prepared.position, prepared.passwords) else None

    def unpack(self, container: MariadbContainer) -> float:
        """Unpack into an empty directory; returns the seconds it took. Errors: those of `Unpacking.unpack`."""
        remove(self.directory / layout.PREPARED_MARKER)
        remove(self.data)
        return self._unpacking.unpack(container)

    def prepare(self, container: MariadbContainer) -> tuple[Prepared, float]:
        """Prepare, then mark the directory as prepared; returns that, and the seconds it took.

        Errors: those of `Unpacking.prepare`, and of `settle_passwords`.
        """
        began = time.monotonic()
        recovered = self._unpacking.prepare(container, self._uuid)
        passwords = settle_passwords(self.data, "compare", container) if self._compares_passwords else None
        sync_tree(self.data)
        prepared = self._describe(recovered, passwords)
        write_atomically(self.directory / layout.PREPARED_MARKER, prepared.model_dump_json().encode())
        return prepared, time.monotonic() - began

    def remove(self) -> None:
        """Remove the marker first: what is half removed is not prepared."""
        remove(self.directory / layout.PREPARED_MARKER)
        remove(self.directory)

    def _describe(self, position: GaleraPosition, passwords: PasswordReport | None) -> Prepared:
        files = tree(self.data)
        return Prepared(
            restore_id=self._restore_id,
            backup_id=self._backup_id,
            position=position,
            files=len(files),
            bytes=sum(files.values()),
            passwords=passwords,
        )
