"""On which data a cluster starts when a staged restore goes back, and not every claim has its previous data any more.

In this order, and never on claims of both kinds:
1. Every claim proves that its previous data is whole: the previous data. Its first replica forms the cluster: a stop
   takes it last, so that it has all that was written, also where it was killed and has saved no position. Nothing is
   started where another claim may be ahead: it left the group last or has a later position; or the first has saved no
   position, and was not in sync before the stop. What was written since would be lost.
2. Every claim proves that it holds the restored data, whole: the restored data. Nothing has to be removed for it.
3. The first replica has its previous data and its position is the highest: the previous data; the claims that lost
   theirs are emptied, and filled by a state transfer (SST). Only the first can form the cluster: a StatefulSet starts
   it first, and a start script may take an empty first one for a new cluster.
4. Else nothing can be started: a person decides. So it is too when a volume cannot be read: it is never emptied.
"""

from __future__ import annotations

from collections.abc import Sequence

from galera_backup.models.common import Model
from galera_backup.models.previous import PreviousData, SavedState
from galera_backup.models.reports import Inspection
from galera_backup.models.restore import ClaimReport, ClaimState

_NOTHING_KNOWN = "the restore's journal is not there, so nothing proves what it holds"
_UNREADABLE = "its volume cannot be read"


class ClaimFound(Model):
    """One claim, as it was seen before anything was renamed on any of them."""

    claim: str
    ordinal: int
    state: ClaimState
    seen: Inspection | None
    """None: its volume could not be read."""

    @property
    def previous(self) -> PreviousData:
        """What is proved of its previous data."""
        if self.seen is None:
            return PreviousData(whole=False, problem=_UNREADABLE)
        return self.seen.previous or PreviousData(whole=False, problem=_NOTHING_KNOWN)

    @property
    def report(self) -> ClaimReport:
        """For the result."""
        return ClaimReport(
            claim=self.claim,
            ordinal=self.ordinal,
            state=self.state,
            previous_lost=not self.previous.whole,
            left_incomplete=self.seen.left_incomplete if self.seen is not None else "",
        )


class WayBack(Model):
    """What is done with the claims."""

    start_on: ClaimState | None
    """`untouched`: the previous data; `restored`; None: the cluster cannot be started."""
    bootstrap: int | None = None
    """Ordinal of the claim whose replica forms the cluster on the previous data; None: as Galera left it."""
    emptied: tuple[int, ...] = ()
    """Ordinals of the claims that are emptied for a state transfer."""
    why: str = ""
    """What was lost, and what follows from it; empty when nothing was lost."""


def way_back(found: Sequence[ClaimFound], *, was_up: bool, may_be_restored: bool, first_in_sync: bool) -> WayBack:
    """Decide by the rule above; `found` are all claims, by ordinal.

    `was_up`: the cluster ran before the restore, so that its previous data is to be started.
    `may_be_restored`: not for a clone that failed, as it may have joined the group of its source.
    `first_in_sync`: the first replica was, before the stop.
    """
    lost = [each for each in found if not each.previous.whole]
    bootstrap = found[0].ordinal if was_up and found else None
    if not lost:
        ahead = (
            _ahead_of_the_first([(each.claim, each.previous.saved) for each in found], first_in_sync) if was_up else ""
        )
        why = f"the previous data is whole on every claim, but {ahead}, then run the janitor" if ahead else ""
        return WayBack(start_on=None if ahead else ClaimState.UNTOUCHED, bootstrap=bootstrap, why=why)
    what = "the previous data is lost on " + "; ".join(f"{each.claim}: {each.previous.problem}" for each in lost)
    if may_be_restored and all(each.state == ClaimState.RESTORED for each in found):
        return WayBack(start_on=ClaimState.RESTORED, why=f"{what}. Every claim holds the restored data")
    obstacle = _obstacle(found, was_up)
    if obstacle is None:
        return WayBack(
            start_on=ClaimState.UNTOUCHED,
            bootstrap=bootstrap,
            emptied=tuple(each.ordinal for each in lost),
            why=f"{what}. The others have theirs, and fill these by a state transfer",
        )
    whole = [f"{each.claim} at {each.previous.saved or 'no position'}" for each in found if each.previous.whole]
    return WayBack(
        start_on=None,
        why=f"{what}. It is whole on: {', '.join(whole) or 'none'}. The cluster can start on neither: {obstacle}",
    )


def first_forms(found: Sequence[ClaimFound], *, first_in_sync: bool) -> WayBack:
    """Of a cluster that was stopped and is started on the data that is there: whether its first server has to form it.

    It left last. Killed in the stop, or since, it has saved neither a position nor that it may. Where a claim may form
    the cluster already, or one could not be looked at, all stays as it is.
    """
    start_on = found[0].state
    saved = [each.seen.saved for each in found if each.seen is not None]
    if len(saved) < len(found) or any(each is not None and each.safe_to_bootstrap for each in saved):
        return WayBack(start_on=start_on)
    if ahead := _ahead_of_the_first(list(zip((each.claim for each in found), saved, strict=True)), first_in_sync):
        return WayBack(start_on=None, why=ahead)
    return WayBack(start_on=start_on, bootstrap=found[0].ordinal)


def _ahead_of_the_first(claims: Sequence[tuple[str, SavedState | None]], first_in_sync: bool) -> str:
    """What would be lost if the first replica formed the cluster, and what to copy; empty: nothing that can be seen."""
    (name, first), saved = claims[0], claims[1:]
    left_last = first is not None and first.safe_to_bootstrap
    for claim, other in saved:
        if other is None:
            continue
        comparable = first is not None and first.uuid == other.uuid and first.seqno >= 0
        if first is not None and comparable:
            is_ahead = first.seqno < other.seqno
        else:
            is_ahead = other.safe_to_bootstrap and not left_last
        if is_ahead:
            return (
                f"{claim} is at {other}, ahead of {name} at {first or 'no position'}, whose replica forms the cluster: "
                f"what was written in between would be lost. Copy the data of {claim} over that of {name}"
            )
    if saved and not first_in_sync and not left_last and (first is None or first.seqno < 0):
        return (
            f"{name}, whose replica forms the cluster, has no position, and was not in sync before the stop: another "
            f"claim may be ahead of it. Compare them with mariadbd --wsrep-recover, copy the data of the highest over "
            f"that of {name}"
        )
    return ""


def _obstacle(found: Sequence[ClaimFound], was_up: bool) -> str | None:
    """Why the claims that lost their previous data cannot be filled from the others."""
    if any(each.seen is None for each in found):
        return "a volume that cannot be read may hold data that is needed, and is not emptied"
    if not was_up:
        return "the StatefulSet was at 0 before, so there is no cluster that could fill a claim"
    if not found[0].previous.whole:
        return f"{found[0].claim}, of the first replica, has to form the cluster"
    others = [each.previous.saved for each in found[1:] if each.previous.whole]
    if not _is_highest(found[0].previous.saved, others):
        return f"the position of {found[0].claim}, of the first replica, is not proved to be the highest"
    return None


def _is_highest(first: SavedState | None, others: Sequence[SavedState | None]) -> bool:
    """Whether no other claim can have a transaction that the first has not.

    A server that was killed has saved no position; it counts where the first one was the last to leave the cluster.
    """
    if first is None or first.seqno < 0:
        return False
    if any(each is not None and (each.uuid != first.uuid or each.seqno > first.seqno) for each in others):
        return False
    return first.safe_to_bootstrap or all(each is not None and each.seqno >= 0 for each in others)
