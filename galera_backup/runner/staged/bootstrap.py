"""Let a server form the cluster that was killed when it left last, and so could not note that it may."""

from __future__ import annotations

from galera_backup.models.jobs import BootstrapJob
from galera_backup.models.reports import Done
from galera_backup.runner.in_use import check_not_in_use
from galera_backup.runner.places import Places
from galera_backup.runner.staged.journal import locked
from galera_backup.runner.staged.previous import set_safe_to_bootstrap


def bootstrap(job: BootstrapJob, places: Places) -> Done:
    """Change one digit of `grastate.dat`; its position stays unknown, and the server recovers it. Twice is as once."""
    with locked(places.volume):
        check_not_in_use(places.data_directory, job.layout)
        set_safe_to_bootstrap(places.data_directory, True)
    return Done()
