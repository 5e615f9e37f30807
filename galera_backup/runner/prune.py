"""Retention: remove the oldest complete backups, and what failed runs left; list what there is."""

from __future__ import annotations

from galera_backup.models.jobs import ListJob, PruneJob
from galera_backup.models.manifest import Manifest
from galera_backup.models.reports import ListReport, PruneReport
from galera_backup.runner.places import Places
from galera_backup.runner.reporting import log, print_manifest
from galera_backup.storage.archive import entries, newest_first, surplus

_REPORTED_IDS = 100
"""The answer has to fit a termination message; the log names all."""
PAGE_BYTES = 512 * 1024
"""Of manifests in one answer: problems of the cluster, which an unsafe backup has noted, may be long."""


def prune(job: PruneJob, places: Places) -> PruneReport:
    """Keep the newest `keep` complete backups, at least one, and say which ones do not hold."""
    archive = places.archive(job.cluster)
    found = entries(archive)
    for entry in found:
        if entry.damage:
            log.warning("backup %r does not count and is left alone: %s", entry.backup_id, entry.damage)
    future = [entry.backup_id for entry in found if entry.backup_id > job.own]
    for backup_id in future:
        log.warning("backup %r has a name from the future: it neither counts nor goes", backup_id)
    pinned = archive.pinned()
    for backup_id in sorted(pinned):
        log.info("backup %s is read by the restore of another cluster: it stays", backup_id)
    removed = surplus(found, job.keep, job.own, pinned)
    for backup_id in removed:
        log.info("removing backup %s: %d are to be kept", backup_id, job.keep)
        archive.remove(backup_id)
    archive.remove_leftovers(job.own, keep_logs=False)
    places.scratch(job.cluster).remove()
    kept = sum(entry.manifest is not None and entry.backup_id <= job.own for entry in found) - len(removed)
    log.info("removed %d backups, %d are left", len(removed), kept)
    return PruneReport(pruned=tuple(removed[-_REPORTED_IDS:]), kept=kept, future=tuple(future[-_REPORTED_IDS:]))


def list_backups(job: ListJob, places: Places) -> ListReport:
    """Print the manifests of the newest complete backups, oldest first: at most `limit`, and about PAGE_BYTES."""
    page: list[Manifest] = []
    size, older = 0, None
    for manifest in newest_first(places.archive(job.cluster), job.before):
        size += len(manifest.model_dump_json())
        if page and (len(page) == job.limit or size > PAGE_BYTES):
            older = page[-1].backup_id
            break
        page.append(manifest)
    for manifest in reversed(page):
        print_manifest(manifest)
    log.info("%d complete backups listed", len(page))
    return ListReport(count=len(page), next=older)
