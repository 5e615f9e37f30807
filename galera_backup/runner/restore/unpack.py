"""Make a backup ready on the backup volume before a restore stops anything, and remove what that leaves."""

from __future__ import annotations

from pathlib import Path

from galera_backup.models.jobs import DiscardJob, Done, UnpackJob, UnpackReport
from galera_backup.runner import handshake
from galera_backup.runner.container import MariadbContainer
from galera_backup.runner.places import Places
from galera_backup.runner.reporting import append_log, log, logged_to
from galera_backup.runner.restore.temporary import Prepared, TemporaryDirectory, remove_temporary_directories
from galera_backup.storage import layout
from galera_backup.storage.archive import manifest_of


def unpack(job: UnpackJob, places: Places, container: MariadbContainer) -> UnpackReport:
    """Leave the backup prepared in the restore's temporary directory; a second time there is nothing to do.

    Errors: `BackupNotFound`, `BackupDamaged`, `NotEnoughSpace`, `RestoreFailed`, `RunnerFailed`. No data volume is
    mounted.
    """
    archive = places.archive(job.owner)
    manifest = manifest_of(archive, job.backup_id)
    log_path = places.backup_root / layout.log(job.stored_log)
    with logged_to(log_path):
        temporary = TemporaryDirectory(job, archive, manifest, places)
        remove_temporary_directories(places.backup_root, job.cluster, keep=job.restore_id)
        _, report = make_ready(temporary, container)
        log.info("unpacked: %s", report)
    append_tool_logs(log_path, container)
    return report


def make_ready(temporary: TemporaryDirectory, container: MariadbContainer) -> tuple[Prepared, UnpackReport]:
    """Unpack and prepare, unless an earlier pod of this restore has."""
    prepared = temporary.prepared()
    if prepared:
        log.info("%r is already prepared", str(temporary.directory))
        container.dismiss()
        return prepared, UnpackReport(unpack_seconds=0, prepare_seconds=0, prepared_bytes=prepared.bytes)
    unpack_seconds = temporary.unpack(container)
    prepared, prepare_seconds = temporary.prepare(container)
    return prepared, UnpackReport(
        unpack_seconds=unpack_seconds, prepare_seconds=prepare_seconds, prepared_bytes=prepared.bytes
    )


def append_tool_logs(log_path: Path, container: MariadbContainer) -> None:
    """What mbstream and mariadb-backup said, if they ran."""
    for name in (handshake.UNPACK_LOG, handshake.PREPARE_LOG):
        if container.log(name):
            append_log(log_path, name, container.log(name))


def discard(job: DiscardJob, places: Places) -> Done:
    """Remove the temporary directories of restores, but that of `keep`; nothing there is success."""
    remove_temporary_directories(places.backup_root, job.cluster, job.keep)
    return Done()
