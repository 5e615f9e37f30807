"""A swap that cannot be made whole is not begun, and nothing is overwritten."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from galera_backup.models.jobs import InspectJob
from galera_backup.models.volumes import SwapState
from galera_backup.runner.staged.journal import StagedRestore
from tests.unit.runner.pod import CLUSTER, Pod, content, failure
from tests.unit.runner.staged import (
    HIDDEN,
    RESTORE,
    copy,
    crashes,
    inspect,
    journal_of,
    live_files,
    state_of,
    swapped_to,
    volume,
    works,
)

pytestmark = pytest.mark.usefixtures("volume_size")


def test_swap_in_needs_staged_data_that_is_whole(pod: Pod, data: Path) -> None:
    old = live_files(data)
    kind, message = failure(pod.swap(data, "in"))
    assert kind == "RestoreFailed"
    assert "an SST has wiped it" in message
    assert not (volume(pod) / HIDDEN).exists()
    pod.stage(data)
    assert inspect(pod, data).staged_whole
    (StagedRestore(volume(pod), RESTORE).staged / "nova" / "t.ibd").unlink()
    report = inspect(pod, data)
    assert report.journal == journal_of(pod)
    assert not report.staged_whole
    kind, message = failure(pod.swap(data, "in"))
    assert kind == "RestoreFailed"
    assert "Nothing was changed" in message
    assert state_of(pod) == SwapState.STAGED
    assert live_files(data) == old


def test_sst_wiped_everything(pod: Pod, data: Path) -> None:
    pod.stage(data)
    shutil.rmtree(volume(pod) / HIDDEN)
    report = inspect(pod, data)
    assert report.journal is None
    assert not report.staged_whole
    assert failure(pod.swap(data, "in"))[0] == "RestoreFailed"
    works(pod.stage(data))


@pytest.mark.parametrize("swapped", [False, True])
def test_copies_of_another_replica(pod: Pod, data: Path, swapped: bool) -> None:
    """A state transfer by rsync brings them in place of its own, with a journal that fits."""
    pod.claim = "mysql-data-mariadb-server-0"
    pod.stage(data)
    if swapped:
        works(pod.swap(data, "in"))
    pod.claim = "mysql-data-mariadb-server-1"
    before = content(volume(pod))
    for result in (
        pod.swap(data, "in"),
        pod.swap(data, "back"),
        pod.run(InspectJob(cluster=CLUSTER, restore_id=RESTORE)),
    ):
        kind, message = failure(result)
        assert kind == "RestoreFailed"
        assert "it is of claim 'mysql-data-mariadb-server-0': a state transfer has put" in message
    assert content(volume(pod)) == before
    pod.claim = "mysql-data-mariadb-server-0"
    works(pod.swap(data, "back" if swapped else "in"))


def test_old_data_that_is_gone_is_not_put_back(pod: Pod, data: Path) -> None:
    pod.stage(data)
    pod.swap(data, "in")
    shutil.rmtree(StagedRestore(volume(pod), RESTORE).previous)
    live = live_files(data)
    kind, message = failure(pod.swap(data, "back"))
    assert kind == "RestoreFailed"
    assert "Nothing was changed" in message
    assert live_files(data) == live


def test_back_of_what_was_only_staged(pod: Pod, data: Path) -> None:
    old = live_files(data)
    assert "no journal" in failure(pod.swap(data, "back"))[1]
    pod.stage(data)
    assert swapped_to(pod, data, "back") == SwapState.STAGED
    assert live_files(data) == old


def test_late_swap_in_after_the_old_data_is_back(pod: Pod, data: Path) -> None:
    old = live_files(data)
    pod.stage(data)
    pod.swap(data, "in")
    pod.swap(data, "back")
    kind, message = failure(pod.swap(data, "in"))
    assert kind == "RestoreFailed"
    assert "'returned'" in message
    assert failure(pod.stage(data))[0] == "RestoreFailed"
    assert live_files(data) == old


def test_nothing_is_overwritten(pod: Pod, data: Path) -> None:
    old = live_files(data)
    pod.stage(data)
    for nth in crashes(pod, lambda: pod.swap(data, "in"), copy(pod, "staged")):
        if state_of(pod) == SwapState.IN and not (data / "mysql").exists():
            assert nth
            break
    (data / "mysql").mkdir()  # os.rename would replace an empty directory
    kind, message = failure(pod.swap(data, "in"))
    assert kind == "RestoreFailed"
    assert "'mysql'" in message
    assert (StagedRestore(volume(pod), RESTORE).staged / "mysql" / "t.ibd").exists()
    (data / "mysql").rmdir()
    assert swapped_to(pod, data, "in") == SwapState.SWAPPED
    (StagedRestore(volume(pod), RESTORE).staged / "ibdata1").write_bytes(b"in the way")
    kind, message = failure(pod.swap(data, "back"))
    assert kind == "RestoreFailed"
    assert "'ibdata1'" in message
    assert (data / "ibdata1").read_bytes() == b"backup"
    (StagedRestore(volume(pod), RESTORE).staged / "ibdata1").unlink()
    assert swapped_to(pod, data, "back") == SwapState.RETURNED
    assert live_files(data) == old


def test_journal_that_cannot_be_read(pod: Pod, data: Path) -> None:
    pod.stage(data)
    pod.swap(data, "in")
    (volume(pod) / HIDDEN / "galera-restore_1" / "journal.json").write_text("{")
    for direction in ("in", "back"):
        assert failure(pod.swap(data, direction))[0] == "RestoreFailed"
    kind, message = failure(pod.tidy(data))
    assert kind == "RestoreFailed"
    assert "holds old data" in message
    shutil.rmtree(volume(pod) / HIDDEN / "galera-restore_1" / "previous")
    works(pod.tidy(data))
    assert not (volume(pod) / HIDDEN).exists()
