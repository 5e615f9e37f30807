"""Everything that is built before the stack can start.

In two lanes: one compiles, and the other installs packages, which is waiting for the network and the disk for the most.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from dev.stack import debian, environment, packages, paths, programs
from dev.stack.console import StackError, say

_LANES = 2
_HEARTBEAT_SECONDS = 30
_LEFTOVER_SECONDS = 3600


@dataclass(frozen=True)
class Job:
    name: str
    run: Callable[[], object]


def ensure_all() -> None:
    """Install missing packages, then build missing programs and root file systems."""
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    _remove_leftovers()
    names = packages.missing()
    if names:
        packages.install(names)
    to_build = programs.missing()
    jobs = [Job(programs.BUILD, partial(programs.build, to_build))] if to_build else []
    if not environment.made():
        jobs.append(Job("python", environment.ensure))
    jobs += [Job(root.name, root.build) for root in debian.ALL if not root.built]
    if jobs:
        _run(jobs)
    programs.link_all()


def _remove_leftovers() -> None:
    """Remove what killed builds left, old enough to belong to none that still runs."""
    for leftover in [*paths.PROGRAMS.glob(".*.new"), *paths.LAYERS.glob(".*.new.tar"), *paths.LAYERS.glob("*.new")]:
        if time.time() - leftover.stat().st_mtime > _LEFTOVER_SECONDS:
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _run(jobs: list[Job]) -> None:
    queue = list(enumerate(jobs, start=1))
    running: dict[str, float] = {}
    lock = threading.Lock()
    failed = threading.Event()

    def lane() -> None:
        while not failed.is_set():
            with lock:
                if not queue:
                    return
                number, job = queue.pop(0)
                running[job.name] = started = time.monotonic()
            say(job.name, f"building ({number} of {len(jobs)})")
            try:
                job.run()
            except BaseException:
                failed.set()
                raise
            finally:
                with lock:
                    del running[job.name]
            say(job.name, f"built in {time.monotonic() - started:.0f} s")

    with ThreadPoolExecutor(_LANES) as pool:
        lanes = [pool.submit(lane) for _ in range(_LANES)]
        last = time.monotonic()
        while not all(future.done() for future in lanes):
            time.sleep(0.2)
            if time.monotonic() - last > _HEARTBEAT_SECONDS:
                last = time.monotonic()
                say("building", ", ".join(f"{name} ({last - since:.0f} s)" for name, since in dict(running).items()))
        errors = [future.exception() for future in lanes]
    for error in errors:
        if isinstance(error, StackError):
            raise error
        if error is not None:
            raise StackError("building", repr(error)) from error
