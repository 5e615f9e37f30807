"""The temporary directory of a restore on the backup volume: the backup, unpacked and prepared, once for all claims."""

from __future__ import annotations

import time
from contextlib import closing

import zstandard
from pydantic import ValidationError

from galera_backup.models.common import Model
from galera_backup.models.manifest import GaleraPosition, Manifest
from galera_backup.models.runner import RestoreJob
from galera_backup.runner import protocol
from galera_backup.runner.check import check_tally, verify_stream
from galera_backup.runner.container import MariadbContainer
from galera_backup.runner.failure import AgentError
from galera_backup.runner.pipeline import Tally, ahead, decompress, read_file
from galera_backup.runner.places import Places
from galera_backup.runner.reporting import ProgressLine, log
from galera_backup.runner.storage import ClusterStore, remove, sync_tree, write_atomically
from galera_backup.runner.tool import ToolFault, check_log, check_prepared
from galera_backup.runner.volumes import free_kb, tree

_MARKER = ".prepared"
_DATA = "data"
_SPARE_KB = 64 * 1024
"""Beyond the stream itself: the redo log and undo that a prepare writes."""


class Prepared(Model):
    """Content of `.prepared`: written when the directory is ready to be copied from."""

    restore_id: str
    backup_id: str
    position: GaleraPosition
    """The one that InnoDB recovered: for `grastate.dat`."""
    files: int
    bytes: int


class Staging:
    """One restore's temporary directory. A half-made one is never continued, but made again."""

    def __init__(self, job: RestoreJob, store: ClusterStore, manifest: Manifest, places: Places) -> None:
        self.directory = store.restore_directory(job.restore_id)
        self.data = self.directory / _DATA
        self._archive = store.backup_directory(manifest.backup_id) / manifest.stream
        self._restore_id = job.restore_id
        self._manifest = manifest
        self._places = places

    def prepared(self) -> Prepared | None:
        """What an earlier pod of this restore has finished here; None when it has not, or it is not whole any more."""
        try:
            prepared = Prepared.model_validate_json((self.directory / _MARKER).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return prepared if prepared == self._describe(prepared.position) else None

    def unpack(self, container: MariadbContainer) -> float:
        """Unpack into an empty directory, verifying size and checksum on the way; answers the seconds it took.

        Errors: `NotEnoughSpace`, `BackupDamaged`, `RestoreFailed`, `RunnerFailed`.
        """
        began = time.monotonic()
        remove(self.directory)
        self._check_space()
        self.data.mkdir(parents=True)
        container.tell(protocol.TARGET, f"{self.data}\n")
        fault = self._feed(container)
        status = container.status(protocol.UNPACK_STATUS)
        if fault is None and status != 0:
            fault = f"mbstream's exit status is {status}, expected 0"
        if fault:
            verify_stream(self._archive, self._manifest, self._places)  # when that is damaged, that is the reason
            raise self._failed("unpacking", fault, container, protocol.UNPACK_LOG)
        return time.monotonic() - began

    def prepare(self, container: MariadbContainer) -> tuple[Prepared, float]:
        """Apply the redo log, then mark the directory as prepared; answers that, and the seconds it took.

        Errors: `RestoreFailed`, `RunnerFailed`.
        """
        began = time.monotonic()
        container.tell(protocol.PREPARE)
        status = container.status(protocol.PREPARE_STATUS)
        try:
            if status:
                raise ToolFault(f"its exit status is {status}, expected 0")
            check_log(container.log(protocol.PREPARE_LOG))
            recovered = check_prepared(self.data, self._manifest.position)
        except ToolFault as fault:
            raise self._failed("preparing", f"mariadb-backup: {fault}", container, protocol.PREPARE_LOG) from fault
        log.info("prepared; position %s, in InnoDB %s", self._manifest.position, recovered)
        sync_tree(self.data)
        prepared = self._describe(recovered)
        write_atomically(self.directory / _MARKER, prepared.model_dump_json().encode())
        return prepared, time.monotonic() - began

    def remove(self) -> None:
        """Remove the marker first: what is half removed is not prepared."""
        remove(self.directory / _MARKER)
        remove(self.directory)

    def _feed(self, container: MariadbContainer) -> str | None:
        """Stream the archive to mbstream; answers what went wrong in it."""
        packed, plain = Tally(), 0
        progress = ProgressLine("unpack", self._manifest.stream_bytes, self._places.progress_every)
        try:
            with closing(ahead(decompress(ahead(packed.hashed(read_file(self._archive)))))) as blocks:
                for count in container.write_stream(blocks):
                    plain += count
                    progress.show(plain)
        except BrokenPipeError:
            return f"mbstream stopped reading after {plain} of {self._manifest.stream_bytes} bytes"
        except zstandard.ZstdError as error:
            return f"cannot decompress {self._archive.name!r} after {plain} bytes: {error}"
        if plain != self._manifest.stream_bytes:
            return f"the stream has {plain} bytes, expected {self._manifest.stream_bytes}"
        check_tally(self._manifest, packed)
        log.info("unpacked %d bytes of %s", plain, self._manifest.backup_id)
        return None

    def _check_space(self) -> None:
        free, needed = free_kb(self._places.backup_root), self._manifest.stream_bytes // 1024 + _SPARE_KB
        if free > needed:
            return
        raise AgentError(
            "NotEnoughSpace",
            f"unpacking backup {self._manifest.backup_id!r}: the backup volume has {free} KB free; expected more than "
            f"{needed} KB = size of the stream + {_SPARE_KB} KB. Enlarge the backup claim or remove old backups",
        )

    def _describe(self, position: GaleraPosition) -> Prepared:
        files = tree(self.data)
        return Prepared(
            restore_id=self._restore_id,
            backup_id=self._manifest.backup_id,
            position=position,
            files=len(files),
            bytes=sum(files.values()),
        )

    def _failed(self, doing: str, fault: str, container: MariadbContainer, log_name: str) -> AgentError:
        return AgentError(
            "RestoreFailed",
            f"{doing} backup {self._manifest.backup_id!r} in {str(self.directory)!r}: {fault}. The data directory was "
            f"not touched; {free_kb(self._places.backup_root)} KB are free on the backup volume. End of the log: "
            f"{container.log_tail(log_name)}",
        )
