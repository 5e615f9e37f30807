"""Exchange what is in a data directory by renames, so that any two of them may have a crash between them.

The journal is durable before the step that it names, a step renames what is left to rename, and nothing is ever
overwritten: whoever comes next goes on from what the journal says.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from galera_backup.failure import AgentError
from galera_backup.models.jobs import SwapJob, SwapReport
from galera_backup.models.volumes import Journal, SwapState
from galera_backup.runner.places import Places
from galera_backup.runner.reporting import log
from galera_backup.runner.staged.journal import StagedRestore, locked
from galera_backup.runner.volumes import LOST_AND_FOUND, STAGED_RESTORES, tree
from galera_backup.storage.durable import sync_directory

_STAYS = (LOST_AND_FOUND, STAGED_RESTORES)
_PUT_BACK = (SwapState.BACK_OUT, SwapState.BACK_IN, SwapState.RETURNED)


def swap(job: SwapJob, places: Places) -> SwapReport:
    """Leave the staged data in the data directory (`in`), or the old data (`back`); twice is as once.

    `back` of a restore that has no journal, or has only staged, changes nothing: it has not touched the data
    directory. The report has the state that the journal has, None without a journal.
    Errors: `RestoreFailed`, `RunnerFailed`; `in` goes on, or `back` turns round, from wherever they left it.
    """
    with locked(places.volume):
        restore = StagedRestore(places.volume, job.restore_id)
        exchange = _back if job.direction == "back" else _in
        try:
            return exchange(restore, restore.journal(), places.data_directory)
        except OSError as error:
            raise _stopped(restore, f"{job.direction!r}: {error}") from error


def _in(restore: StagedRestore, journal: Journal | None, data: Path) -> SwapReport:
    exchange = _Exchange(restore, _swappable(restore, journal))
    if exchange.state == SwapState.STAGED:
        restore.previous.mkdir(mode=0o700, exist_ok=True)
        exchange.enter(SwapState.OUT)
    if exchange.state == SwapState.OUT:
        exchange.move(data, restore.previous)
        exchange.enter(SwapState.IN)
    if exchange.state == SwapState.IN:
        exchange.move(restore.staged, data)
        exchange.enter(SwapState.SWAPPED)
    return exchange.report()


def _back(restore: StagedRestore, journal: Journal | None, data: Path) -> SwapReport:
    if journal is None:
        log.info("restore %s has nothing in %r to put back", restore.restore_id, str(restore.directory))
        return SwapReport(renames=0)
    exchange = _Exchange(restore, journal)
    if exchange.state in (SwapState.OUT, SwapState.IN, SwapState.SWAPPED):
        _require_the_old_data(restore)
        exchange.enter(SwapState.BACK_IN if exchange.state == SwapState.OUT else SwapState.BACK_OUT)
    if exchange.state == SwapState.BACK_OUT:
        exchange.move(data, restore.staged)
        exchange.enter(SwapState.BACK_IN)
    if exchange.state == SwapState.BACK_IN:
        exchange.move(restore.previous, data)
        exchange.enter(SwapState.RETURNED)
    return exchange.report()


def _swappable(restore: StagedRestore, journal: Journal | None) -> Journal:
    """The journal of a restore that may be swapped in. Error: `RestoreFailed`; nothing was changed."""
    if journal is None:
        seen = f"there is none in {str(restore.directory)!r}: nothing was staged, or an SST has wiped it"
    elif journal.state == SwapState.STAGING:
        seen = "its journal says that staging was not completed"
    elif journal.state in _PUT_BACK:
        seen = f"its journal says {str(journal.state)!r}: the old data was put back, or is about to be"
    elif journal.state == SwapState.STAGED and not restore.is_whole(journal):
        sizes = tree(restore.staged).values()
        seen = (
            f"{len(sizes)} files with {sum(sizes)} bytes in {str(restore.staged)!r}, of {journal.files} with "
            f"{journal.bytes} that were staged"
        )
    else:
        return journal
    raise AgentError(
        "RestoreFailed",
        f"swapping in the data of restore {restore.restore_id!r}: expected staged data that is whole, seen: {seen}. "
        "Nothing was changed; start a new restore",
    )


def _require_the_old_data(restore: StagedRestore) -> None:
    """Error: `RestoreFailed` when its directory is gone; nothing was changed."""
    if restore.previous.is_dir():
        return
    raise AgentError(
        "RestoreFailed",
        f"putting the old data of restore {restore.restore_id!r} back: expected it in {str(restore.previous)!r}, which "
        "is not there. Nothing was changed; keep the restored data, or restore another backup",
    )


def _stopped(restore: StagedRestore, seen: str) -> AgentError:
    return AgentError(
        "RestoreFailed",
        f"swapping the data of restore {restore.restore_id!r}, {seen}. Nothing is lost; when the cause is gone run the "
        "same swap again, it goes on from there. No server may start on this data directory before",
    )


class _Exchange:
    """Moves between the data directory and one restore's directories, noted in the journal."""

    def __init__(self, restore: StagedRestore, journal: Journal) -> None:
        self._restore = restore
        self._journal = journal
        self._renames = 0

    @property
    def state(self) -> SwapState:
        return self._journal.state

    def enter(self, state: SwapState) -> None:
        """Note, durably, what is done from now on."""
        journal = self._journal.model_copy(update={"state": state, "at": datetime.now(UTC)})
        self._restore.write(journal)
        self._journal = journal

    def move(self, source: Path, target: Path) -> None:
        """Rename every entry that is left in `source`, durably. Error: `RestoreFailed` for a name that `target` has."""
        for name in sorted(os.listdir(source)):
            if name not in _STAYS:
                self._rename(source / name, target / name)
        sync_directory(target)
        sync_directory(source)

    def report(self) -> SwapReport:
        return SwapReport(state=self.state, renames=self._renames)

    def _rename(self, source: Path, target: Path) -> None:
        if os.path.lexists(target):
            raise _stopped(
                self._restore,
                f"{self.state}: {target.name!r} is both in {str(source.parent)!r} and in {str(target.parent)!r}, "
                "expected in one; nothing was overwritten, move one of them away by hand",
            )
        os.rename(source, target)
        self._renames += 1
