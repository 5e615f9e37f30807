"""What a restore has done to the data claims, and what may be done with them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import takewhile

from galera_backup import names
from galera_backup.models.jobs import RestoreJob
from galera_backup.models.mark import Mark, StartRecipe
from galera_backup.models.reports import Inspection
from galera_backup.models.restore import ClaimReport, ClaimState, Strategy
from galera_backup.models.volumes import SwapState


def as_found(recipe: StartRecipe) -> tuple[ClaimReport, ...]:
    """The state of the claims before the operation changes them."""
    state = ClaimState.RESTORED if recipe.is_rollback else ClaimState.UNTOUCHED
    left_by_claim = recipe.left_incomplete or ("",) * len(recipe.claims)
    return tuple(
        ClaimReport(claim=claim, ordinal=ordinal, state=state, left_incomplete=left)
        for ordinal, claim, left in zip(recipe.ordinals, recipe.claims, left_by_claim, strict=True)
    )


def are_as_found(recipe: StartRecipe) -> bool:
    """Whether that is known without a look at the volumes: no pod that changes them was made yet."""
    return not recipe.data_may_have_changed


def are_restored(claims: Sequence[ClaimReport]) -> bool:
    """Whether all of them hold the backup."""
    return all(claim.state == ClaimState.RESTORED for claim in claims)


_BY_JOURNAL = {
    SwapState.STAGING: ClaimState.UNTOUCHED,
    SwapState.STAGED: ClaimState.UNTOUCHED,
    SwapState.RETURNED: ClaimState.UNTOUCHED,
    SwapState.EMPTIED: ClaimState.EMPTIED,
}


def claim_state(seen: Inspection, restore_id: str, strategy: Strategy) -> ClaimState:
    """What one restore has done to a data claim, from its journal on the volume or the marker in the data directory.

    For a staged restore this is called only when its renames may have begun. Then a claim without its journal may hold
    anything, because something may have removed the journal; only the marker can still prove the restored data.
    """
    if seen.restored_whole:
        return ClaimState.RESTORED
    if seen.journal is not None:
        return _BY_JOURNAL.get(seen.journal.state, ClaimState.INCOMPLETE)
    if strategy == Strategy.STAGED:
        return ClaimState.UNKNOWN
    if seen.marker is None or seen.marker.restore_id != restore_id:
        return ClaimState.UNTOUCHED
    return ClaimState.RESTORED if seen.marker.state == "restored" else ClaimState.INCOMPLETE


def may_start(claims: Sequence[ClaimReport]) -> bool:
    """Whether the cluster can start on this data: all previous, or all restored.

    A member on its previous data has another history, and another cluster UUID: it cannot join restored members.
    A claim that was emptied gets the data of the others by a state transfer; the first has to form the cluster.
    """
    states = {claim.state for claim in claims}
    if states == {ClaimState.RESTORED}:
        return True
    first = [claim.state for claim in claims[:1]]
    return first == [ClaimState.UNTOUCHED] and states <= {ClaimState.UNTOUCHED, ClaimState.EMPTIED}


def replicas_on(claims: Sequence[ClaimReport], recipe: StartRecipe) -> int:
    """Size of a cluster that starts on these claims, which may start."""
    return recipe.replicas if claims[0].state == ClaimState.RESTORED else recipe.replicas_before


def serving_in_part(recipe: StartRecipe, replicas: int, held: Collection[str] = ()) -> int:
    """How many replicas a rolling restore has started while the others are still to be restored; 0: none, or all.

    `replicas`: of the StatefulSet, now; where names are `held`, somebody else may have set it.
    """
    if recipe.strategy != Strategy.ROLLING or recipe.stopping_from:
        return 0
    if held:
        wanted = recipe.ordinals[: min(replicas, recipe.replicas)]
        serving = takewhile(lambda ordinal: names.pod(recipe.site.cluster, ordinal) not in held, wanted)
        return len(tuple(serving))
    return replicas if replicas < recipe.replicas else 0


def are_incomplete(claims: Sequence[ClaimReport]) -> bool:
    """Whether an earlier restore has left one of them so that no server may start on it, and nobody has mended that."""
    return any(claim.left_incomplete and claim.state == ClaimState.UNTOUCHED for claim in claims)


def is_stopped_in_part(recipe: StartRecipe, replicas: int) -> bool:
    """Whether a stop has taken some replicas, and the others still run on the data that all of them had."""
    return 0 < replicas < recipe.stopping_from


def stopped_to(mark: Mark, replicas: int) -> Mark:
    """The mark of a stop that leaves so many replicas; with none it is over."""
    if mark.start is None:
        return mark
    far = {"stopping_from": mark.start.stopping_from if replicas else 0, "stopping_to": replicas}
    return mark.model_copy(update={"undo": mark.start.model_copy(update=far)})


def restore_job(recipe: StartRecipe, ordinal: int, *, while_serving: bool = False) -> RestoreJob:
    """What restores one claim by a restore that is not staged; claims are restored by ordinal.

    `while_serving`: the replicas of lower ordinals serve meanwhile.
    """
    return RestoreJob(
        cluster=recipe.site.cluster,
        clone=recipe.clone,
        uuid=recipe.uuid,
        backup_id=recipe.backup_id,
        restore_id=recipe.restore_id,
        ordinal=ordinal,
        safe_to_bootstrap=ordinal == recipe.ordinals[0],
        last=ordinal == recipe.ordinals[-1],
        while_serving=while_serving,
    )


def must_be_finished(claims: Sequence[ClaimReport], serving: int = 0) -> bool:
    """Whether the cluster can start only after the remaining claims are restored.

    False when a volume could not be read: it may still hold the whole old data.
    `serving`: how many replicas run already; one on old data must not join restored ones.
    """
    states = {claim.state for claim in claims}
    fits = {claim.state for claim in claims[:serving]} <= {ClaimState.RESTORED}
    return fits and not may_start(claims) and ClaimState.UNKNOWN not in states
