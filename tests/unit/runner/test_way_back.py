"""What one data volume proves once renames may have begun; nothing is renamed or removed without the proof."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from galera_backup.models.jobs import BootstrapJob, EmptyJob, InspectJob, SwapJob
from galera_backup.models.previous import SavedState
from galera_backup.models.reports import Inspection
from galera_backup.models.restore import ClaimState, Strategy
from galera_backup.models.volumes import STAGED_RESTORES, SwapState
from galera_backup.rules.claims import claim_state
from galera_backup.runner.staged.journal import StagedRestore
from galera_backup.runner.staged.previous import saved_state
from galera_backup.runner.volumes import MARKER
from tests.unit.runner.pod import CLUSTER, UUID, Pod, content, failure
from tests.unit.runner.staged import GRASTATE

RESTORE = "galera-restore/1"
STATES = [state for state in SwapState if state not in (SwapState.STAGING, SwapState.EMPTYING, SwapState.EMPTIED)]
IN_PLACE = (SwapState.STAGED, SwapState.RETURNED)
"""Nothing of the previous data lies aside."""


class Stopped(BaseException):
    """The process is killed."""


@pytest.fixture
def staged(pod: Pod, data: Path, staged_volumes: Callable[[bool], Path]) -> StagedRestore:
    """The backup is staged beside a data directory that a server has left cleanly."""
    assert pod.volume is not None
    shutil.rmtree(pod.volume)
    shutil.copytree(staged_volumes(data != pod.volume), pod.volume)
    return StagedRestore(pod.volume, RESTORE)


def bring_to(pod: Pod, data: Path, restore: StagedRestore, state: SwapState) -> None:
    """Swap until the journal says this, and kill the pod in the middle of that step."""
    if state == SwapState.STAGED:
        return
    in_only = (SwapState.OUT, SwapState.IN, SwapState.SWAPPED)
    if state not in in_only:
        assert pod.swap(data, "in").error is None
        (data / "made_by_the_server").mkdir()
        (data / "ibdata1").write_bytes(b"changed by the server")
    if state in (SwapState.SWAPPED, SwapState.RETURNED):
        assert pod.swap(data, "in" if state in in_only else "back").error is None
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", _until(restore, state, os.rename))
        with pytest.raises(Stopped):
            pod.swap(data, "in" if state in in_only else "back")
    assert journal_state(restore) == state


def _until(restore: StagedRestore, state: SwapState, real: Any) -> Any:
    done: list[Any] = []

    def rename(*arguments: Any) -> None:
        if journal_state(restore) == state:
            if done:  # one entry on each side
                raise Stopped
            done.append(arguments)
        real(*arguments)

    return rename


def journal_state(restore: StagedRestore) -> SwapState | None:
    journal = restore.journal()
    return journal.state if journal is not None else None


def inspect(pod: Pod, data: Path) -> Inspection:
    result = pod.run(InspectJob(cluster=CLUSTER, restore_id=RESTORE), data)
    assert result.report is not None, result.error
    assert len(result.model_dump_json()) < 4096
    return result.report


def state_of(seen: Inspection) -> ClaimState:
    return claim_state(seen, RESTORE, Strategy.STAGED)


@pytest.mark.parametrize("state", STATES)
def test_the_previous_data_is_proved_in_every_state(
    pod: Pod, data: Path, staged: StagedRestore, state: SwapState
) -> None:
    before = without_copies(data)
    bring_to(pod, data, staged, state)
    everything = content(staged.directory.parent.parent), content(data)
    seen = inspect(pod, data)
    assert (content(staged.directory.parent.parent), content(data)) == everything
    assert seen.journal is not None
    assert seen.journal.state == state
    assert seen.previous is not None
    assert (seen.previous.whole, seen.previous.problem) == (True, "")
    assert seen.previous.saved == SavedState(uuid=UUID, seqno=41, safe_to_bootstrap=False)
    assert seen.restored_whole == (state == SwapState.SWAPPED)
    assert state_of(seen) == {
        SwapState.STAGED: ClaimState.UNTOUCHED,
        SwapState.RETURNED: ClaimState.UNTOUCHED,
        SwapState.SWAPPED: ClaimState.RESTORED,
    }.get(state, ClaimState.INCOMPLETE)
    assert failure(pod.run(EmptyJob(cluster=CLUSTER, restore_id=RESTORE), data))[0] == "RestoreFailed"
    assert pod.swap(data, "back").error is None
    assert without_copies(data) == before


def without_copies(data: Path) -> dict[str, bytes]:
    return {name: text for name, text in content(data).items() if not name.startswith(f"{STAGED_RESTORES}/")}


@pytest.mark.parametrize("marker", ["marker", "no marker"])
@pytest.mark.parametrize("state", STATES)
def test_without_its_journal_a_claim_is_unknown_or_restored(
    pod: Pod, data: Path, staged: StagedRestore, state: SwapState, marker: str
) -> None:
    bring_to(pod, data, staged, state)
    shutil.rmtree(staged.directory.parent)
    if marker == "no marker":
        (data / MARKER).unlink(missing_ok=True)
    left = content(data)
    seen = inspect(pod, data)
    assert seen.journal is None
    assert seen.previous is None
    restored = state == SwapState.SWAPPED and marker == "marker"
    assert seen.restored_whole == restored
    assert state_of(seen) == (ClaimState.RESTORED if restored else ClaimState.UNKNOWN)
    kind, message = failure(pod.swap(data, "back"))
    assert kind == "RestoreFailed"
    assert "nothing says what the data directory holds" in message
    assert failure(pod.swap(data, "in"))[0] == "RestoreFailed"
    assert content(data) == left


def test_the_marker_counts_only_with_all_that_it_names(pod: Pod, data: Path, staged: StagedRestore) -> None:
    bring_to(pod, data, staged, SwapState.SWAPPED)
    (data / "made_by_the_server").mkdir()
    shutil.rmtree(data / "nova")
    assert state_of(inspect(pod, data)) == ClaimState.RESTORED, "a client dropped a database: the journal is there"
    shutil.rmtree(staged.directory.parent)
    assert state_of(inspect(pod, data)) == ClaimState.UNKNOWN
    (data / "nova").mkdir()
    assert state_of(inspect(pod, data)) == ClaimState.RESTORED


def test_a_swapped_claim_without_its_marker_is_not_restored(pod: Pod, data: Path, staged: StagedRestore) -> None:
    """A state transfer has replaced the data directory, and has left what lies beside it."""
    bring_to(pod, data, staged, SwapState.SWAPPED)
    (data / MARKER).unlink()
    seen = inspect(pod, data)
    assert state_of(seen) == ClaimState.INCOMPLETE
    assert seen.previous is not None
    assert seen.previous.whole


@pytest.mark.parametrize("damage", ["entry", "file", "shorter", "added", "directory"])
@pytest.mark.parametrize("state", [state for state in STATES if state not in IN_PLACE])
def test_previous_data_that_is_not_whole_is_not_swapped_back(
    pod: Pod, data: Path, staged: StagedRestore, state: SwapState, damage: str
) -> None:
    bring_to(pod, data, staged, state)
    aside = sorted(staged.previous.iterdir())
    assert aside
    if damage == "entry":
        remove(aside[0])
    elif damage == "file":
        in_a_directory(aside, data, state).unlink()
    elif damage == "shorter":
        in_a_directory(aside, data, state).write_bytes(b"")
    elif damage == "added":
        (staged.previous / "added").write_bytes(b"by somebody")
    else:
        shutil.rmtree(staged.previous)
    left = content(staged.directory.parent.parent)
    seen = inspect(pod, data)
    assert seen.previous is not None
    assert not seen.previous.whole
    assert seen.previous.saved is None
    expected = {"entry": "missing", "file": "files", "shorter": "bytes", "added": "added", "directory": "missing"}
    assert expected[damage] in seen.previous.problem
    kind, message = failure(pod.swap(data, "back"))
    assert kind == "RestoreFailed"
    assert seen.previous.problem in message
    assert content(staged.directory.parent.parent) == left


def in_a_directory(aside: list[Path], data: Path, state: SwapState) -> Path:
    """A file of the previous data, wherever it lies; not at the top, so that all entries stay."""
    places = [*aside, *([data / "nova"] if state in (SwapState.OUT, SwapState.BACK_IN) else [])]
    return next(path / "t.ibd" for path in places if path.name == "nova" and path.is_dir())


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def test_an_entry_on_both_sides_is_not_whole(pod: Pod, data: Path, staged: StagedRestore) -> None:
    bring_to(pod, data, staged, SwapState.OUT)
    (data / next(staged.previous.iterdir()).name).touch()
    seen = inspect(pod, data)
    assert seen.previous is not None
    assert "twice" in seen.previous.problem


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("state", STATES)
def test_the_bootstrap_is_decided_with_the_way_back(
    pod: Pod, data: Path, staged: StagedRestore, state: SwapState, value: bool
) -> None:
    bring_to(pod, data, staged, state)
    job = SwapJob(cluster=CLUSTER, restore_id=RESTORE, direction="back", safe_to_bootstrap=value)
    for _ in range(2):
        assert pod.run(job, data).error is None
        assert (data / "grastate.dat").read_text() == GRASTATE.replace("bootstrap: 0", f"bootstrap: {int(value)}")


def test_a_server_that_was_killed_may_form_the_cluster(pod: Pod, data: Path) -> None:
    (data / "grastate.dat").write_text(GRASTATE.replace("41", "-1"))
    assert inspect(pod, data).saved == SavedState(uuid=UUID, seqno=-1, safe_to_bootstrap=False)
    before = content(data)
    for _ in range(2):
        assert pod.run(BootstrapJob(cluster=CLUSTER), data).error is None
        assert inspect(pod, data).saved == SavedState(uuid=UUID, seqno=-1, safe_to_bootstrap=True)
    changed = {name for name, value in content(data).items() if before[name] != value}
    assert changed == {"grastate.dat"}


# --- emptying


def empty(pod: Pod, data: Path) -> Any:
    return pod.run(EmptyJob(cluster=CLUSTER, restore_id=RESTORE), data)


@pytest.mark.parametrize("state", [*STATES, None])
def test_a_claim_that_lost_its_previous_data_is_emptied(
    pod: Pod, data: Path, staged: StagedRestore, state: SwapState | None
) -> None:
    """`None`: the previous data alone is lost, and the journal is there."""
    bring_to(pod, data, staged, state or SwapState.SWAPPED)
    shutil.rmtree(staged.directory.parent if state is not None else staged.previous)
    for _ in range(2):
        assert empty(pod, data).error is None
        found = {path.name for path in data.iterdir()} - {"lost+found", STAGED_RESTORES}
        assert found == set()
        seen = inspect(pod, data)
        assert (seen.restored_whole, state_of(seen)) == (False, ClaimState.EMPTIED)
    assert {path.name for path in staged.directory.iterdir()} == {"journal.json"}
    for direction in ("in", "back"):
        assert failure(pod.swap(data, direction))[0] == "RestoreFailed"
    assert failure(pod.stage(data))[0] == "RestoreFailed"
    (data / "ibdata1").write_bytes(b"by a state transfer")
    assert empty(pod, data).error is None
    assert (data / "ibdata1").exists(), "a late pod"
    assert pod.tidy(data).error is None
    assert not staged.directory.parent.exists()
    assert (data / "ibdata1").exists()


def test_a_killed_emptying_is_gone_on_with(
    pod: Pod, data: Path, staged: StagedRestore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_to(pod, data, staged, SwapState.SWAPPED)
    shutil.rmtree(staged.directory.parent)
    real, calls = os.unlink, []

    def unlink(*arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        if len(calls) > 1:
            raise Stopped
        real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink)
        with pytest.raises(Stopped):
            empty(pod, data)
    assert not (data / MARKER).exists()
    assert (data / "ibdata1").exists() or (data / "nova").exists()
    assert state_of(inspect(pod, data)) == ClaimState.INCOMPLETE
    assert failure(pod.tidy(data))[0] == "RestoreFailed"
    assert failure(pod.swap(data, "back"))[0] == "RestoreFailed"
    assert empty(pod, data).error is None
    assert state_of(inspect(pod, data)) == ClaimState.EMPTIED


def test_position_that_cannot_be_read(tmp_path: Path) -> None:
    assert saved_state(tmp_path) is None
    for text in ("", "uuid: x\n", f"uuid: {UUID}\nseqno: many\n"):
        (tmp_path / "grastate.dat").write_text(text)
        assert saved_state(tmp_path) is None
    (tmp_path / "grastate.dat").write_text(f"uuid: {UUID}\nseqno: -1\n")
    assert saved_state(tmp_path) == SavedState(uuid=UUID, seqno=-1, safe_to_bootstrap=False)
