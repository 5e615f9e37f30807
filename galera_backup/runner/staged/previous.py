"""Proof, on one data volume, that the previous data of a staged restore is whole, or the restored data.

The previous data is counted before its first rename, while no server runs: names at the top, files, bytes. In every
later state of the journal it is known in which directories it lies, and there the same must be found again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from galera_backup.models.layout import Layout
from galera_backup.models.previous import DirectoryContent, PreviousData, SavedState
from galera_backup.models.volumes import STAGED_RESTORES, ClaimMarker, Journal, SwapState
from galera_backup.runner.datadir import GRASTATE
from galera_backup.runner.staged.journal import StagedRestore, restore_directories, still_needed
from galera_backup.runner.staying import staying
from galera_backup.runner.volumes import LOST_AND_FOUND, read_marker, tree
from galera_backup.text import bounded

_NOT_THE_SERVERS = (LOST_AND_FOUND, STAGED_RESTORES)
"""At the top of a data directory: no swap moves them."""

_IN_PLACE = (SwapState.STAGING, SwapState.STAGED, SwapState.RETURNED)
"""The data directory holds the previous data, and none of it lies elsewhere."""
_IN_BOTH = (SwapState.OUT, SwapState.BACK_IN)
"""Some of it lies aside, the rest in the data directory, which holds nothing else."""
_ASIDE = (SwapState.IN, SwapState.SWAPPED, SwapState.BACK_OUT)
_BOOTSTRAP = re.compile(rb"^safe_to_bootstrap:[ \t]*[01]", re.MULTILINE)


def content(directory: Path, stays: Collection[str]) -> DirectoryContent:
    """What a directory holds, without what is not the server's and what stays; nothing when it does not exist."""
    sizes = tree(directory, (*_NOT_THE_SERVERS, *stays)).values()
    return DirectoryContent(entries=entries_of(directory, stays), files=len(sizes), bytes=sum(sizes))


def entries_of(directory: Path, stays: Collection[str]) -> tuple[str, ...]:
    """Names at its top, sorted, without what is not the server's and what stays; none when it does not exist."""
    names = os.listdir(directory) if directory.is_dir() else []
    return tuple(sorted(name for name in names if name not in _NOT_THE_SERVERS and name not in stays))


def with_stays(journal: Journal, data: Path, layout: Layout) -> Journal:
    """The journal, with what the host has written to the data directory since the first rename: that stays too."""
    if journal.previous is None:
        return journal
    since = staying(data, layout) - {*journal.previous.entries}
    return journal.model_copy(update={"stays": tuple(sorted({*journal.stays, *since}))})


def previous_data(restore: StagedRestore, journal: Journal, data: Path) -> PreviousData:
    """Whether the data from before this restore is whole, by what its journal has recorded."""
    if journal.state in _IN_PLACE:
        return PreviousData(whole=True, saved=saved_state(data))
    if journal.state in _IN_BOTH:
        places = [data, restore.previous]
    elif journal.state in _ASIDE:
        places = [restore.previous]
    else:
        return PreviousData(whole=False, problem=f"its journal says {str(journal.state)!r}")
    problem = _difference(journal.previous, [content(place, journal.stays) for place in places])
    if problem is not None:
        return PreviousData(whole=False, problem=problem)
    saved = next((found for place in places if (found := saved_state(place)) is not None), None)
    return PreviousData(whole=True, saved=saved)


def restored_is_whole(restore_id: str, marker: ClaimMarker | None, journal: Journal | None, data: Path) -> bool:
    """Whether the data directory holds all that this restore has put there.

    The swap writes the marker last, and a state transfer removes it with the data. Without the journal, which a state
    transfer may have removed as well, every entry that the swap left must be there.
    """
    if marker is None or (marker.restore_id, marker.state) != (restore_id, "restored"):
        return False
    if journal is not None:
        return journal.state == SwapState.SWAPPED
    return marker.entries is not None and set(marker.entries) <= set(entries_of(data, stays=()))


def left_incomplete(volume: Path, data: Path, restore_id: str | None = None) -> str:
    """What says that a restore, other than this one, has left the data directory incomplete; empty: nothing does.

    A server may have been filled by a state transfer since, so this counts only where none runs.
    """
    marker = read_marker(data)
    if marker is not None and marker.state == "restoring" and marker.restore_id != restore_id:
        return f"restore {marker.restore_id} has not finished it"
    own = StagedRestore(volume, restore_id).directory if restore_id is not None else None
    for directory in restore_directories(volume):
        if directory != own and (reason := still_needed(directory)) is not None:
            return f"restore {directory.name}: {reason}"
    return ""


def saved_state(data: Path) -> SavedState | None:
    """What `grastate.dat` says; None when it is not there or cannot be read."""
    try:
        text = (data / GRASTATE).read_text(errors="replace")
    except OSError:
        return None
    fields = dict(re.findall(r"^(uuid|seqno|safe_to_bootstrap):[ \t]*(\S+)", text, re.MULTILINE))
    try:
        return SavedState(
            uuid=fields["uuid"],
            seqno=int(fields["seqno"]),
            safe_to_bootstrap=fields.get("safe_to_bootstrap") == "1",
        )
    except (KeyError, ValueError):
        return None


def set_safe_to_bootstrap(data: Path, value: bool) -> bool:
    """Change that one digit of `grastate.dat`, durably; False when the file has no such line."""
    path = data / GRASTATE
    if not path.is_file():
        return False
    with path.open("r+b") as file:
        line = _BOOTSTRAP.search(file.read())
        if line is not None:
            file.seek(line.end() - 1)
            file.write(b"1" if value else b"0")
            file.flush()
            os.fsync(file.fileno())
    return line is not None


def _difference(expected: DirectoryContent | None, found: list[DirectoryContent]) -> str | None:
    """Why these directories together do not hold exactly what was recorded; None when they do."""
    if expected is None:
        return "its journal does not say what the data directory held"
    entries = sorted(name for each in found for name in each.entries)
    missing = sorted(set(expected.entries) - set(entries))
    if missing:
        return f"{len(missing)} of {len(expected.entries)} entries are missing: {bounded(', '.join(missing), 100)}"
    if entries != sorted(expected.entries):
        more = sorted(set(entries) - set(expected.entries)) or ["entries that are there twice"]
        return f"more than the {len(expected.entries)} entries recorded: {bounded(', '.join(more), 100)}"
    files, size = sum(each.files for each in found), sum(each.bytes for each in found)
    if (files, size) == (expected.files, expected.bytes):
        return None
    return f"{files} files with {size} bytes, recorded {expected.files} with {expected.bytes}"
