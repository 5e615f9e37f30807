"""The agent and the fake runner pod do the same to claims and backups, and report the same."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import pytest

from galera_backup.models.common import ClusterRef, Model
from galera_backup.models.jobs import (
    BackupJob,
    CheckJob,
    DiscardJob,
    InspectJob,
    ListJob,
    PruneJob,
    RestoreJob,
    StageJob,
    SwapJob,
    TidyJob,
    UnpackJob,
)
from galera_backup.models.manifest import Manifest
from galera_backup.models.reports import Inspection
from galera_backup.models.runner import AnyJob, RunnerResult
from galera_backup.models.volumes import SwapState
from galera_backup.runner import prepare
from galera_backup.runner.staged import stage as stage_module
from tests.contract.agents import MIXED, OLD, RESTORED, Agents, FakeAgents, RealAgents
from tests.unit.runner.pod import BACKUP_ID, CLUSTER, Pod, make_pod

Report = TypeVar("Report", bound=Model)
IDS = ("20261121T010000Z-full", BACKUP_ID, "20261123T010000Z-full")
"""Oldest first."""
MISSING = "20251231T010000Z-full"
ELSEWHERE = ClusterRef(namespace="openstack", statefulset="other")
RESTORE, ANOTHER = "restore-1", "restore-2"
SWAP_IN = SwapJob(cluster=CLUSTER, restore_id=RESTORE, direction="in")
SWAP_BACK = SwapJob(cluster=CLUSTER, restore_id=RESTORE, direction="back")
UNPACK = UnpackJob(cluster=CLUSTER, backup_id=BACKUP_ID, restore_id=RESTORE)


@pytest.fixture(params=["fake", "real"])
def agents(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Agents:
    """Nothing stored yet, and the old data on each claim."""
    if request.param == "fake":
        return FakeAgents()
    monkeypatch.setattr(stage_module, "total_kb", lambda path: 1_000_000)  # whatever the machine has
    monkeypatch.setattr(prepare, "free_kb", lambda path: 500_000)
    return RealAgents(make_pod(tmp_path))


@pytest.fixture
def stored(agents: Agents) -> Manifest:
    """The backup BACKUP_ID."""
    return report(agents.run(backup()))


def report(result: RunnerResult[Report]) -> Report:
    """Of a job that must not fail."""
    assert result.report is not None, result.error
    return result.report


def error(result: RunnerResult[Report]) -> str:
    """Type of the error of a job that must fail."""
    assert result.error is not None, result.report
    return result.error.type


def backup(backup_id: str = BACKUP_ID, lease: str = "lease-1", ratio: float = 0.001) -> BackupJob:
    return Pod.backup_job(backup_id, lease, ratio)


def restore(ordinal: int = 0, last: bool = False, restore_id: str = RESTORE, backup_id: str = BACKUP_ID) -> RestoreJob:
    return RestoreJob(
        cluster=CLUSTER,
        backup_id=backup_id,
        restore_id=restore_id,
        ordinal=ordinal,
        last=last,
        safe_to_bootstrap=ordinal == 0,
    )


def stage(restore_id: str = RESTORE, backup_id: str = BACKUP_ID) -> StageJob:
    return StageJob(cluster=CLUSTER, backup_id=backup_id, restore_id=restore_id, safe_to_bootstrap=True)


def look(agents: Agents, restore_id: str = RESTORE, claim: int = 0) -> Inspection:
    return report(agents.run(InspectJob(cluster=CLUSTER, restore_id=restore_id), claim))


def state(agents: Agents, restore_id: str = RESTORE) -> SwapState | None:
    """As the journal on the first claim has it."""
    journal = look(agents, restore_id).journal
    return journal.state if journal else None


def listed(agents: Agents, cluster: ClusterRef = CLUSTER) -> int:
    return report(agents.run(ListJob(cluster=cluster))).count


# --- backups


def test_a_manifest_says_what_was_asked_for(stored: Manifest) -> None:
    job = backup()
    for name in ("backup_id", "cluster", "replica", "node", "claim", "claim_uid", "lease_run", "unsafe", "problems"):
        assert getattr(stored, name) == getattr(job, name)
    assert stored.stored_bytes > 0
    assert stored.started_at <= stored.finished_at


def test_one_lease_stores_a_backup_once(agents: Agents, stored: Manifest) -> None:
    assert report(agents.run(backup())) == stored
    assert error(agents.run(backup(lease="lease-2"))) == "BackupExists"
    assert report(agents.run(CheckJob(cluster=CLUSTER, backup_id=BACKUP_ID))).manifest == stored


def test_a_backup_needs_space(agents: Agents) -> None:
    assert error(agents.run(backup(ratio=1e12))) == "NotEnoughSpace"
    assert listed(agents) == 0


@pytest.mark.parametrize("backup_id", [MISSING, BACKUP_ID])
@pytest.mark.usefixtures("stored")
def test_a_backup_that_its_owner_does_not_have(agents: Agents, backup_id: str) -> None:
    """BACKUP_ID is there, but not of ELSEWHERE."""
    owner = CLUSTER if backup_id == MISSING else ELSEWHERE
    restore_job, stage_job = restore(backup_id=backup_id), stage(backup_id=backup_id)
    jobs: list[AnyJob] = [
        CheckJob(cluster=owner, backup_id=backup_id),
        UNPACK.model_copy(update={"cluster": owner, "backup_id": backup_id}),
        restore_job.model_copy(update={"cluster": owner}),
        stage_job.model_copy(update={"cluster": owner}),
    ]
    assert [error(agents.run(job)) for job in jobs] == ["BackupNotFound"] * len(jobs)
    seen = look(agents)
    assert (seen.marker, seen.journal, agents.holds()) == (None, None, OLD)
    assert agents.unpacked(owner) == set()


def test_a_list_comes_in_pages(agents: Agents) -> None:
    for backup_id in IDS:
        report(agents.run(backup(backup_id)))
    newest = report(agents.run(ListJob(cluster=CLUSTER, limit=2)))
    assert (newest.count, newest.next) == (2, IDS[1])
    older = report(agents.run(ListJob(cluster=CLUSTER, limit=2, before=newest.next)))
    assert (older.count, older.next) == (1, None)
    assert listed(agents) == 3
    assert listed(agents, ELSEWHERE) == 0


@pytest.mark.parametrize(("keep", "left"), [(5, 3), (2, 2), (0, 1)])
def test_pruning_keeps_the_newest(agents: Agents, keep: int, left: int) -> None:
    for backup_id in IDS:
        report(agents.run(backup(backup_id)))
    report(agents.run(UNPACK))
    assert report(agents.run(PruneJob(cluster=ELSEWHERE, keep=1, own=IDS[-1]))).kept == 0
    assert agents.unpacked() == {RESTORE}
    pruned = report(agents.run(PruneJob(cluster=CLUSTER, keep=keep, own=IDS[-1])))
    assert (pruned.pruned, pruned.kept) == (IDS[: 3 - left], left)
    assert listed(agents) == left
    assert agents.unpacked() == set()


# --- scratch directories


@pytest.mark.usefixtures("stored")
def test_a_restore_unpacks_once(agents: Agents) -> None:
    assert report(agents.run(UNPACK)).unpack_seconds > 0
    again = report(agents.run(UNPACK))
    assert (again.unpack_seconds, again.prepare_seconds) == (0, 0)
    assert report(agents.run(restore())).unpack_seconds == 0
    assert agents.unpacked() == {RESTORE}


@pytest.mark.usefixtures("stored")
def test_one_temporary_directory_at_a_time(agents: Agents) -> None:
    report(agents.run(UNPACK))
    report(agents.run(UNPACK.model_copy(update={"restore_id": ANOTHER})))
    assert agents.unpacked() == {ANOTHER}
    report(agents.run(DiscardJob(cluster=CLUSTER, keep=ANOTHER)))
    assert agents.unpacked() == {ANOTHER}
    report(agents.run(DiscardJob(cluster=CLUSTER)))
    assert agents.unpacked() == set()


@pytest.mark.usefixtures("stored")
def test_a_backup_removes_temporary_directories(agents: Agents) -> None:
    report(agents.run(UNPACK))
    report(agents.run(backup(IDS[2])))
    assert agents.unpacked() == set()


# --- restores in place


@pytest.mark.usefixtures("stored")
def test_a_restore_in_place(agents: Agents) -> None:
    first = report(agents.run(restore()))
    assert first.copy_seconds > 0
    assert (agents.holds(0), agents.holds(1)) == (RESTORED, OLD)
    marker = look(agents).marker
    assert marker is not None
    assert (marker.restore_id, marker.backup_id, marker.state) == (RESTORE, BACKUP_ID, "restored")
    assert look(agents, claim=1).marker is None
    again = report(agents.run(restore()))
    assert (again.unpack_seconds, again.prepare_seconds, again.copy_seconds) == (0, 0, 0)
    report(agents.run(restore(1, last=True), 1))
    assert agents.holds(1) == RESTORED
    assert agents.unpacked() == set()


@pytest.mark.usefixtures("stored")
def test_what_is_restored_is_not_unpacked_again(agents: Agents) -> None:
    report(agents.run(restore(last=True)))
    assert report(agents.run(restore())).unpack_seconds == 0
    assert agents.unpacked() == set()


@pytest.mark.usefixtures("stored")
def test_a_restore_in_place_removes_staged_data(agents: Agents) -> None:
    report(agents.run(stage()))
    report(agents.run(restore(restore_id=ANOTHER)))
    assert state(agents) is None


# --- staged restores


@pytest.mark.usefixtures("stored")
def test_staging(agents: Agents) -> None:
    first = report(agents.run(stage()))
    assert first.unpack_seconds > 0
    assert first.passwords is not None
    assert (state(agents), look(agents).staged_whole, agents.holds()) == (SwapState.STAGED, True, OLD)
    assert look(agents, claim=1).journal is None
    assert report(agents.run(stage())).passwords == first.passwords
    assert (state(agents), look(agents).staged_whole, agents.holds()) == (SwapState.STAGED, True, OLD)
    other = look(agents, ANOTHER)
    assert (other.journal, other.staged_whole, other.previous) == (None, False, None)


@pytest.mark.usefixtures("stored")
def test_swapped_in_and_back(agents: Agents) -> None:
    report(agents.run(stage()))
    for _ in range(2):
        assert report(agents.run(SWAP_IN)).state == SwapState.SWAPPED
        seen = look(agents)
        assert seen.previous is not None
        assert (seen.staged_whole, seen.restored_whole, seen.previous.whole) == (False, True, True)
        assert agents.holds() == RESTORED
    assert error(agents.run(stage())) == "RestoreFailed"
    assert agents.holds() == RESTORED
    for _ in range(2):
        assert report(agents.run(SWAP_BACK)).state == SwapState.RETURNED
        seen = look(agents)
        assert seen.previous is not None
        assert (seen.staged_whole, seen.restored_whole, seen.previous.whole) == (False, False, True)
        assert agents.holds() == OLD
    assert error(agents.run(SWAP_IN)) == "RestoreFailed"
    assert agents.holds() == OLD


@pytest.mark.parametrize("job", [SWAP_IN, SWAP_BACK], ids=["in", "back"])
@pytest.mark.usefixtures("stored")
def test_a_swap_without_a_journal_of_its_restore(agents: Agents, job: SwapJob) -> None:
    assert error(agents.run(job)) == "RestoreFailed"
    report(agents.run(stage(ANOTHER)))
    assert error(agents.run(job)) == "RestoreFailed"
    assert (state(agents, ANOTHER), agents.holds()) == (SwapState.STAGED, OLD)


@pytest.mark.usefixtures("stored")
def test_back_of_what_was_only_staged(agents: Agents) -> None:
    report(agents.run(stage()))
    assert report(agents.run(SWAP_BACK)).state == SwapState.STAGED
    assert agents.holds() == OLD


@pytest.mark.parametrize(("job", "end", "holds"), [(SWAP_IN, "swapped", RESTORED), (SWAP_BACK, "returned", OLD)])
@pytest.mark.usefixtures("stored")
def test_a_swap_that_was_cut_goes_on_or_back(agents: Agents, job: SwapJob, end: str, holds: str) -> None:
    report(agents.run(stage()))
    agents.cut_swap(SWAP_IN)
    seen = look(agents)
    assert (state(agents), seen.staged_whole, seen.restored_whole) == (SwapState.IN, False, False)
    assert agents.holds() == MIXED
    assert error(agents.run(stage())) == "RestoreFailed"
    assert state(agents) == SwapState.IN
    assert report(agents.run(job)).state == end
    assert agents.holds() == holds


@pytest.mark.usefixtures("stored")
def test_a_way_back_that_was_cut_goes_only_back(agents: Agents) -> None:
    report(agents.run(stage()))
    report(agents.run(SWAP_IN))
    agents.cut_swap(SWAP_BACK)
    assert agents.holds() == MIXED
    assert error(agents.run(SWAP_IN)) == "RestoreFailed"
    assert report(agents.run(SWAP_BACK)).state == SwapState.RETURNED
    assert agents.holds() == OLD


@pytest.mark.parametrize(
    ("job", "stays"),
    [
        (TidyJob(cluster=CLUSTER), False),
        (TidyJob(cluster=CLUSTER, keep=ANOTHER), False),
        (TidyJob(cluster=CLUSTER, keep=RESTORE), True),
        (TidyJob(cluster=CLUSTER, only=RESTORE), False),
        (TidyJob(cluster=CLUSTER, only=ANOTHER), True),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.usefixtures("stored")
def test_tidying(agents: Agents, job: TidyJob, stays: bool, swapped: bool) -> None:
    report(agents.run(stage()))
    if swapped:
        report(agents.run(SWAP_IN))
    for _ in range(2):
        report(agents.run(job))
        assert (look(agents).journal is not None) == stays
        assert agents.holds() == (RESTORED if swapped else OLD)
