"""Faults of what a restore has staged, and of its renames."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from galera_backup.models.volumes import STAGED_RESTORES
from tests.chaos.fault import Run, fault, stages, swaps, verifies
from tests.chaos.faults.runner import ballast, runner_of, stopped
from tests.chaos.site import PODS, TARGET
from tests.support.eventually import eventually

SCARCE = 60 << 20
"""Bytes left on a data volume: less than half of what staging must leave there, and less than it would take."""


@fault("swap killed", fits=swaps)
async def swap_killed(run: Run) -> None:
    """The runner between two of its renames; another one goes on."""
    async with runner_of(run) as pod:
        await _kill_swap(run, pod.metadata.name, _some_rename(run))
    run.back()


@fault("swap killed each time", fits=swaps)
async def swap_killed_each_time(run: Run) -> None:
    """One claim of three fails for good."""
    async with runner_of(run) as pod:
        await _kill_swap(run, pod.metadata.name, _some_rename(run))
        await _kill_swap(run, f"{pod.metadata.name}-2", 2)
    run.back()


@fault("swap killed, both terminated", ends=("TERMINATED",), janitor=True, fits=swaps)
async def swap_and_both_terminated(run: Run) -> None:
    """The runner between two of its renames, with nobody left who would go on, or back."""
    async with runner_of(run) as pod:
        await _kill_swap(run, pod.metadata.name, _some_rename(run))
        await run.handle.terminate("by the harness")
        await run.lease().terminate("by the harness")
    run.back()


def _some_rename(run: Run) -> int:
    """Of the more than 20 that a swap of the harness's data makes, another one for each point."""
    return 2 + int(run.point.activity_id) * 5 % 17


async def _kill_swap(run: Run, pod: str, before: int) -> None:
    """SIGKILL as its main thread enters so many-th call of rename(2), that call not done: the journal's count, too."""
    site = run.lane.site
    pid = await eventually(lambda: asyncio.to_thread(site.pid_in, pod, "python3"), 60, f"{pod} runs", every=0.05)
    os.kill(pid, signal.SIGSTOP)  # until strace is there
    calls = "?rename,?renameat,?renameat2"
    with tempfile.NamedTemporaryFile("r") as trace:
        tracer = await asyncio.create_subprocess_exec(
            *("strace", "-p", str(pid), "-o", trace.name),
            *("-e", f"trace={calls}", "-e", f"inject={calls}:signal=KILL:when={before}"),
            stderr=subprocess.PIPE,
        )
        assert tracer.stderr is not None
        said = await asyncio.wait_for(tracer.stderr.readline(), 60)
        os.kill(pid, signal.SIGCONT)
        assert b"attached" in said, said
        await asyncio.wait_for(tracer.wait(), 60)
        seen = trace.read()
    assert "killed by SIGKILL" in seen, f"{pod} made no {before} renames:\n{seen}"
    run.notes.append(f"{pod.rpartition('z-')[2]}: killed before rename {before}")


@fault("staged data lost", fits=verifies, hits_server=True)
async def staged_lost(run: Run) -> None:
    """A replica gets a state transfer, and what was staged goes, as one by rsync removes it."""
    data = await _gets_a_state_transfer(run, then=lambda data: shutil.rmtree(data / STAGED_RESTORES))
    assert not (data / STAGED_RESTORES).exists(), "nobody has staged anew"
    run.back()
    await run.must_fail("RestoreFailed")


@fault("state transfer beside staged data", fits=verifies, hits_server=True)
async def state_transfer(run: Run) -> None:
    """A replica loses its state. mariabackup moves the old data away, but no name that ends with `.sst`."""
    data = await _gets_a_state_transfer(run, then=lambda data: None)
    if not any((data / STAGED_RESTORES).glob("*/journal.json")):
        run.violations.append("the state transfer has removed what was staged")
    run.back()


async def _gets_a_state_transfer(run: Run, then: Callable[[Path], None]) -> Path:
    """The target, until it is Ready again; `then`: while its server is down. Returns its data directory."""
    site = run.lane.site
    data = site.data_mounts[PODS.index(TARGET)]
    pid = await asyncio.to_thread(site.server_pid, TARGET)
    assert pid is not None, f"{TARGET} does not run"
    before = (data / "ibdata1").stat().st_ino
    os.kill(pid, signal.SIGKILL)
    (data / "grastate.dat").unlink()
    then(data)

    def transferred() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return (data / "ibdata1").stat().st_ino != before
        return False

    await eventually(transferred, 90, "a state transfer has replaced the data")
    await eventually(lambda: asyncio.to_thread(site.is_ready, TARGET), 90, f"{TARGET} is Ready again")
    return data


@fault("data volume full", fits=stages)
async def data_volume_full(run: Run) -> None:
    """Something else fills it while it is unpacked to: what is left is for the server."""
    async with runner_of(run) as pod:
        pid = await stopped(run, "mbstream", pod.metadata.name)
    volume = run.lane.site.data_mounts[run.point.ordinal]
    with ballast(volume, leave=SCARCE):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        run.back()
        least = shutil.disk_usage(volume).free
        settled = asyncio.ensure_future(run.settled())
        while not settled.done():
            least = min(least, shutil.disk_usage(volume).free)
            await asyncio.wait([settled], timeout=0.05)
        settled.result()
    await run.must_fail("NotEnoughSpace")
    run.notes.append(f"at least {least >> 20} MiB stayed free")
    if least < SCARCE / 2:
        run.violations.append(f"{least >> 20} MiB were left for the server of {SCARCE >> 20} MiB")
