"""What the commands tell a person: progress lines, and failures that name the part and show its log."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_STARTED = time.monotonic()
_LOG_LINES = 20


class StackError(Exception):
    """A part of the stack failed: which one, what was being done, and where its log is."""

    def __init__(self, part: str, message: str, log: Path | None = None) -> None:
        super().__init__(f"{part}: {message}")
        self.part = part
        self.log = log


def say(part: str, message: str) -> None:
    """One progress line with the time since the command started, on stderr: stdout belongs to results."""
    minutes, seconds = divmod(int(time.monotonic() - _STARTED), 60)
    print(f"{minutes:3d}:{seconds:02d}  {part:<24} {message}", file=sys.stderr, flush=True)


def show(error: StackError) -> None:
    """Print a failure with the end of the log of its part."""
    print(f"\nFAILED  {error}", file=sys.stderr)
    if error.log is not None and error.log.exists():
        print(f"        the end of {error.log}:", file=sys.stderr)
        for line in tail(error.log, _LOG_LINES):
            print(f"        | {line}", file=sys.stderr)


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log that may be large."""
    window = 65536
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - window))
        return file.read().decode(errors="replace").splitlines()[-lines:]


def run(part: str, argv: Sequence[str], *, stdin: str | None = None, timeout: float = 120) -> str:
    """Run a short command and return its stdout; a failure carries the command's own words."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise StackError(part, f"program {argv[0]!r} not found") from error
    except subprocess.TimeoutExpired as error:
        raise StackError(part, f"{' '.join(argv[:6])!r} did not end within {timeout:.0f} s") from error
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise StackError(part, f"{' '.join(argv[:6])!r} ended with {done.returncode}: {words}")
    return done.stdout


def succeeds(argv: Sequence[str], timeout: float = 60) -> bool:
    """Whether a command exists and exits 0."""
    try:
        return subprocess.run(argv, capture_output=True, timeout=timeout, check=False).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
