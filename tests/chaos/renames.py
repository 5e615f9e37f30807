"""Kill a swap between two of its renames: `python -m tests.chaos.renames <pid> <data volume> <state> <renames>`.

A process of its own, because it looks without a pause. It sends SIGKILL to `pid` when the journal on the volume says
`state` (a `SwapState`), and at least so many renames are done since then but not the last one; it prints how far the
swap was. Exit code 1: it was over before, or never came so far.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from galera_backup.models.runner import SwapState

_WITHIN = 60.0
_STEP = 0.0001
"""Seconds for which the swap goes on between two looks at it."""
_STAYS = {".galera-backup", "lost+found"}


def main() -> None:
    """Wait, step, kill."""
    pid, volume, state, renames = int(sys.argv[1]), Path(sys.argv[2]), SwapState(sys.argv[3]), int(sys.argv[4])
    os.kill(pid, signal.SIGCONT)
    copies = _when_in(state, volume)
    os.kill(pid, signal.SIGSTOP)
    source, target = {
        SwapState.OUT: (volume, copies / "previous"),
        SwapState.IN: (copies / "staged", volume),
        SwapState.BACK_OUT: (volume, copies / "staged"),
        SwapState.BACK_IN: (copies / "previous", volume),
    }[state]
    before = _entries(target)
    while (moved := _entries(target) - before) < renames and _entries(source) > 1:
        os.kill(pid, signal.SIGCONT)
        time.sleep(_STEP)
        os.kill(pid, signal.SIGSTOP)
    left = _entries(source)
    os.kill(pid, signal.SIGKILL)
    if not left:
        sys.exit(f"too late: all {moved} entries were renamed in {state.value!r}")
    print(f"{state.value}: {moved} renamed, {left} left")


def _when_in(state: SwapState, volume: Path) -> Path:
    """The directory of the restore whose journal says so."""
    deadline = time.monotonic() + _WITHIN
    while time.monotonic() < deadline:
        for journal in volume.glob(".galera-backup/*/journal.json"):
            with suppress(FileNotFoundError):
                if json.loads(journal.read_bytes())["state"] == state:
                    return journal.parent
    sys.exit(f"no journal on {volume} says {state.value!r} within {_WITHIN:.0f} s")


def _entries(directory: Path) -> int:
    return len(set(os.listdir(directory)) - _STAYS)


if __name__ == "__main__":
    main()
