"""What the janitor makes of what it sees."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from galera_backup.models.cluster import MemberObservation
from galera_backup.models.common import LeaseRef
from galera_backup.models.janitor import MarkSeen, MemberSeen, RunnerSeen, Survey, Verdict
from galera_backup.models.mark import Mark, StartRecipe
from galera_backup.models.restore import Strategy
from galera_backup.models.site import Site
from galera_backup.rules.triage import JANITOR_IS_CONTENT, JANITOR_MENDS, triage
from galera_backup.show import findings_table
from tests.unit.members import CLUSTER, GOOD

LEASE = LeaseRef(workflow_id="galera-lease/openstack/mariadb-server", run_id="run")
NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
ON: dict[str, Any] = {"desync": True, "desync_count": 1, "local_state": 2, "local_state_comment": "Donor/Desynced"}
DONOR: dict[str, Any] = {"desync_count": 1, "local_state": 2, "local_state_comment": "Donor/Desynced"}
CATCHING_UP: dict[str, Any] = {"local_state": 2, "local_state_comment": "Donor/Desynced"}
JOINING: dict[str, Any] = {"local_state": 1, "local_state_comment": "Joining", "ready": False}
PARTITIONED: dict[str, Any] = {"cluster_status": "non-Primary", "ready": False, "local_state": 0}
PENDING: dict[str, Any] = {"pending_desync": True}
RECIPE = StartRecipe(
    site=Site(cluster=CLUSTER, primary_label=None),
    replicas_before=3,
    replicas=3,
    backup_id="20261122T010000Z-full",
    restore_id="r",
    claims=("c-0",),
    runner_pod_prefix="p",
    primary_pod=None,
    runner_timeout=timedelta(minutes=1),
    ready_timeout=timedelta(minutes=1),
)


def mark(lease_open: bool = False, owner_open: bool = False, elsewhere: bool = False, **fields: Any) -> MarkSeen:
    values = {"lease": LEASE, "owner": "backup-by-hand", "until": NOW, **fields}
    return MarkSeen(mark=Mark.model_validate(values), lease_open=lease_open, owner_open=owner_open, elsewhere=elsewhere)


def member(wsrep: dict[str, Any] | None, marked: MarkSeen | None = None, **fields: Any) -> MemberSeen:
    status = None if wsrep is None else GOOD.model_copy(update=wsrep)
    values = {"pod": "mariadb-server-2", "ordinal": 2, "exists": True, "phase": "Running", "ready": True}
    unreadable = fields.pop("unreadable", False)
    seen = MemberObservation.model_validate({**values, "wsrep": status, **fields})
    return MemberSeen(member=seen, mark=marked, unreadable=unreadable)


def survey(*members: MemberSeen, replicas: int = 3, **fields: Any) -> Survey:
    return Survey(cluster=CLUSTER, replicas=replicas, members=members, **fields)


ROLLING = RECIPE.model_copy(update={"strategy": Strategy.ROLLING})
ABANDONED, OPEN, OWNED = mark(), mark(lease_open=True, owner_open=True), mark(owner_open=True)
ELSEWHERE = mark(elsewhere=True, namespace="another")


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (member({}), Verdict.IN_SYNC),
        (member({}, ready=False), Verdict.IN_SYNC),
        (member({}, ABANDONED), Verdict.STALE_MARK),
        (member({}, OPEN), Verdict.HELD),
        (member({}, OWNED), Verdict.OWNED),
        (member(ON), Verdict.FOREIGN),
        (member(ON, unreadable=True), Verdict.UNREADABLE),
        (member({}, unreadable=True), Verdict.UNREADABLE),
        (member(None, unreadable=True, error="2003"), Verdict.UNREADABLE),
        (member(ON, ABANDONED), Verdict.ABANDONED),
        (member(ON, ABANDONED, ready=False), Verdict.ABANDONED),
        (member(ON, OPEN), Verdict.HELD),
        (member(ON, OWNED), Verdict.OWNED),
        (member(ON, ELSEWHERE), Verdict.FOREIGN),
        (member({}, ELSEWHERE), Verdict.FOREIGN),
        (member({**ON, "desync_count": 2}, ABANDONED), Verdict.ABANDONED),  # OFF takes only our own count back
        (member({**ON, "desync_count": 2}), Verdict.FOREIGN),
        (member({**ON, **PARTITIONED}, ABANDONED), Verdict.ABANDONED),  # it stays unusable until OFF
        (member(PENDING), Verdict.FOREIGN),
        (member(PENDING, ABANDONED), Verdict.ABANDONED),
        (member(DONOR), Verdict.DONOR),
        (member(DONOR, ABANDONED), Verdict.DONOR),
        (member({"desync_count": 1}), Verdict.DONOR),
        (member(CATCHING_UP), Verdict.DONOR),
        (member(CATCHING_UP, ABANDONED), Verdict.STALE_MARK),  # just after OFF
        (member(JOINING), Verdict.NOT_IN_SYNC),
        (member(JOINING, ABANDONED), Verdict.NOT_IN_SYNC),
        (member(PARTITIONED), Verdict.NOT_IN_SYNC),
        (member(PARTITIONED, ABANDONED), Verdict.NOT_IN_SYNC),
        (member(None, error="2003"), Verdict.UNREACHABLE),
        (member(None, ABANDONED, error="2003"), Verdict.UNREACHABLE),
        (member(None, OPEN, error="2003"), Verdict.HELD),
        (member(None, exists=False), Verdict.UNREACHABLE),
    ],
)
def test_member(seen: MemberSeen, verdict: Verdict) -> None:
    [found] = triage(survey(seen), NOW)
    assert (found.kind, found.name, found.verdict) == ("replica", "mariadb-server-2", verdict)
    assert found.text


def test_a_runner_with_which_an_owner_undoes() -> None:
    runner = RunnerSeen(pod="finish-0", lease=LEASE, lease_open=False)
    other = RunnerSeen(pod="old", lease=LEASE.model_copy(update={"run_id": "other"}), lease_open=False)
    seen = survey(replicas=0, mark=mark(owner_open=True, undo=RECIPE), runners=(runner, other))
    assert [each.verdict for each in triage(seen, NOW)] == [Verdict.OWNED, Verdict.ABANDONED, Verdict.OWNED]


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (survey(), None),
        (survey(unreadable=True), Verdict.UNREADABLE),
        (survey(replicas=0), Verdict.FOREIGN),
        (survey(replicas=0, unreadable=True), Verdict.UNREADABLE),
        (survey(replicas=0, mark=mark(undo=RECIPE)), Verdict.ABANDONED),
        (survey(replicas=0, mark=mark(lease_open=True, undo=RECIPE)), Verdict.HELD),
        (survey(replicas=0, mark=mark(owner_open=True, undo=RECIPE)), Verdict.OWNED),
        (survey(replicas=0, mark=mark()), Verdict.STAYS_STOPPED),
        (
            survey(replicas=0, mark=mark(undo=RECIPE, tried="mixed", tried_at=NOW - timedelta(minutes=59))),
            Verdict.STAYS_STOPPED,
        ),
        (
            survey(replicas=0, mark=mark(undo=RECIPE, tried="mixed", tried_at=NOW - timedelta(minutes=60))),
            Verdict.ABANDONED,
        ),
        (survey(replicas=0, mark=mark(undo=RECIPE, elsewhere=True)), Verdict.FOREIGN),
        (survey(mark=mark(undo=RECIPE)), Verdict.STALE_MARK),
        (survey(mark=mark()), Verdict.STAYS_STOPPED),
        (survey(mark=mark(lease_open=True, undo=RECIPE)), Verdict.HELD),
        (survey(replicas=1, mark=mark(undo=RECIPE)), Verdict.STALE_MARK),
        (survey(replicas=1, mark=mark(undo=ROLLING)), Verdict.ABANDONED),
        (survey(replicas=1, mark=mark(lease_open=True, undo=ROLLING)), Verdict.HELD),
        (survey(replicas=1, mark=mark(undo=ROLLING, tried="in part", tried_at=NOW)), Verdict.STAYS_STOPPED),
        (survey(replicas=3, mark=mark(undo=ROLLING)), Verdict.STALE_MARK),
    ],
)
def test_statefulset(seen: Survey, verdict: Verdict | None) -> None:
    found = triage(seen, NOW)
    assert [(each.kind, each.verdict) for each in found] == ([] if verdict is None else [("statefulset", verdict)])


@pytest.mark.parametrize("last", [member(JOINING), member({}, ready=False), member(None, exists=False)])
def test_statefulset_that_is_not_whole_yet(last: MemberSeen) -> None:
    found, *_ = triage(survey(member({}), member({}), last, mark=mark(undo=RECIPE)), NOW)
    assert (found.kind, found.verdict) == ("statefulset", Verdict.NOT_IN_SYNC)


@pytest.mark.parametrize(("lease_open", "verdict"), [(True, Verdict.HELD), (False, Verdict.ABANDONED)])
def test_runner(lease_open: bool, verdict: Verdict) -> None:
    runner = RunnerSeen(pod="runner", lease=LEASE, lease_open=lease_open)
    [found] = triage(survey(runners=(runner,)), NOW)
    assert (found.kind, found.verdict) == ("runner", verdict)


def test_runner_beside_the_mark_of_another_temporal_namespace() -> None:
    runner = RunnerSeen(pod="runner", lease=LEASE, lease_open=False)
    found = triage(survey(member(ON, ELSEWHERE), runners=(runner,)), NOW)
    assert [each.verdict for each in found] == [Verdict.FOREIGN, Verdict.FOREIGN]
    assert all("Run the janitor there" in each.text for each in found)


def test_runners_come_first() -> None:
    runner = RunnerSeen(pod="runner", lease=LEASE, lease_open=False)
    found = triage(survey(member(ON, ABANDONED), mark=ABANDONED, runners=(runner,)), NOW)
    assert [each.kind for each in found] == ["runner", "statefulset", "replica"]
    assert findings_table(found).count("\n") == 4


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (member(ON), "SET GLOBAL wsrep_desync=OFF"),
        (member(ON, unreadable=True), "cannot be read"),
        (member(ON, mark(since=NOW)), "'backup-by-hand' since 2026-11-22 03:00:00Z"),
        (member(DONOR), "It ends by itself"),
        (member(None, error="MariaDB error 2003"), "MariaDB error 2003"),
    ],
)
def test_findings_tell_what_to_do(seen: MemberSeen, told: str) -> None:
    assert told in triage(survey(seen), NOW)[0].text


def test_every_verdict_is_mended_or_left_alone_or_fine() -> None:
    assert not JANITOR_MENDS & JANITOR_IS_CONTENT
    reported = set(Verdict) - JANITOR_MENDS - JANITOR_IS_CONTENT
    assert reported == {
        Verdict.OWNED,
        Verdict.DONOR,
        Verdict.FOREIGN,
        Verdict.UNREACHABLE,
        Verdict.NOT_IN_SYNC,
        Verdict.STAYS_STOPPED,
        Verdict.NEWER,
        Verdict.UNREADABLE,
    }


def test_a_mark_of_a_newer_worker_is_read() -> None:
    text = mark(undo=RECIPE).mark.model_dump_json()
    newer = text.replace('"restore_id"', '"of_tomorrow":1,"restore_id"').replace('"owner"', '"more":1,"owner"')
    assert newer != text
    read = Mark.model_validate_json(newer)
    assert read.undo == RECIPE
