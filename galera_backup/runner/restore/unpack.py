"""Make a backup ready on the backup volume before a restore stops anything, and remove what that leaves."""

from __future__ import annotations

from galera_backup.models.jobs import DiscardJob, UnpackJob
from galera_backup.models.reports import Done, UnpackReport
from galera_backup.runner import handshake
from galera_backup.runner.container import MariadbContainer
from galera_backup.runner.places import Places
from galera_backup.runner.reporting import append_log, log, logged_to
from galera_backup.runner.restore.scratch import Prepared, ScratchDirectory
from galera_backup.storage.archive import Log, manifest_of


def unpack(job: UnpackJob, places: Places, container: MariadbContainer) -> UnpackReport:
    """Leave the backup prepared in the restore's scratch directory; a second time there is nothing to do.

    Errors: `BackupNotFound`, `BackupDamaged`, `NotEnoughSpace`, `RestoreFailed`, `RunnerFailed`. No data volume is
    mounted.
    """
    archive = places.archive(job.owner)
    manifest = manifest_of(archive, job.backup_id)
    kept = archive.log(job.stored_log)
    with logged_to(kept):
        scratch = ScratchDirectory(job, archive, manifest, places)
        places.scratch(job.cluster).remove(keep=job.restore_id)
        with scratch.at_work():
            _, report = make_ready(scratch, container)
        log.info("unpacked: %s", report)
    append_tool_logs(kept, container)
    return report


def make_ready(scratch: ScratchDirectory, container: MariadbContainer) -> tuple[Prepared, UnpackReport]:
    """Unpack and prepare, unless an earlier pod of this restore has."""
    prepared = scratch.prepared()
    if prepared:
        log.info("%r is already prepared", str(scratch.directory))
        container.dismiss()
        return prepared, UnpackReport(
            unpack_seconds=0, prepare_seconds=0, prepared_bytes=prepared.bytes, passwords=prepared.passwords
        )
    unpack_seconds = scratch.unpack(container)
    prepared, prepare_seconds = scratch.prepare(container)
    return prepared, UnpackReport(
        unpack_seconds=unpack_seconds,
        prepare_seconds=prepare_seconds,
        prepared_bytes=prepared.bytes,
        passwords=prepared.passwords,
    )


def append_tool_logs(kept: Log, container: MariadbContainer) -> None:
    """What mbstream and mariadb-backup said, if they ran."""
    for name in (handshake.UNPACK_LOG, handshake.PREPARE_LOG):
        if container.log(name):
            append_log(kept, name, container.log(name))


def discard(job: DiscardJob, places: Places) -> Done:
    """Remove the scratch directories of restores, but that of `keep`; nothing there is success."""
    places.scratch(job.cluster).remove(job.keep)
    return Done()
