"""Remove what staged restores have left on a data volume, with the old data that they keep."""

from __future__ import annotations

from galera_backup.failure import AgentError
from galera_backup.models.jobs import TidyJob
from galera_backup.models.reports import Done
from galera_backup.runner.places import Places
from galera_backup.runner.reporting import log
from galera_backup.runner.staged.journal import discard, locked, restore_directories, still_needed
from galera_backup.storage.layout import file_name


def tidy(job: TidyJob, places: Places) -> Done:
    """Remove every restore's directory but that of `keep`, or that of `only`; nothing there is success.

    Error: `RestoreFailed`, after all others are removed, for one that may hold the only copy of the old data.
    """
    kept = file_name(job.keep) if job.keep is not None else None
    only = file_name(job.only) if job.only is not None else None
    with locked(places.volume):
        left = []
        for directory in restore_directories(places.volume):
            if directory.name == kept or only not in (None, directory.name.partition(".")[0]):
                continue
            needed = still_needed(directory)
            if needed:
                left.append(f"{directory.name!r} ({needed})")
                continue
            log.info("removing the staged restore %r", directory.name)
            discard(directory)
    if left:
        raise AgentError(
            "RestoreFailed",
            f"removing what staged restores left on the data volume: expected restores that are at rest, seen "
            f"{', '.join(left)}. These are left alone, the others are removed; finish each of these, or put its old "
            "data back, first",
        )
    return Done()
