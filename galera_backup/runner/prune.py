"""Retention: remove the oldest complete backups, and what failed runs left; list what there is."""

from __future__ import annotations

from galera_backup.models.jobs import Done, ListJob, PruneJob, PruneReport
from galera_backup.runner.places import Places
from galera_backup.runner.reporting import log, print_manifest
from galera_backup.runner.storage import ClusterStore

_REPORTED_IDS = 100
"""The answer has to fit a termination message; the log names all."""


def prune(job: PruneJob, places: Places) -> PruneReport:
    """Keep the newest `keep` complete backups, at least one; a backup that does not hold neither counts nor goes."""
    store = ClusterStore(places.backup_root, job.cluster)
    entries = store.entries()
    for entry in entries:
        if entry.damage:
            log.warning("backup %r does not count and is left alone: %s", entry.path.name, entry.damage)
    complete = [entry.path.name for entry in entries if entry.manifest]
    keep = max(job.keep, 1)
    surplus = complete[:-keep]
    for backup_id in surplus:
        log.info("removing backup %s: %d are to be kept", backup_id, keep)
        store.remove_backup(backup_id)
    store.remove_leftovers(keep_logs=False)
    store.remove_restores()
    log.info("removed %d backups, %d are left", len(surplus), len(complete) - len(surplus))
    return PruneReport(pruned=tuple(surplus[-_REPORTED_IDS:]), kept=len(complete) - len(surplus))


def list_backups(job: ListJob, places: Places) -> Done:
    """Print the manifest of each complete backup, oldest first."""
    for manifest in ClusterStore(places.backup_root, job.cluster).manifests():
        print_manifest(manifest)
    return Done()
