"""Store one full backup: space check, stream, proof of success, manifest (phase 2 of MOSK's backup workflow)."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from galera_backup.failure import AgentError
from galera_backup.models.backup import MB_PER_SECOND_AND_PROCESSOR
from galera_backup.models.jobs import BackupJob
from galera_backup.models.manifest import Manifest
from galera_backup.runner import handshake
from galera_backup.runner.container import MariadbContainer
from galera_backup.runner.contents import Contents, contents, not_in
from galera_backup.runner.holes import holes
from galera_backup.runner.mbstream import NotAStream, StreamNames
from galera_backup.runner.pipeline import Tally, ahead, compress, paced
from galera_backup.runner.places import Places
from galera_backup.runner.reporting import ProgressLine, append_log, log, logged_to
from galera_backup.runner.tool import GALERA_INFO, BackupFacts, Hold, ToolFault, backup_facts
from galera_backup.runner.volumes import unpacked_kb, used_kb
from galera_backup.storage.archive import Archive, Log, NewBackup
from galera_backup.storage.space import FULL, free_kb, total_kb
from galera_backup.text import bounded

DATA_RESERVE = 0.02
"""Part of the data volume that stays free: a server stops when it is full, and write-sets that wait are files on it."""

_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class _Stored:
    stream: str
    plain: Tally
    packed: Tally
    facts: BackupFacts
    unpacked_bytes: int
    holes: float


def backup(job: BackupJob, places: Places, container: MariadbContainer) -> Manifest:
    """Store the backup; returns the manifest of it, or of the same one when this run has already stored it.

    Errors: `NotEnoughSpace`, `BackupFailed`, `BackupIncomplete`, `BackupExists`, `RunnerFailed`. After any of them the
    directory has a log at most.
    """
    archive = places.archive(job.cluster)
    earlier = _earlier(job, archive)
    if earlier:
        return earlier
    places.scratch(job.cluster).remove()
    archive.remove_leftovers(job.backup_id, keep_logs=True)
    kept = archive.log(job.stored_log)
    with _room(job), archive.create(job.backup_id, job.lease_run) as new:
        try:
            with logged_to(kept):
                started_at = datetime.now(UTC)
                data_kb = _check_space(job, archive, places)
                stored = _store(job, new, kept, places, container, data_bytes=data_kb * 1024)
                sizes = stored.plain.bytes, stored.packed.bytes
                log.info("position %s; %d bytes stored as %d", stored.facts.position, *sizes)
        finally:
            append_log(kept, "mariadb-backup", container.log(handshake.BACKUP_LOG))
        manifest = _manifest(job, started_at, data_kb * 1024, stored)
        new.put_manifest(manifest)
    return manifest


def _earlier(job: BackupJob, archive: Archive) -> Manifest | None:
    """The backup with this id, when a first start of the same pod has completed it."""
    entry = archive.entry(job.backup_id)
    if entry.left_over:
        return None
    if entry.manifest and entry.manifest.lease_run == job.lease_run:
        log.info("backup %s was already stored by this run", job.backup_id)
        return entry.manifest
    owner = f"of lease run {entry.manifest.lease_run!r}" if entry.manifest else f"that does not hold: {entry.damage}"
    raise AgentError(
        "BackupExists",
        f"storing backup {job.backup_id!r} of {job.cluster} for lease run {job.lease_run!r}: there is already one "
        f"{owner}. Nothing was changed; start another backup, its id will be another",
    )


def _check_space(job: BackupJob, archive: Archive, places: Places) -> int:
    """KB of data. Error: `NotEnoughSpace` unless free KB > data KB x ratio (the formula of MOSK's backup workflow)."""
    data, free = used_kb(places.data_directory), archive.free_kb()
    needed = int(data * job.required_space_ratio)
    log.info("space: %d KB free, %d KB data x %s = %d KB", free, data, job.required_space_ratio, needed)
    if free > needed:
        return data
    raise AgentError(
        "NotEnoughSpace",
        f"backup {job.backup_id!r} of {job.cluster}: the backup volume has {free} KB free; expected more than {needed} "
        f"KB = {data} KB used by the data directory of {job.replica!r} x required space ratio "
        f"{job.required_space_ratio}. Enlarge the backup claim, keep fewer backups, or lower the ratio",
    )


def _store(
    job: BackupJob, new: NewBackup, kept: Log, places: Places, container: MariadbContainer, *, data_bytes: int
) -> _Stored:
    """Store the stream, and keep it once everything proves that it is whole."""
    progress = ProgressLine("backup", data_bytes, places.progress_every)
    before, names = contents(places.data_directory, job.layout.ignored), StreamNames(GALERA_INFO)
    rate = job.max_mb_per_second or MB_PER_SECOND_AND_PROCESSOR * len(os.sched_getaffinity(0))
    with _understood(job):
        hurry = _Hurry(container).needed if job.max_mb_per_second is None else lambda: False
        stream = names.noted(paced(container.read_stream(), rate * 1e6, hurry))
        plain, packed = _store_stream(new, stream, progress, _DataRoom(places.data_directory))
    status = container.status(handshake.BACKUP_STATUS)
    try:
        if status != 0:
            raise ToolFault(f"its exit status is {status}, expected 0")
        log_text, lsn_directory = container.log(handshake.BACKUP_LOG), places.work / handshake.LSN_DIRECTORY
        facts = backup_facts(log_text, lsn_directory, names.kept)
    except ToolFault as fault:
        raise AgentError(
            "BackupFailed",
            f"mariadb-backup of {job.backup_id!r} after {plain.bytes} bytes: {fault}. Nothing that counts was "
            f"left; its whole log is in {kept.name!r} on the backup volume, run the backup again "
            f"when the cause is gone. End of the log: {container.log_tail(handshake.BACKUP_LOG)}",
        ) from fault
    with _understood(job):
        names.check_end()
    _check_tables(job, names.names, before, contents(places.data_directory, job.layout.ignored))
    unpacked, sparse = unpacked_kb(places.data_directory) * 1024, holes(places.data_directory)
    return _Stored(new.keep_stream(), plain, packed, facts, unpacked, sparse)


@contextmanager
def _understood(job: BackupJob) -> Generator[None]:
    """Error: `BackupIncomplete`, when nobody can tell what the stream has: neither could a restore unpack it."""
    try:
        yield
    except NotAStream as error:
        raise AgentError(
            "BackupIncomplete",
            f"backup {job.backup_id!r} of {job.cluster}: expected an mbstream from mariadb-backup, so that its tables "
            f"are known: {error}. Nothing that counts was left; report the version of the server's image",
        ) from error


def _check_tables(job: BackupJob, names: frozenset[str], before: Contents, after: Contents) -> None:
    """Error: `BackupIncomplete`, when a table that was there all the time is not in the stream."""
    missing = [*after.elsewhere, *after.unreadable, *not_in(names, before, after)]
    if missing:
        raise AgentError(
            "BackupIncomplete",
            f"backup {job.backup_id!r} of {job.cluster}: expected the stream to have every table of {job.replica!r}, "
            f"it lacks {len(missing)} files: {bounded(', '.join(missing), 500)}. mariadb-backup does not follow "
            "links to databases or tables: move them into the data directory. Nothing that counts was left",
        )


class _Hurry:
    """Of a tool that holds up its server: write-sets wait for it, and clients' writes where the server serves."""

    def __init__(self, container: MariadbContainer) -> None:
        self._container = container
        self._hold = Hold()
        self._at, self._looked = 0, 0.0

    def needed(self) -> bool:
        """Looks at the tool's log once a second."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            lines, self._at = self._container.grown(handshake.BACKUP_LOG, self._at)
            self._hold.feed(lines)
        return self._hold.begun


class _DataRoom:
    """Of the replica that is backed up: what its cluster sends it meanwhile may lie on its volume."""

    def __init__(self, data_directory: Path) -> None:
        self._data = data_directory
        self._least_kb = min(free_kb(data_directory) // 2, int(total_kb(data_directory) * DATA_RESERVE))

    def watch(self) -> None:
        """Error: `NotEnoughSpace`, when the volume is nearly full."""
        free = free_kb(self._data)
        if free < self._least_kb:
            raise AgentError(
                "NotEnoughSpace",
                f"the data volume has {free} KB left; expected at least {self._least_kb} KB while the replica is "
                "backed up: its server would stop when it is full. The replica is given back; enlarge the data claim",
            )


@contextmanager
def _room(job: BackupJob) -> Generator[None]:
    """Error: `NotEnoughSpace` where the volume is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise AgentError(
            "NotEnoughSpace",
            f"storing backup {job.backup_id!r}: {error.strerror}. Raise the required space ratio, enlarge the backup "
            "claim, or keep fewer backups",
        ) from error


def _store_stream(
    new: NewBackup, stream: Generator[bytes], progress: ProgressLine, room: _DataRoom
) -> tuple[Tally, Tally]:
    plain, packed = Tally(), Tally()
    with closing(ahead(compress(plain.counted(ahead(stream))))) as blocks:
        for block in packed.hashed(blocks):
            new.write(block)
            if progress.show(plain.bytes, packed.bytes):
                room.watch()
    return plain, packed


def _manifest(job: BackupJob, started_at: datetime, data_bytes: int, stored: _Stored) -> Manifest:
    facts = stored.facts
    return Manifest(
        backup_id=job.backup_id,
        cluster=job.cluster,
        replica=job.replica,
        node=job.node,
        claim=job.claim,
        claim_uid=job.claim_uid,
        lease_run=job.lease_run,
        position=facts.position,
        lsn=facts.lsn,
        server_version=facts.server_version,
        tool_version=facts.tool_version,
        stream=stored.stream,
        data_bytes=data_bytes,
        stream_bytes=stored.plain.bytes,
        stored_bytes=stored.packed.bytes,
        sha256=stored.packed.sha256,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        unpacked_bytes=stored.unpacked_bytes,
        holes=stored.holes,
        layout=job.layout,
        ddl_blocked_seconds=facts.ddl_blocked_seconds,
        in_service=job.in_service,
        unsafe=job.unsafe,
        problems=job.problems,
    )
