"""Store one full backup: space check, stream, proof of success, manifest (the seed's backup phase 2)."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from galera_backup.models.jobs import BackupJob
from galera_backup.models.manifest import Manifest
from galera_backup.runner import protocol
from galera_backup.runner.container import MariadbContainer
from galera_backup.runner.failure import AgentError
from galera_backup.runner.pipeline import Tally, ahead, compress, paced
from galera_backup.runner.places import Places
from galera_backup.runner.reporting import ProgressLine, append_log, log, logged_to
from galera_backup.runner.storage import (
    MANIFEST,
    STREAM,
    ClusterStore,
    remove,
    sync_directory,
    write_atomically,
)
from galera_backup.runner.tool import BackupFacts, ToolFault, backup_facts
from galera_backup.runner.volumes import FULL, free_kb, used_kb
from galera_backup.storage import layout

_WRITE_BACK = 32 << 20
"""Bytes after which the kernel is told to write out, so that the final fsync has little left to do."""
MB_PER_SECOND_AND_PROCESSOR = 25
"""Costs 6 to 8 % of the node's processors: benchmarks/load_during_backup.py."""


@dataclass(frozen=True)
class _Stored:
    stream_bytes: int
    stored_bytes: int
    sha256: str


def backup(job: BackupJob, places: Places, container: MariadbContainer) -> Manifest:
    """Store the backup; answers the manifest of it, or of the same one when this run has already stored it.

    Errors: `NotEnoughSpace`, `BackupFailed`, `RunnerFailed`. After any of them the directory has a log at most.
    """
    store = ClusterStore(places.backup_root, job.cluster)
    directory = store.backup_directory(job.backup_id)
    earlier = _earlier(job, store)
    if earlier:
        return earlier
    store.remove_restores()
    store.remove_leftovers(keep_logs=True)
    directory.mkdir(parents=True, exist_ok=True)
    log_path = places.backup_root / layout.log(job.stored_log)
    try:
        with logged_to(log_path):
            started_at = datetime.now(UTC)
            data_kb = _check_space(job, places)
            stored, facts = _store(directory, places, container, data_kb * 1024, job.max_mb_per_second)
            log.info("position %s; %d bytes stored as %d", facts.position, stored.stream_bytes, stored.stored_bytes)
        append_log(log_path, "mariadb-backup", container.log(protocol.BACKUP_LOG))
        manifest = _manifest(job, started_at, data_kb * 1024, stored, facts)
        write_atomically(directory / MANIFEST, manifest.model_dump_json(indent=2).encode())
        sync_directory(directory.parent)
    except BaseException:
        remove(directory / MANIFEST)
        remove(directory / STREAM)
        remove(_partial(directory))
        append_log(log_path, "mariadb-backup", container.log(protocol.BACKUP_LOG))
        raise
    return manifest


def _earlier(job: BackupJob, store: ClusterStore) -> Manifest | None:
    """The backup with this id, when a first start of the same pod has completed it."""
    for entry in store.entries():
        if entry.path.name != job.backup_id or entry.left_over:
            continue
        if entry.manifest and entry.manifest.lease_run == job.lease_run:
            log.info("backup %s was already stored by this run", job.backup_id)
            return entry.manifest
        owner = (
            f"of lease run {entry.manifest.lease_run!r}" if entry.manifest else f"that does not hold: {entry.damage}"
        )
        raise AgentError(
            "BackupFailed",
            f"storing backup {job.backup_id!r} of {job.cluster} for lease run {job.lease_run!r}: there is already one "
            f"{owner}. Nothing was changed; start another backup, its id will be another",
        )
    return None


def _check_space(job: BackupJob, places: Places) -> int:
    """KB of data. Error: `NotEnoughSpace` unless free KB > data KB x ratio (the seed's formula)."""
    data, free = used_kb(places.data_directory), free_kb(places.backup_root)
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
    directory: Path, places: Places, container: MariadbContainer, data_bytes: int, max_mb_per_second: float | None
) -> tuple[_Stored, BackupFacts]:
    """Store the stream under its final name, once everything proves that it is whole."""
    try:
        progress = ProgressLine("backup", data_bytes, places.progress_every)
        rate = max_mb_per_second or MB_PER_SECOND_AND_PROCESSOR * len(os.sched_getaffinity(0))
        stream = paced(container.read_stream(), rate * 1e6)
        stored = _store_stream(_partial(directory), stream, progress)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise AgentError(
            "NotEnoughSpace",
            f"storing the stream in {str(directory)!r}: {error.strerror} after the space check had passed. Raise the "
            "required space ratio, enlarge the backup claim, or keep fewer backups",
        ) from error
    status = container.status(protocol.BACKUP_STATUS)
    try:
        if status != 0:
            raise ToolFault(f"its exit status is {status}, expected 0")
        facts = backup_facts(container.log(protocol.BACKUP_LOG), places.work / protocol.LSN_DIRECTORY)
    except ToolFault as fault:
        raise AgentError(
            "BackupFailed",
            f"mariadb-backup of {directory.name!r} after {stored.stream_bytes} bytes: {fault}. Nothing that counts was "
            f"left; its whole log is in {str(directory / layout.RUNNER_LOG)!r}, run the backup again when the cause is "
            f"gone. End of the log: {container.log_tail(protocol.BACKUP_LOG)}",
        ) from fault
    _partial(directory).rename(directory / STREAM)
    sync_directory(directory)
    return stored, facts


def _store_stream(path: Path, stream: Generator[bytes], progress: ProgressLine) -> _Stored:
    plain, packed = Tally(), Tally()
    synced = 0
    with (
        path.open("wb", buffering=0) as file,
        closing(ahead(compress(plain.counted(ahead(stream))))) as blocks,
    ):
        for block in packed.hashed(blocks):
            rest = memoryview(block)
            while rest:
                rest = rest[file.write(rest) :]
            if packed.bytes - synced >= _WRITE_BACK:
                os.posix_fadvise(file.fileno(), synced, packed.bytes - synced, os.POSIX_FADV_DONTNEED)
                synced = packed.bytes
            progress.show(plain.bytes, packed.bytes)
        os.fsync(file.fileno())
    return _Stored(plain.bytes, packed.bytes, packed.sha256)


def _manifest(job: BackupJob, started_at: datetime, data_bytes: int, stored: _Stored, facts: BackupFacts) -> Manifest:
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
        stream=STREAM,
        data_bytes=data_bytes,
        stream_bytes=stored.stream_bytes,
        stored_bytes=stored.stored_bytes,
        sha256=stored.sha256,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        unsafe=job.unsafe,
        problems=job.problems,
    )


def _partial(directory: Path) -> Path:
    return directory / f"{STREAM}.part"
