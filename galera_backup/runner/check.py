"""Look at a data volume, and verify, or pin, a backup before anything is stopped for it."""

from __future__ import annotations

import os

from galera_backup.failure import AgentError
from galera_backup.models.jobs import CheckJob
from galera_backup.models.manifest import Manifest
from galera_backup.models.reports import CheckReport
from galera_backup.runner import handshake
from galera_backup.runner.container import MariadbContainer
from galera_backup.runner.contents import contents, not_backed_up, outside_innodb_kb, read_kb
from galera_backup.runner.greeting import check_log_in, check_server
from galera_backup.runner.permissions import may_change, may_list, nearest
from galera_backup.runner.places import Places
from galera_backup.runner.prepare import verify_stream
from galera_backup.runner.reporting import listed
from galera_backup.runner.staged.previous import left_incomplete, saved_state
from galera_backup.runner.staying import going, in_the_way, staying
from galera_backup.runner.volumes import copies_kb, data_directories, has_snapshots, unpacked_kb, used_kb
from galera_backup.storage import layout
from galera_backup.storage.archive import manifest_of
from galera_backup.storage.space import free_kb, total_kb
from galera_backup.version import Version


def check(job: CheckJob, places: Places, container: MariadbContainer) -> CheckReport:
    """Measure the volumes; with `backup_id`, verify the backup's size, checksum and version, and what the image has.

    `container`: the server's image; used with `backup_id` and `before_backup` only.
    Errors: `BackupNotFound`, `BackupDamaged`, `VersionMismatch`, `RestoreFailed`; `RunnerFailed` and `DatabaseRefused`,
    when a pod of a backup could not reach its server, or log in.
    """
    manifest = None
    if job.before_backup:
        check_server(places, container.answer(handshake.VERSION))
        check_log_in(container)
    if job.backup_id is not None:
        archive = places.archive(job.owner)
        manifest = manifest_of(archive, job.backup_id)
        if job.pin is not None:
            archive.pin(job.backup_id, job.pin.restore_id, job.pin.lifetime)
        _check_version(manifest, container.answer(handshake.VERSION))
        _check_provider(container.answer(handshake.PROVIDER))
        verify_stream(archive, manifest, places)
    data = places.data_directory
    if not may_list(data):
        total, free = total_kb(places.volume), free_kb(places.volume)
        return CheckReport(data_total_kb=total, data_free_kb=free, data_used_kb=0, unreadable=(".",), manifest=manifest)
    writable = may_change(nearest(data))
    if not data.exists() and places.volume in data.parents:
        data = places.volume  # no server has used it yet
    found = contents(data, job.layout.ignored)
    strange = not_backed_up(data, found)
    stuck = in_the_way(data, job.layout)
    return CheckReport(
        data_total_kb=total_kb(data),
        data_free_kb=free_kb(data),
        data_used_kb=used_kb(data),
        copies_kb=copies_kb(places.volume),
        backup_free_kb=places.scratch(job.cluster).free_kb() if not job.without_backups else 0,
        unpacked_kb=unpacked_kb(data),
        read_kb=read_kb(data, found),
        processors=len(os.sched_getaffinity(0)),
        outside_innodb_kb=outside_innodb_kb(data, found),
        group=saved.group if (saved := saved_state(data)) is not None else None,
        has_snapshots=has_snapshots(places.volume),
        replication=listed(sorted(path.name for path in data.glob("*master*.info"))),
        volume_writable=may_change(places.volume),
        data_writable=writable,
        backup_writable=not job.writes_backups or _takes_backups(places, job),
        data_at=listed(data_directories(places.volume)),
        elsewhere=listed(found.elsewhere),
        not_backed_up=listed(f"{table} ({engine})" for table, engine in sorted(strange.items())),
        unreadable=listed(found.unreadable),
        left_incomplete=left_incomplete(places.volume, data),
        staying=listed(sorted(staying(data, job.layout))),
        going=listed(sorted(going(data, job.layout))),
        in_the_way=listed(f"{path}: {reason}" for path, reason in sorted(stuck.items())),
        manifest=manifest,
    )


def _takes_backups(places: Places, job: CheckJob) -> bool:
    return os.access(nearest(places.backup_root / layout.cluster(job.cluster)), os.W_OK | os.X_OK)


def _check_version(manifest: Manifest, output: str) -> None:
    """A physical backup is prepared by tools of its server's series (10.11, 11.4, ...) that are not older than it."""
    tool, server = Version.parse(output), Version.parse(manifest.server_version)
    if tool is None:
        raise AgentError(
            "RunnerFailed",
            f"reading the version of the server image's mariadb-backup: expected a text such as '10.11.19-MariaDB', "
            f"seen {output[:300]!r}",
        )
    if server is None:
        raise AgentError(
            "BackupDamaged", f"the manifest of {manifest.backup_id!r} has server version {manifest.server_version!r}"
        )
    if tool.series == server.series and tool >= server:
        return
    raise AgentError(
        "VersionMismatch",
        f"backup {manifest.backup_id!r} of {manifest.cluster} was taken from server {manifest.server_version!r}, the "
        f"StatefulSet's image has mariadb-backup {tool}; expected {server.major}.{server.minor}.x with x >= "
        f"{server.patch}. Restore with such an image, and change to another series afterwards",
    )


def _check_provider(path: str) -> None:
    """A server of the image gives the restored data its identity, as a member of a group."""
    if not path:
        raise AgentError(
            "RestoreFailed",
            "looking for Galera's library in the StatefulSet's image: expected a file libgalera_smm.so, there is none. "
            "A restore gives the data a wsrep identity of its own with it. Use an image that has Galera",
        )
