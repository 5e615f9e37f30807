"""Let a server form the cluster that was killed when it left last, and so could not note that it may."""

from __future__ import annotations

from galera_backup.failure import AgentError
from galera_backup.models.jobs import BootstrapJob
from galera_backup.models.reports import Done
from galera_backup.runner.datadir import GRASTATE
from galera_backup.runner.in_use import check_not_in_use
from galera_backup.runner.places import Places
from galera_backup.runner.staged.journal import locked
from galera_backup.runner.staged.previous import set_safe_to_bootstrap


def bootstrap(job: BootstrapJob, places: Places) -> Done:
    """Change one digit of `grastate.dat`; its position stays unknown, and the server recovers it. Twice is as once.

    Error: `RestoreFailed`, when the file, or that line of it, is not there.
    """
    data = places.data_directory
    with locked(places.volume):
        check_not_in_use(data, job.layout)
        if not set_safe_to_bootstrap(data, True):
            raise AgentError(
                "RestoreFailed",
                f"letting the server of {str(data)!r} form the cluster: expected a line 'safe_to_bootstrap' in "
                f"{GRASTATE}, there is none. Nothing was changed; find out what has removed it",
            )
    return Done()
