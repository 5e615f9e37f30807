"""What a restore did to the claims, and on which data the cluster may start."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Literal

import pytest

from galera_backup.models.mark import StartRecipe
from galera_backup.models.previous import PreviousData, SavedState
from galera_backup.models.reports import Inspection
from galera_backup.models.restore import ClaimReport, ClaimState, Strategy
from galera_backup.models.site import Site
from galera_backup.models.volumes import ClaimMarker, Journal, SwapState
from galera_backup.rules.claims import are_as_found, as_found, claim_state, may_start, must_be_finished
from galera_backup.rules.way_back import ClaimFound, WayBack, first_forms, way_back
from galera_backup.show import describe_claims
from tests.unit.members import CLUSTER

BACKUP_ID = "20261122T010000Z-full"
UUID, OTHER_UUID = "0979c94d-e6ee-11f1-b6f6-93a976a0f1fb", "11111111-e6ee-11f1-b6f6-93a976a0f1fb"


def marked(restore: str, state: Literal["restoring", "restored"]) -> Inspection:
    marker = ClaimMarker(restore_id=restore, backup_id=BACKUP_ID, state=state, at=datetime.now(UTC))
    return Inspection(marker=marker)


def journaled(state: SwapState, *, restored_whole: bool = False) -> Inspection:
    journal = Journal(restore_id="mine", backup_id=BACKUP_ID, state=state, at=datetime.now(UTC))
    return Inspection(journal=journal, restored_whole=restored_whole)


@pytest.mark.parametrize("strategy", [Strategy.IN_PLACE, Strategy.ROLLING])
def test_claim_state_by_the_marker(strategy: Strategy) -> None:
    assert claim_state(Inspection(), "mine", strategy) == ClaimState.UNTOUCHED
    assert claim_state(marked("other", "restored"), "mine", strategy) == ClaimState.UNTOUCHED
    assert claim_state(marked("mine", "restoring"), "mine", strategy) == ClaimState.INCOMPLETE
    assert claim_state(marked("mine", "restored"), "mine", strategy) == ClaimState.RESTORED


@pytest.mark.parametrize("state", SwapState)
def test_claim_state_by_the_journal(state: SwapState) -> None:
    expected = {
        SwapState.STAGING: ClaimState.UNTOUCHED,
        SwapState.STAGED: ClaimState.UNTOUCHED,
        SwapState.RETURNED: ClaimState.UNTOUCHED,
        SwapState.EMPTIED: ClaimState.EMPTIED,
    }
    assert claim_state(journaled(state), "mine", Strategy.STAGED) == expected.get(state, ClaimState.INCOMPLETE)


def test_claim_state_of_a_staged_restore_without_a_journal() -> None:
    whole = Inspection(restored_whole=True)
    assert claim_state(whole, "mine", Strategy.STAGED) == ClaimState.RESTORED
    for seen in (Inspection(), marked("other", "restored"), marked("mine", "restored")):
        assert claim_state(seen, "mine", Strategy.STAGED) == ClaimState.UNKNOWN
    swapped = journaled(SwapState.SWAPPED, restored_whole=True)
    assert claim_state(swapped, "mine", Strategy.STAGED) == ClaimState.RESTORED


RECIPE = StartRecipe(
    site=Site(cluster=CLUSTER),
    replicas_before=3,
    replicas=3,
    restore_id="mine",
    claims=("c-0", "c-1"),
    primary_pod=None,
    runner_pod_prefix="p",
    runner_timeout=timedelta(hours=1),
    ready_timeout=timedelta(hours=1),
)


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("is_rollback", [False, True])
def test_claims_before_the_operation_works_on_them(strategy: Strategy, is_rollback: bool) -> None:
    recipe = RECIPE.model_copy(update={"strategy": strategy, "is_rollback": is_rollback})
    state = ClaimState.RESTORED if is_rollback else ClaimState.UNTOUCHED
    assert [(each.claim, each.state) for each in as_found(recipe)] == [("c-0", state), ("c-1", state)]
    assert are_as_found(recipe)
    assert not are_as_found(recipe.model_copy(update={"data_may_have_changed": True}))


def test_a_claim_that_was_incomplete_before_is_not_called_good() -> None:
    """It was not touched, and nobody may start a server on it: two facts."""
    recipe = RECIPE.model_copy(update={"left_incomplete": ("", "restore old has not finished it")})
    assert describe_claims(as_found(recipe)) == (
        "c-0 untouched, c-1 untouched (but no server may start on it: restore old has not finished it)"
    )


def reports(states: Sequence[ClaimState]) -> list[ClaimReport]:
    return [ClaimReport(claim=f"c-{each}", ordinal=each, state=state) for each, state in enumerate(states)]


@pytest.mark.parametrize("states", list(product(ClaimState, repeat=3)))
def test_start_only_on_data_that_fits_together(states: tuple[ClaimState, ...]) -> None:
    claims = reports(states)
    previous = {ClaimState.UNTOUCHED, ClaimState.EMPTIED}
    from_the_first = states[0] == ClaimState.UNTOUCHED and set(states[1:]) <= previous
    assert may_start(claims) == (from_the_first or set(states) == {ClaimState.RESTORED})
    assert describe_claims(claims) == ", ".join(f"c-{each} {state}" for each, state in enumerate(states))


@pytest.mark.parametrize("states", list(product(ClaimState, repeat=3)))
def test_others_are_finished_only_beside_a_replica_that_is_restored(states: tuple[ClaimState, ...]) -> None:
    claims = reports(states)
    stopped, serving = must_be_finished(claims), must_be_finished(claims, serving=1)
    fits = set(states) == {ClaimState.RESTORED} or may_start(claims)
    assert stopped == (not fits and ClaimState.UNKNOWN not in states)
    assert serving == (stopped and states[0] == ClaimState.RESTORED)


def test_no_claims_are_no_reason_to_start() -> None:
    assert not may_start([])


# --- the way back

Kind = Literal["P", "R", "r", "-", "?", "U", "E"]
"""P: previous data whole, restored swapped in. R: only the restored data is whole. r: previous whole, but half a swap.
-: readable, nothing is proved. ?: cannot be read. U: untouched. E: emptied already."""


def found(kinds: str, positions: Sequence[tuple[str, int, bool] | None] | None = None) -> list[ClaimFound]:
    """Claims of these kinds; `positions` of the previous data, default: 0 has left last, the others cleanly."""
    positions = positions or [(UUID, 9, True), *[(UUID, 8, False)] * (len(kinds) - 1)]
    return [_found(ordinal, kind, positions[ordinal]) for ordinal, kind in enumerate(kinds)]


def _found(ordinal: int, kind: str, position: tuple[str, int, bool] | None) -> ClaimFound:
    saved = position and SavedState(uuid=position[0], seqno=position[1], safe_to_bootstrap=position[2])
    whole = PreviousData(whole=True, saved=saved)
    lost = PreviousData(whole=False, problem="3 of 4 entries are missing: ibdata1")
    seen = {
        "P": journaled(SwapState.SWAPPED, restored_whole=True).model_copy(update={"previous": whole}),
        "r": journaled(SwapState.IN).model_copy(update={"previous": whole}),
        "U": journaled(SwapState.STAGED).model_copy(update={"previous": whole}),
        "R": Inspection(restored_whole=True),
        "L": journaled(SwapState.IN).model_copy(update={"previous": lost}),
        "E": journaled(SwapState.EMPTIED).model_copy(update={"previous": lost}),
        "-": Inspection(),
        "?": None,
    }[kind]
    state = claim_state(seen, "mine", Strategy.STAGED) if seen is not None else ClaimState.UNKNOWN
    return ClaimFound(claim=f"c-{ordinal}", ordinal=ordinal, state=state, seen=seen)


PREVIOUS, RESTORED = ClaimState.UNTOUCHED, ClaimState.RESTORED


@pytest.mark.parametrize(
    ("kinds", "start_on", "emptied"),
    [
        ("PPP", PREVIOUS, ()),
        ("UUU", PREVIOUS, ()),
        ("UrP", PREVIOUS, ()),
        ("P", PREVIOUS, ()),
        ("PPR", RESTORED, ()),
        ("RPP", RESTORED, ()),
        ("RRR", RESTORED, ()),
        ("R", RESTORED, ()),
        ("PP-", PREVIOUS, (2,)),
        ("P-P", PREVIOUS, (1,)),
        ("P--", PREVIOUS, (1, 2)),
        ("rR-", PREVIOUS, (1, 2)),
        ("PrR", PREVIOUS, (2,)),
        ("UPL", PREVIOUS, (2,)),
        ("UUE", PREVIOUS, (2,)),
        ("PE-", PREVIOUS, (1, 2)),
        ("-PP", None, ()),
        ("RrP", None, ()),
        ("LPP", None, ()),
        ("EUU", None, ()),
        ("---", None, ()),
        ("-", None, ()),
        ("PP?", None, ()),
        ("P-?", None, ()),
        ("RR?", None, ()),
        ("?PP", None, ()),
    ],
)
def test_one_state_to_start_on(kinds: str, start_on: ClaimState | None, emptied: tuple[int, ...]) -> None:
    claims = found(kinds)
    decided = way_back(claims, was_up=True, may_be_restored=True, first_in_sync=True)
    assert (decided.start_on, decided.emptied) == (start_on, emptied)
    lost = [each.claim for each in claims if each.report.previous_lost]
    assert lost == [f"c-{each}" for each, kind in enumerate(kinds) if kind not in "PrU"]
    assert all(claim in decided.why for claim in lost)
    assert bool(decided.why) == bool(lost)
    for ordinal in emptied:
        assert kinds[ordinal] not in "PrU?", "never a claim with its previous data, nor one that cannot be read"
    states = [ClaimState.EMPTIED if each.ordinal in emptied else start_on or each.state for each in claims]
    assert may_start(reports(states)) == (start_on is not None)


def test_a_clone_that_failed_is_not_started_on_the_restored_data() -> None:
    assert way_back(found("PPR"), was_up=True, may_be_restored=False, first_in_sync=True).emptied == (2,)
    assert way_back(found("RPP"), was_up=True, may_be_restored=False, first_in_sync=True).start_on is None
    assert way_back(found("PPP"), was_up=True, may_be_restored=False, first_in_sync=True) == WayBack(
        start_on=PREVIOUS, bootstrap=0
    )


def test_a_cluster_that_was_down_fills_no_claim() -> None:
    assert way_back(found("PP-"), was_up=False, may_be_restored=True, first_in_sync=True).start_on is None
    assert way_back(found("PPP"), was_up=False, may_be_restored=True, first_in_sync=True) == WayBack(start_on=PREVIOUS)
    assert way_back(found("PPR"), was_up=False, may_be_restored=True, first_in_sync=True).start_on == RESTORED


@pytest.mark.parametrize(
    ("first", "other", "is_highest"),
    [
        ((UUID, 9, True), (UUID, 9, False), True),
        ((UUID, 9, False), (UUID, 9, False), True),
        ((UUID, 9, False), (UUID, 8, True), True),
        ((UUID, 9, True), (UUID, -1, False), True),
        ((UUID, 9, True), None, True),
        ((UUID, 9, False), (UUID, -1, False), False),
        ((UUID, 9, False), None, False),
        ((UUID, 9, True), (UUID, 10, False), False),
        ((UUID, 9, True), (OTHER_UUID, 1, False), False),
        ((UUID, -1, False), (UUID, -1, False), False),
        ((UUID, -1, True), (UUID, 8, False), False),
        (None, (UUID, 8, False), False),
        (None, None, False),
    ],
)
def test_a_claim_is_emptied_only_where_ordinal_0_has_the_highest_position(
    first: tuple[str, int, bool] | None, other: tuple[str, int, bool] | None, is_highest: bool
) -> None:
    decided = way_back(found("PP-", [first, other, None]), was_up=True, may_be_restored=True, first_in_sync=True)
    assert decided.emptied == ((2,) if is_highest else ())
    assert ("not proved to be the highest" in decided.why) == (not is_highest)


@pytest.mark.parametrize(
    ("first", "other", "is_ahead"),
    [
        ((UUID, 9, True), (UUID, 9, False), False),
        ((UUID, 9, False), (UUID, 8, True), False),
        ((UUID, -1, False), (UUID, 8, False), False),  # killed as the last one
        ((UUID, -1, False), (UUID, -1, False), False),
        ((UUID, 9, True), (OTHER_UUID, 10, False), False),
        ((UUID, 9, False), None, False),
        (None, (UUID, 9, False), False),
        ((UUID, 9, True), (UUID, 10, False), True),
        ((UUID, 9, False), (UUID, 10, True), True),
        ((UUID, -1, False), (UUID, 8, True), True),  # it was not in the group at its end
        (None, (UUID, 8, True), True),
        ((OTHER_UUID, 9, False), (UUID, 8, True), True),
    ],
)
def test_the_first_forms_the_cluster_where_no_other_is_ahead(
    first: tuple[str, int, bool] | None, other: tuple[str, int, bool] | None, is_ahead: bool
) -> None:
    claims = found("PPP", [first, None, other])
    decided = way_back(claims, was_up=True, may_be_restored=True, first_in_sync=True)
    assert (decided.start_on, decided.bootstrap) == (None if is_ahead else PREVIOUS, 0)
    assert ("would be lost" in decided.why) == is_ahead
    assert way_back(claims, was_up=False, may_be_restored=True, first_in_sync=True) == WayBack(start_on=PREVIOUS)


@pytest.mark.parametrize(
    ("positions", "in_sync", "bootstrap", "starts"),
    [
        ([(UUID, 9, True), (UUID, 8, False)], True, None, True),
        ([(UUID, -1, False), (UUID, 8, False)], True, 0, True),  # killed as the last one
        ([(UUID, -1, False), (UUID, -1, False)], True, 0, True),
        ([(UUID, 9, False), (UUID, 9, False)], False, 0, True),
        ([(UUID, -1, False)], False, 0, True),
        ([None, (UUID, 8, False)], True, 0, True),
        ([(UUID, -1, False), (UUID, 8, True)], True, None, True),  # it was not in the group at its end
        ([(UUID, 8, False), (UUID, 9, False)], True, None, False),
        ([(UUID, -1, False), (UUID, 8, False)], False, None, False),
    ],
)
def test_a_server_that_was_killed_in_the_stop_forms_the_cluster(
    positions: Sequence[tuple[str, int, bool] | None], in_sync: bool, bootstrap: int | None, starts: bool
) -> None:
    claims = [_as_it_is(ordinal, position) for ordinal, position in enumerate(positions)]
    decided = first_forms(claims, first_in_sync=in_sync)
    assert (decided.start_on, decided.bootstrap) == (PREVIOUS if starts else None, bootstrap)
    assert bool(decided.why) == (not starts)
    unreadable = claims[0].model_copy(update={"seen": None})
    assert first_forms([unreadable, *claims[1:]], first_in_sync=in_sync) == WayBack(start_on=PREVIOUS)


def _as_it_is(ordinal: int, position: tuple[str, int, bool] | None) -> ClaimFound:
    saved = position and SavedState(uuid=position[0], seqno=position[1], safe_to_bootstrap=position[2])
    return ClaimFound(claim=f"c-{ordinal}", ordinal=ordinal, state=PREVIOUS, seen=Inspection(saved=saved))
