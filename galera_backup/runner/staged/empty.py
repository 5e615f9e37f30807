"""Empty a data directory whose previous data was lost, so that a state transfer from the other replicas fills it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from galera_backup.failure import AgentError
from galera_backup.models.jobs import EmptyJob
from galera_backup.models.layout import Layout
from galera_backup.models.reports import Done
from galera_backup.models.volumes import Journal, SwapState
from galera_backup.runner.in_use import check_not_in_use
from galera_backup.runner.places import Places
from galera_backup.runner.placing import make_directories
from galera_backup.runner.reporting import log
from galera_backup.runner.staged.journal import StagedRestore, locked
from galera_backup.runner.staged.previous import entries_of, previous_data, with_stays
from galera_backup.runner.staying import staying
from galera_backup.runner.volumes import MARKER
from galera_backup.storage.durable import remove, sync_directory


def empty(job: EmptyJob, places: Places) -> Done:
    """Remove all that is the server's, and the copies of this restore; a second time there is nothing to do.

    The directories that the server's configuration names are made again: without them it does not start.

    The journal says so before the first removal and after the last, so that nobody takes the claim for data.
    Error: `RestoreFailed` when its previous data is whole, or a file cannot be removed.
    """
    with locked(places.volume):
        restore = StagedRestore(places.volume, job.restore_id, places.claim)
        journal = restore.journal()
        if journal is None:
            journal = Journal(restore_id=job.restore_id, backup_id=None, state=SwapState.EMPTYING, at=datetime.now(UTC))
        elif journal.state == SwapState.EMPTIED:
            return Done()
        elif previous_data(
            restore, with_stays(journal, places.data_directory, job.layout), places.data_directory
        ).whole:
            raise _refused(job, places.data_directory)
        check_not_in_use(places.data_directory, job.layout)
        try:
            _empty(restore, journal, places.data_directory, job.layout)
        except OSError as error:
            raise _failed(job, places.data_directory, error) from error
    return Done()


def _empty(restore: StagedRestore, journal: Journal, data: Path, layout: Layout) -> None:
    restore.write(journal.model_copy(update={"state": SwapState.EMPTYING, "at": datetime.now(UTC)}))
    log.warning("removing all data of %r: its previous data was lost", str(data))
    remove(data / MARKER)  # first: what is half removed must not be taken for restored
    if data.is_dir():
        sync_directory(data)
        for name in entries_of(data, staying(data, layout)):
            remove(data / name)
        make_directories(data, layout)
        sync_directory(data)
    for copy in (restore.staged, restore.previous):
        remove(copy)
    restore.write(journal.model_copy(update={"state": SwapState.EMPTIED, "at": datetime.now(UTC)}))


def _refused(job: EmptyJob, data: Path) -> AgentError:
    return AgentError(
        "RestoreFailed",
        f"emptying {str(data)!r} for a state transfer: expected a claim that lost its data from before restore "
        f"{job.restore_id!r}, which is whole here. Nothing was changed; swap that data back instead",
    )


def _failed(job: EmptyJob, data: Path, error: OSError) -> AgentError:
    return AgentError(
        "RestoreFailed",
        f"emptying {str(data)!r} for a state transfer, after restore {job.restore_id!r}: {error}. No server may start "
        "on this data directory; when the cause is gone run the same job again",
    )
