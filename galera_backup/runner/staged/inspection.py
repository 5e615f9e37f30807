"""Look at what a restore has left on one data claim. Changes nothing."""

from __future__ import annotations

from galera_backup.models.jobs import InspectJob
from galera_backup.models.reports import Inspection
from galera_backup.runner.places import Places
from galera_backup.runner.reporting import log
from galera_backup.runner.staged.journal import StagedRestore
from galera_backup.runner.staged.previous import (
    left_incomplete,
    previous_data,
    restored_is_whole,
    saved_state,
    with_stays,
)
from galera_backup.runner.volumes import read_marker


def inspect(job: InspectJob, places: Places) -> Inspection:
    """Prove which data of this restore is whole: staged, restored, previous.

    Error: `RestoreFailed` for a journal that cannot be read.
    """
    data, restore = places.data_directory, StagedRestore(places.volume, job.restore_id, places.claim)
    journal, marker = restore.journal(), read_marker(data)
    journal = journal and with_stays(journal, data, job.layout)
    found = Inspection(
        marker=marker and marker.model_copy(update={"entries": None}),
        journal=journal and journal.model_copy(update={"previous": None, "stays": ()}),
        staged_whole=restore.is_whole(journal),
        restored_whole=restored_is_whole(job.restore_id, marker, journal, data),
        previous=journal and previous_data(restore, journal, data),
        saved=saved_state(data),
        left_incomplete=left_incomplete(places.volume, data, job.restore_id),
    )
    log.info("restore %s: %s", job.restore_id, found)
    return found
