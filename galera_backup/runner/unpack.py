"""Make a backup ready on the backup volume before a restore stops anything, and remove what that leaves."""

from __future__ import annotations

from pathlib import Path

from galera_backup.models.jobs import DiscardJob, Done, UnpackJob, UnpackReport
from galera_backup.runner import protocol
from galera_backup.runner.container import MariadbContainer
from galera_backup.runner.places import Places
from galera_backup.runner.reporting import append_log, log, logged_to
from galera_backup.runner.staging import Prepared, Staging
from galera_backup.runner.storage import ClusterStore
from galera_backup.storage import layout


def unpack(job: UnpackJob, places: Places, container: MariadbContainer) -> UnpackReport:
    """Leave the backup prepared in the restore's temporary directory; a second time there is nothing to do.

    Errors: `BackupNotFound`, `BackupDamaged`, `NotEnoughSpace`, `RestoreFailed`, `RunnerFailed`. No data volume is
    mounted.
    """
    store = ClusterStore(places.backup_root, job.owner)
    manifest = store.manifest(job.backup_id)
    log_path = places.backup_root / layout.log(job.stored_log)
    with logged_to(log_path):
        staging = Staging(job, store, manifest, places)
        ClusterStore(places.backup_root, job.cluster).remove_restores(keep=staging.directory)
        _, report = make_ready(staging, container)
        log.info("unpacked: %s", report)
    append_tool_logs(log_path, container)
    return report


def make_ready(staging: Staging, container: MariadbContainer) -> tuple[Prepared, UnpackReport]:
    """Unpack and prepare, unless an earlier pod of this restore has."""
    prepared = staging.prepared()
    if prepared:
        log.info("%r is already prepared", str(staging.directory))
        container.dismiss()
        return prepared, UnpackReport(unpack_seconds=0, prepare_seconds=0, prepared_bytes=prepared.bytes)
    unpack_seconds = staging.unpack(container)
    prepared, prepare_seconds = staging.prepare(container)
    return prepared, UnpackReport(
        unpack_seconds=unpack_seconds, prepare_seconds=prepare_seconds, prepared_bytes=prepared.bytes
    )


def append_tool_logs(log_path: Path, container: MariadbContainer) -> None:
    """What mbstream and mariadb-backup said, if they ran."""
    for name in (protocol.UNPACK_LOG, protocol.PREPARE_LOG):
        if container.log(name):
            append_log(log_path, name, container.log(name))


def discard(job: DiscardJob, places: Places) -> Done:
    """Remove the temporary directories of restores, but that of `keep`; nothing there is success."""
    store = ClusterStore(places.backup_root, job.cluster)
    store.remove_restores(keep=store.restore_directory(job.keep) if job.keep is not None else None)
    return Done()
