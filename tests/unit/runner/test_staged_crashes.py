"""A staged restore on one data volume: from a crash anywhere it goes on, or back, and nothing is ever lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from galera_backup.models.volumes import SwapState
from tests.unit.runner.pod import Pod, failure
from tests.unit.runner.staged import (
    HIDDEN,
    copy,
    crashes,
    live_files,
    server_writes,
    state_of,
    swapped_to,
    volume,
    works,
)

pytestmark = pytest.mark.usefixtures("volume_size")


def test_crash_anywhere_in_a_swap_in(pod: Pod, data: Path) -> None:
    old = live_files(data)
    pod.stage(data)
    before = copy(pod, "staged")
    pod.swap(data, "in")
    expected = live_files(data)
    states = set()
    for nth in crashes(pod, lambda: pod.swap(data, "in"), before):
        states.add(state_of(pod))
        half = copy(pod, f"half-{nth}")
        assert swapped_to(pod, data, "in") == SwapState.SWAPPED
        assert live_files(data) == expected, nth
        shutil.rmtree(volume(pod))
        shutil.copytree(half, volume(pod))
        assert swapped_to(pod, data, "back") in (SwapState.STAGED, SwapState.RETURNED)
        assert live_files(data) == old, nth
        works(pod.tidy(data))
        assert not (volume(pod) / HIDDEN).exists()
    assert states == {SwapState.STAGED, SwapState.OUT, SwapState.IN}


def test_crash_anywhere_in_a_swap_back(pod: Pod, data: Path) -> None:
    old = live_files(data)
    pod.stage(data)
    pod.swap(data, "in")
    server_writes(data)
    restored = live_files(data)
    before = copy(pod, "swapped")
    states = set()
    for nth in crashes(pod, lambda: pod.swap(data, "back"), before):
        state = state_of(pod)
        states.add(state)
        if state == SwapState.SWAPPED:
            assert live_files(data) == restored
        else:
            assert failure(pod.swap(data, "in"))[0] == "RestoreFailed", "a late pod"
            assert failure(pod.stage(data))[0] == "RestoreFailed"
            assert failure(pod.tidy(data))[0] == "RestoreFailed"
        assert swapped_to(pod, data, "back") == SwapState.RETURNED
        assert live_files(data) == old, nth
    assert states == {SwapState.SWAPPED, SwapState.BACK_OUT, SwapState.BACK_IN}


@pytest.mark.parametrize("stop", range(4, 14, 3))
def test_crash_anywhere_in_a_swap_back_from_half_a_swap_in(pod: Pod, data: Path, stop: int) -> None:
    old = live_files(data)
    pod.stage(data)
    for nth in crashes(pod, lambda: pod.swap(data, "in"), copy(pod, "staged")):
        if nth == stop:
            break
    before = copy(pod, "half")
    assert state_of(pod) in (SwapState.OUT, SwapState.IN)
    for nth in crashes(pod, lambda: pod.swap(data, "back"), before):
        assert swapped_to(pod, data, "back") == SwapState.RETURNED
        assert live_files(data) == old, nth


@pytest.mark.parametrize("direction", ["none", "in", "back"])
def test_crash_anywhere_in_a_tidy(pod: Pod, data: Path, direction: str) -> None:
    pod.stage(data)
    if direction != "none":
        pod.swap(data, "in")
    if direction == "back":
        pod.swap(data, "back")
    live = live_files(data)
    for nth in crashes(pod, lambda: pod.tidy(data), copy(pod, "before")):
        half = copy(pod, f"half-{nth}")
        if not (volume(pod) / HIDDEN / "galera-restore_1").exists():
            assert failure(pod.swap(data, "in"))[0] == "RestoreFailed"
            assert failure(pod.swap(data, "back"))[0] == "RestoreFailed"
            assert live_files(data) == live
        shutil.rmtree(volume(pod))
        shutil.copytree(half, volume(pod))
        works(pod.tidy(data))
        assert live_files(data) == live
        assert not (volume(pod) / HIDDEN).exists()
