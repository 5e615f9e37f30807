"""Remove what staged restores have left on a data volume, with the old data that they keep."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from galera_backup.failure import AgentError
from galera_backup.models.jobs import Done, TidyJob
from galera_backup.models.volumes import SwapState
from galera_backup.runner.places import Places
from galera_backup.runner.reporting import log
from galera_backup.runner.staged.journal import discard, is_removed, locked, read_journal, restore_directories
from galera_backup.storage.layout import file_name

_AT_REST = (SwapState.STAGING, SwapState.STAGED, SwapState.SWAPPED, SwapState.RETURNED, SwapState.EMPTIED)
"""The data directory is whole, be it the previous or the restored one, or filled by a state transfer."""


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
            needed = None if is_removed(directory) else _still_needed(directory)
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


def _still_needed(directory: Path) -> str | None:
    """Why a restore's directory must stay."""
    try:
        journal = read_journal(directory)
    except ValidationError:
        holds_old_data = any((directory / "previous").glob("*"))
        return "its journal cannot be read, and it holds old data" if holds_old_data else None
    if journal is None or journal.state in _AT_REST:
        return None
    return str(journal.state)
