"""Restore one data volume (phase 2 of MOSK's restore workflow): unpack and prepare once, copy to each claim in turn."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import UTC, datetime

from galera_backup.failure import AgentError
from galera_backup.models.jobs import RestoreJob
from galera_backup.models.manifest import GaleraPosition, Manifest
from galera_backup.models.reports import RestoreReport
from galera_backup.models.volumes import ClaimMarker
from galera_backup.runner import datadir
from galera_backup.runner.container import MariadbContainer
from galera_backup.runner.handshake import BEGINS
from galera_backup.runner.in_use import check_not_in_use
from galera_backup.runner.places import Places
from galera_backup.runner.placing import place
from galera_backup.runner.reporting import log, logged_to
from galera_backup.runner.restore.scratch import ScratchDirectory
from galera_backup.runner.restore.unpack import append_tool_logs, make_ready
from galera_backup.runner.staying import check_apart, staying
from galera_backup.runner.upgrade_notes import upgrade_notes, write_notes
from galera_backup.runner.volumes import read_marker, restore_marker, tree, write_marker
from galera_backup.storage.archive import manifest_of
from galera_backup.storage.space import FULL


def restore(job: RestoreJob, places: Places, container: MariadbContainer) -> RestoreReport:
    """Leave the data directory restored and marked so; a second time there is nothing to do.

    Errors: `BackupNotFound`, `BackupDamaged`, `NotEnoughSpace`, `RestoreFailed`, `RunnerFailed`. The marker says
    whether the data directory was touched.
    """
    archive = places.archive(job.owner)
    manifest = manifest_of(archive, job.backup_id)
    kept = archive.log(job.stored_log)
    with logged_to(kept):
        scratch = ScratchDirectory(job, archive, manifest, places)
        places.scratch(job.cluster).remove(keep=job.restore_id)
        if _is_restored(job, places):
            log.info("%r is already restored from %s", str(places.data_directory), job.backup_id)
            report = RestoreReport(
                unpack_seconds=0,
                prepare_seconds=0,
                copy_seconds=0,
                restored_bytes=sum(tree(places.data_directory).values()),
            )
        else:
            report = _restore(job, manifest, scratch, places, container)
        if job.last:
            scratch.remove()
            log.info("removed the scratch directory %r", str(scratch.directory))
        log.info("restored: %s", report)
    append_tool_logs(kept, container)
    return report


def _restore(
    job: RestoreJob, manifest: Manifest, scratch: ScratchDirectory, places: Places, container: MariadbContainer
) -> RestoreReport:
    with scratch.at_work():
        prepared, unpacked = make_ready(scratch, container)
        began = time.monotonic()
        copied = _fill(job, manifest, prepared.position, scratch, places)
    return RestoreReport(
        unpack_seconds=unpacked.unpack_seconds,
        prepare_seconds=unpacked.prepare_seconds,
        copy_seconds=time.monotonic() - began,
        restored_bytes=copied,
    )


def _fill(
    job: RestoreJob, manifest: Manifest, position: GaleraPosition, scratch: ScratchDirectory, places: Places
) -> int:
    """Replace the content of the data directory; returns the bytes copied."""
    data = places.data_directory
    data.mkdir(datadir.DIRECTORY_MODE, parents=True, exist_ok=True)  # a sub path that no server has used
    stays = staying(data, job.layout)
    datadir.check_room(scratch.data, data, stays)
    check_apart(data, stays, scratch.data)
    check_not_in_use(data, job.layout)
    notes = upgrade_notes(manifest, data, data / datadir.ASIDE)
    log.info(BEGINS)
    _set_aside(job, places, stays)
    try:
        datadir.wipe(data)
        copied = datadir.copy(scratch.data, data, stays, places.progress_every)
        place(data, job.layout)
        write_notes(data, notes)
        datadir.write_grastate(data, position, job.safe_to_bootstrap)
        _mark(job, places, "restored")
    except OSError as error:
        raise AgentError(
            "NotEnoughSpace" if error.errno in FULL else "RestoreFailed",
            f"copying {str(scratch.data)!r} to {str(data)!r}: {error}. The data directory is incomplete and marked "
            "as 'restoring'; run the restore again when the cause is gone",
        ) from error
    return copied


def _set_aside(job: RestoreJob, places: Places, stays: Collection[str]) -> None:
    """Put the old data aside, marked as `restoring`. Error: `RestoreFailed`; no name was changed, nor the marker."""
    data = places.data_directory
    before = read_marker(data)
    _mark(job, places, "restoring")
    try:
        datadir.set_aside(data, stays)
    except BaseException as error:
        if before is None or before.restore_id != job.restore_id:  # else a part of it may be gone
            restore_marker(data, before)
        if not isinstance(error, OSError):
            raise
        raise AgentError(
            "RestoreFailed",
            f"putting the old data in {str(data)!r} aside: {error}. Every file is where it was; when the cause is gone "
            "start the restore again",
        ) from error


def _is_restored(job: RestoreJob, places: Places) -> bool:
    marker = read_marker(places.data_directory)
    return marker is not None and (marker.restore_id, marker.backup_id, marker.state) == (
        job.restore_id,
        job.backup_id,
        "restored",
    )


def _mark(job: RestoreJob, places: Places, state: str) -> None:
    write_marker(
        places.data_directory,
        ClaimMarker.model_validate(
            {"restore_id": job.restore_id, "backup_id": job.backup_id, "state": state, "at": datetime.now(UTC)}
        ),
    )
