"""A stored backup is read: verified, or unpacked and prepared without filling the volume on which that is done."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import zstandard

from galera_backup.failure import AgentError
from galera_backup.models.manifest import GaleraPosition, Manifest
from galera_backup.runner import handshake
from galera_backup.runner.adopt import adopt
from galera_backup.runner.container import MariadbContainer
from galera_backup.runner.holes import dig, had_holes
from galera_backup.runner.pipeline import Tally, ahead, decompress
from galera_backup.runner.places import Places
from galera_backup.runner.reporting import ProgressLine, log
from galera_backup.runner.tool import ToolFault, check_log, check_prepared
from galera_backup.storage.archive import Archive
from galera_backup.storage.space import free_kb

_SPARE_KB = 64 * 1024
"""Beyond the stream itself: the redo log and undo that a prepare writes."""


def verify_stream(archive: Archive, manifest: Manifest, places: Places) -> None:
    """Read the whole stored stream. Error: `BackupDamaged`."""
    tally = Tally()
    progress = ProgressLine("verify", manifest.stored_bytes, places.progress_every)
    with closing(ahead(archive.read(manifest))) as blocks:
        for _ in tally.hashed(blocks):
            progress.show(tally.bytes)
    _check_tally(manifest, tally)
    log.info("backup %s: %d bytes, sha256 %s, as in its manifest", manifest.backup_id, tally.bytes, tally.sha256)


@dataclass(frozen=True)
class Room:
    """The volume that a backup is unpacked to, and what of it somebody else may need meanwhile."""

    volume: Path
    name: str
    """Such as `the backup volume`."""
    way_out: str
    """What an operator can do when it has too little room: a sentence without its full stop."""
    reserve_kb: int = 0
    """To be free still when all is unpacked."""

    def check(self, manifest: Manifest) -> None:
        """Error: `NotEnoughSpace` unless the backup fits beside the reserve."""
        free, stream = free_kb(self.volume), manifest.stream_bytes // 1024
        needed = stream + _SPARE_KB + self.reserve_kb
        log.info("space: %d KB free, %d KB needed, %d KB of that in reserve", free, needed, self.reserve_kb)
        if free > needed:
            return
        reserve = f" + {self.reserve_kb} KB that must stay free" if self.reserve_kb else ""
        raise AgentError(
            "NotEnoughSpace",
            f"unpacking backup {manifest.backup_id!r}: {self.name} has {free} KB free; expected more than {needed} KB "
            f"= {stream} KB of the stream + {_SPARE_KB} KB for its prepare{reserve}; {needed - free} KB are missing. "
            f"{self.way_out}",
        )

    def watch(self, manifest: Manifest) -> None:
        """Error: `NotEnoughSpace` when half of the reserve is gone: somebody else fills the volume."""
        free = free_kb(self.volume)
        if free >= self.reserve_kb // 2:
            return
        raise AgentError(
            "NotEnoughSpace",
            f"unpacking backup {manifest.backup_id!r}: stopped, {self.name} has only {free} KB left; expected at least "
            f"{self.reserve_kb // 2} KB, half of the reserve, though there was room when it began: something else "
            f"writes to the volume. {self.way_out}",
        )


class Unpacking:
    """One backup, unpacked and prepared in the directory `data`."""

    def __init__(self, archive: Archive, manifest: Manifest, data: Path, room: Room, places: Places) -> None:
        self.data = data
        self._archive = archive
        self._manifest = manifest
        self._room = room
        self._places = places

    def unpack(self, container: MariadbContainer) -> float:
        """Unpack into the directory, which is made, verifying size and checksum on the way; returns the seconds.

        Errors: `NotEnoughSpace`, `BackupDamaged`, `RestoreFailed`, `RunnerFailed`.
        """
        began = time.monotonic()
        self._room.check(self._manifest)
        self.data.mkdir(parents=True)
        container.tell(handshake.TARGET, f"{self.data}\n")
        fault = self._feed(container)
        status = container.status(handshake.UNPACK_STATUS)
        if fault is None and status != 0:
            fault = f"mbstream's exit status is {status}, expected 0"
        if fault:
            verify_stream(self._archive, self._manifest, self._places)  # when that is damaged, that is the reason
            raise self._failed("unpacking", fault, container, handshake.UNPACK_LOG)
        self._room.watch(self._manifest)
        return time.monotonic() - began

    def prepare(self, container: MariadbContainer, uuid: str | None) -> GaleraPosition:
        """Apply the redo log, and adopt the new identity; returns the position that InnoDB has then.

        Nothing is durable yet.

        Errors: `RestoreFailed`, `RunnerFailed`.
        """
        container.tell(handshake.PREPARE)
        status = container.status(handshake.PREPARE_STATUS)
        try:
            if status:
                raise ToolFault(f"its exit status is {status}, expected 0")
            check_log(container.log(handshake.PREPARE_LOG))
            recovered = check_prepared(self.data, self._manifest.position)
        except ToolFault as fault:
            raise self._failed("preparing", f"mariadb-backup: {fault}", container, handshake.PREPARE_LOG) from fault
        log.info("prepared; position %s, in InnoDB %s", self._manifest.position, recovered)
        position = recovered if uuid is None else adopt(uuid, self.data, recovered, container)
        if had_holes(self._manifest):
            dig(self.data)
        return position

    def _feed(self, container: MariadbContainer) -> str | None:
        """Stream the backup to mbstream; returns what went wrong in it."""
        packed, plain = Tally(), 0
        progress = ProgressLine("unpack", self._manifest.stream_bytes, self._places.progress_every)
        try:
            with closing(ahead(decompress(ahead(packed.hashed(self._archive.read(self._manifest)))))) as blocks:
                for count in container.write_stream(blocks):
                    plain += count
                    if progress.show(plain):
                        self._room.watch(self._manifest)
        except BrokenPipeError:
            return f"mbstream stopped reading after {plain} of {self._manifest.stream_bytes} bytes"
        except zstandard.ZstdError as error:
            return f"cannot decompress {self._manifest.stream!r} after {plain} bytes: {error}"
        if plain != self._manifest.stream_bytes:
            return f"the stream has {plain} bytes, expected {self._manifest.stream_bytes}"
        _check_tally(self._manifest, packed)
        log.info("unpacked %d bytes of %s", plain, self._manifest.backup_id)
        return None

    def _failed(self, doing: str, fault: str, container: MariadbContainer, log_name: str) -> AgentError:
        return AgentError(
            "RestoreFailed",
            f"{doing} backup {self._manifest.backup_id!r} in {str(self.data)!r}: {fault}. The data directory was "
            f"not touched; {free_kb(self._room.volume)} KB are free on {self._room.name}. End of the log: "
            f"{container.log_tail(log_name)}",
        )


def _check_tally(manifest: Manifest, seen: Tally) -> None:
    """Error: `BackupDamaged` when what was read is not what the manifest says was stored."""
    if (seen.bytes, seen.sha256) == (manifest.stored_bytes, manifest.sha256):
        return
    raise AgentError(
        "BackupDamaged",
        f"reading {manifest.stream!r} of backup {manifest.backup_id!r} of {manifest.cluster}: expected "
        f"{manifest.stored_bytes} bytes with sha256 {manifest.sha256}, seen {seen.bytes} bytes with sha256 "
        f"{seen.sha256}. Choose another backup",
    )
