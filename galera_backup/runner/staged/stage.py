"""Unpack and prepare a backup on the data volume of a replica that goes on serving: the swap then only renames."""

from __future__ import annotations

import stat
import time
from datetime import UTC, datetime
from pathlib import Path

from galera_backup.failure import AgentError
from galera_backup.models.jobs import StageJob
from galera_backup.models.manifest import GaleraPosition, Manifest
from galera_backup.models.reports import StageReport
from galera_backup.models.volumes import STAGED_RESTORES, STAGING_RESERVE, Journal, SwapState
from galera_backup.runner.container import MariadbContainer
from galera_backup.runner.datadir import DIRECTORY_MODE, FILE_MODE, write_grastate
from galera_backup.runner.places import Places
from galera_backup.runner.placing import place
from galera_backup.runner.prepare import Room, Unpacking
from galera_backup.runner.reporting import log
from galera_backup.runner.staged.journal import StagedRestore, locked
from galera_backup.runner.staged.passwords import settle_passwords
from galera_backup.runner.staying import check_apart, staying
from galera_backup.runner.tool import metadata
from galera_backup.runner.upgrade_notes import upgrade_notes, write_notes
from galera_backup.runner.volumes import LOST_AND_FOUND, MARKER, tree
from galera_backup.storage.archive import manifest_of
from galera_backup.storage.durable import remove, sync_tree
from galera_backup.storage.space import FULL, total_kb

_NEVER_STAGED = (LOST_AND_FOUND, MARKER, STAGED_RESTORES)
"""They belong to the volume, or to the data directory that a swap moves aside."""


def stage(job: StageJob, places: Places, container: MariadbContainer) -> StageReport:
    """Leave the backup prepared and complete beside the data directory; a second time there is nothing to do.

    Errors: `BackupNotFound`, `BackupDamaged`, `NotEnoughSpace`, `RestoreFailed`, `RunnerFailed`. After any of them
    this restore has nothing staged, and takes no room.
    """
    archive = places.archive(job.owner)
    manifest = manifest_of(archive, job.backup_id)
    places.data_directory.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)  # a sub path that no server has used
    with locked(places.volume):
        restore = StagedRestore(places.volume, job.restore_id, places.claim)
        journal = restore.journal()
        _refuse_a_swapped_one(job, journal)
        if journal is not None and journal.backup_id == job.backup_id and restore.is_whole(journal):
            log.info("backup %s is staged already in %r", job.backup_id, str(restore.staged))
            container.dismiss()
            return StageReport(
                unpack_seconds=0, prepare_seconds=0, staged_bytes=journal.bytes, passwords=journal.passwords
            )
        restore.discard()
        try:
            unpacking = Unpacking(archive, manifest, restore.staged, _room(places), places)
            return _stage(job, restore, unpacking, container, manifest=manifest, live=places.data_directory)
        except BaseException as error:
            container.settle()
            _discard_after_failure(restore)
            if isinstance(error, OSError):
                raise _failed(job, manifest, restore, error) from error
            raise


def _stage(
    job: StageJob,
    restore: StagedRestore,
    unpacking: Unpacking,
    container: MariadbContainer,
    *,
    manifest: Manifest,
    live: Path,
) -> StageReport:
    journal = Journal(restore_id=job.restore_id, backup_id=job.backup_id, state=SwapState.STAGING, at=datetime.now(UTC))
    restore.write(journal)
    unpack_seconds = unpacking.unpack(container)
    began = time.monotonic()
    position = unpacking.prepare(container, job.uuid)
    passwords = settle_passwords(restore.staged, job.passwords, container, live)
    place(restore.staged, job.layout)
    write_notes(restore.staged, upgrade_notes(manifest, live))
    check_apart(live, staying(live, job.layout), restore.staged)
    _finish(restore.staged, position, job.safe_to_bootstrap)
    sizes = tree(restore.staged).values()
    complete = {
        "state": SwapState.STAGED,
        "position": position,
        "files": len(sizes),
        "bytes": sum(sizes),
        "passwords": passwords,
        "at": datetime.now(UTC),
    }
    restore.write(journal.model_copy(update=complete))
    return StageReport(
        unpack_seconds=unpack_seconds,
        prepare_seconds=time.monotonic() - began,
        staged_bytes=sum(sizes),
        passwords=passwords,
    )


def _finish(staged: Path, position: GaleraPosition, safe_to_bootstrap: bool) -> None:
    """Leave what a server starts on, with the modes that it gives its files, durably."""
    for name in (*metadata(staged), *_NEVER_STAGED):
        remove(staged / name)
    for path in staged.rglob("*"):
        mode = DIRECTORY_MODE if path.is_dir() else FILE_MODE
        if stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)
    write_grastate(staged, position, safe_to_bootstrap)
    sync_tree(staged)


def _room(places: Places) -> Room:
    return Room(
        volume=places.volume,
        name="the data volume",
        way_out="Enlarge the data claim, or restore with `strategy: rolling` or `in_place`, which need no second copy",
        reserve_kb=int(total_kb(places.volume) * STAGING_RESERVE),
    )


def _refuse_a_swapped_one(job: StageJob, journal: Journal | None) -> None:
    if journal is None or journal.state in (SwapState.STAGING, SwapState.STAGED):
        return
    raise AgentError(
        "RestoreFailed",
        f"staging backup {job.backup_id!r} for restore {job.restore_id!r}: expected a restore that has not been "
        f"swapped yet, its journal says {str(journal.state)!r}. Nothing was changed; finish this restore or put the "
        "old data back, and stage for another one",
    )


def _discard_after_failure(restore: StagedRestore) -> None:
    """What fails here is left to the next stage or tidy: the first failure is the one to tell."""
    try:
        restore.discard()
    except OSError as error:
        log.warning("cannot remove %r yet: %s", str(restore.directory), error)


def _failed(job: StageJob, manifest: Manifest, restore: StagedRestore, error: OSError) -> AgentError:
    return AgentError(
        "NotEnoughSpace" if error.errno in FULL else "RestoreFailed",
        f"staging backup {manifest.backup_id!r} for restore {job.restore_id!r} in {str(restore.staged)!r}: {error}. "
        "The data directory was not touched, and what was staged is removed; run the restore again when the cause is "
        "gone",
    )
