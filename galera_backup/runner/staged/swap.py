"""Exchange what is in a data directory by renames, so that any two of them may have a crash between them.

The journal is durable before the step that it names, a step renames what is left to rename, and nothing is ever
overwritten: whoever comes next goes on from what the journal says.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from galera_backup.failure import AgentError
from galera_backup.models.jobs import SwapJob
from galera_backup.models.layout import Layout
from galera_backup.models.previous import DirectoryContent
from galera_backup.models.reports import SwapReport
from galera_backup.models.volumes import ClaimMarker, Journal, SwapState
from galera_backup.runner.in_use import check_not_in_use
from galera_backup.runner.places import Places
from galera_backup.runner.staged.journal import StagedRestore, locked
from galera_backup.runner.staged.previous import (
    content,
    entries_of,
    previous_data,
    set_safe_to_bootstrap,
    with_stays,
)
from galera_backup.runner.staying import check_apart, staying
from galera_backup.runner.volumes import MARKER, tree, write_marker
from galera_backup.storage.durable import sync_directory

_SWAPPED_BACK = (SwapState.BACK_OUT, SwapState.BACK_IN, SwapState.RETURNED)
_EMPTIED = (SwapState.EMPTYING, SwapState.EMPTIED)


def swap(job: SwapJob, places: Places) -> SwapReport:
    """Leave the staged data in the data directory (`in`), or the previous data (`back`); twice is as once.

    `back` of a restore that has only staged renames nothing: the data directory holds the previous data. It refuses
    when it cannot prove that the previous data is whole, as without a journal; then nothing was changed.
    Errors: `RestoreFailed`, `RunnerFailed`; `in` goes on, or `back` turns round, from wherever they left it.
    """
    with locked(places.volume):
        restore = StagedRestore(places.volume, job.restore_id, places.claim)
        data, journal = places.data_directory, restore.journal()
        check_not_in_use(data, job.layout)
        try:
            journal = journal and with_stays(journal, data, job.layout)  # each step notes it
            if job.direction == "back":
                return _back(restore, journal, data, job.safe_to_bootstrap)
            return _in(restore, journal, data, job.layout)
        except OSError as error:
            raise _stopped(restore, f"{job.direction!r}: {error}") from error


def _in(restore: StagedRestore, journal: Journal | None, data: Path, layout: Layout) -> SwapReport:
    exchange = _Exchange(restore, _swappable(restore, journal))
    if exchange.state == SwapState.STAGED:
        stays = staying(data, layout)
        check_apart(data, stays, restore.staged)
        restore.previous.mkdir(mode=0o700, exist_ok=True)
        exchange.enter(SwapState.OUT, previous=content(data, stays), stays=tuple(sorted(stays)))
    if exchange.state == SwapState.OUT:
        exchange.move(data, restore.previous)
        exchange.enter(SwapState.IN)
    if exchange.state == SwapState.IN:
        exchange.move(restore.staged, data)
        exchange.mark_restored(data)
        exchange.enter(SwapState.SWAPPED)
    return exchange.report()


def _back(restore: StagedRestore, journal: Journal | None, data: Path, bootstrap: bool | None) -> SwapReport:
    exchange = _Exchange(restore, _returnable(restore, journal, data))
    if exchange.state in (SwapState.OUT, SwapState.IN, SwapState.SWAPPED):
        exchange.enter(SwapState.BACK_IN if exchange.state == SwapState.OUT else SwapState.BACK_OUT)
    if exchange.state == SwapState.BACK_OUT:
        exchange.move(data, restore.staged)
        exchange.enter(SwapState.BACK_IN)
    if exchange.state == SwapState.BACK_IN:
        exchange.move(restore.previous, data)
    if bootstrap is not None:
        set_safe_to_bootstrap(data, bootstrap)
    if exchange.state == SwapState.BACK_IN:
        exchange.enter(SwapState.RETURNED)
    return exchange.report()


def _swappable(restore: StagedRestore, journal: Journal | None) -> Journal:
    """The journal of a restore that may be swapped in. Error: `RestoreFailed`; nothing was changed."""
    if journal is None:
        seen = f"there is none in {str(restore.directory)!r}: nothing was staged, or an SST has wiped it"
    elif journal.state == SwapState.STAGING:
        seen = "its journal says that staging was not completed"
    elif journal.state in _SWAPPED_BACK:
        seen = f"its journal says {str(journal.state)!r}: the previous data was swapped back, or is about to be"
    elif journal.state in _EMPTIED:
        seen = f"its journal says {str(journal.state)!r}: the claim waits for a state transfer"
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


def _returnable(restore: StagedRestore, journal: Journal | None, data: Path) -> Journal:
    """The journal of a restore whose previous data is proved whole. Error: `RestoreFailed`; nothing was changed."""
    if journal is None:
        seen = f"there is no journal in {str(restore.directory)!r}, so nothing says what the data directory holds"
    else:
        found = previous_data(restore, journal, data)
        if found.whole:
            return journal
        seen = found.problem
    raise AgentError(
        "RestoreFailed",
        f"swapping the previous data of restore {restore.restore_id!r} back: expected it whole, seen: {seen}. Nothing "
        "was changed; keep the restored data, or restore another backup",
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

    @property
    def state(self) -> SwapState:
        return self._journal.state

    def enter(self, state: SwapState, **noted: DirectoryContent | tuple[str, ...]) -> None:
        """Note, durably, what is done from now on; before the first rename also what the data directory holds."""
        journal = self._journal.model_copy(update={"state": state, "at": datetime.now(UTC), **noted})
        self._restore.write(journal)
        self._journal = journal

    def move(self, source: Path, target: Path) -> None:
        """Rename every entry that is left in `source`, durably. Error: `RestoreFailed` for a name that `target` has."""
        for name in entries_of(source, self._journal.stays):
            self._rename(source / name, target / name)
        sync_directory(target)
        sync_directory(source)

    def mark_restored(self, data: Path) -> None:
        """Write, durably, that the data directory holds all of the restored data, and which entries these are."""
        assert self._journal.backup_id is not None
        entries = tuple(name for name in entries_of(data, self._journal.stays) if not name.startswith(MARKER))
        marker = ClaimMarker(
            restore_id=self._journal.restore_id,
            backup_id=self._journal.backup_id,
            state="restored",
            at=datetime.now(UTC),
            entries=entries,
        )
        write_marker(data, marker)

    def report(self) -> SwapReport:
        return SwapReport(state=self.state)

    def _rename(self, source: Path, target: Path) -> None:
        if os.path.lexists(target):
            raise _stopped(
                self._restore,
                f"{self.state}: {target.name!r} is both in {str(source.parent)!r} and in {str(target.parent)!r}, "
                "expected in one; nothing was overwritten, move one of them away by hand",
            )
        os.rename(source, target)
