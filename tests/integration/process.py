"""Processes inside of pods, seen from the node: found by their arguments, frozen, killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dev.stack import paths, processes, settings
from tests.integration.galera import NAMESPACE, volume_of
from tests.support.eventually import eventually

BACKUP = ("mariadb-backup", "--backup", "--extra-lsndir=/run/galera-backup/lsn")
"""mariadb-backup of a runner; a state transfer between replicas has other options."""
PREPARE = ("mariadb-backup", "--prepare", "--tmpdir=/run/galera-backup/tmp")


_OF_THE_CLUSTER = {f"DISCOVERY=mariadb-discovery.{NAMESPACE}.svc.cluster.local".encode()}
"""What tells the cluster's servers from those of other clusters on the same node."""


def find(program: str, *arguments: str) -> int | None:
    """Pid of the process of a runner pod that runs this program with these arguments among others."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):
            argv = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if os.path.basename(argv[0]) == program and set(arguments) <= set(argv) and _has_backup_volume(folder):
                return int(folder.name)
    return None


def _has_backup_volume(process: Path) -> bool:
    """Whether it is in a runner pod of this cluster: those of others mount another volume."""
    device = os.stat(volume_of(settings.BACKUP_CLAIM)).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    return any(line.split()[2] == wanted for line in (process / "mountinfo").read_text().splitlines())


def server_of(pod: str) -> int:
    """Pid of mariadbd in a pod of the cluster."""
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if (
                folder.name.isdigit()
                and (folder / "comm").read_text().strip() == "mariadbd"
                and _OF_THE_CLUSTER | {f"POD_NAME={pod}".encode()}
                <= set((folder / "environ").read_bytes().split(b"\0"))
            ):
                return int(folder.name)
    raise AssertionError(f"no mariadbd runs in {pod}")


def state_transfer_of(donor: str) -> int | None:
    """Pid of the mariadb-backup that copies a replica's data for another one."""
    inside = os.readlink(f"/proc/{server_of(donor)}/ns/pid")
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            argv = (folder / "cmdline").read_bytes().split(b"\0") if folder.name.isdigit() else []
            if b"--backup" in argv and os.readlink(folder / "ns" / "pid") == inside:
                return int(folder.name)
    return None


def kill(pid: int) -> None:
    """End a process as the kernel's out-of-memory killer does, and wait until nobody can find it again."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not processes.has_ended(pid):
        assert time.monotonic() < deadline, f"expected process {pid} to end within 10 s of SIGKILL"
        time.sleep(0.005)


def kill_container_of(pid: int) -> None:
    """End the first process of the container in which this one runs, and so all of it."""
    namespace = os.readlink(f"/proc/{pid}/ns/pid")
    while os.readlink(f"/proc/{(parent := _parent(pid))}/ns/pid") == namespace:
        pid = parent
    kill(pid)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kill_part(name: str) -> None:
    """Kill a part of the stack."""
    subprocess.run([paths.DEV / "down", "--only", name, "--kill"], check=True, capture_output=True, timeout=60)


def start_part(name: str) -> None:
    """Start it again, and wait until it answers."""
    subprocess.run([paths.DEV / "up", "--only", name], check=True, capture_output=True, timeout=120)


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    await eventually(lambda: not Path(f"/proc/{pid}").exists(), 60, f"process {pid} ends")


_frozen: set[int] = set()


def thaw_all() -> None:
    """Let everything go on that a test has stopped."""
    for pid in _frozen:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    _frozen.clear()


def freeze(pid: int) -> None:
    """Stop a process as a hanging machine does."""
    _frozen.add(pid)
    os.kill(pid, signal.SIGSTOP)


def _written(folder: Path, pattern: str) -> bool:
    return any(path.stat().st_size for path in folder.glob(pattern))


class Frozen:
    """A process that was caught at its start and does not go on; a test has all the time in the world now."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @classmethod
    async def catch(cls, program: str, *arguments: str, within: float = 90) -> Frozen:
        """Wait for the process and stop it."""
        what = f"a process {program} {' '.join(arguments)}"
        pid = await eventually(lambda: find(program, *arguments), within, what, every=0.02)
        assert pid is not None
        return cls.at(pid)

    @classmethod
    def at(cls, pid: int) -> Frozen:
        """Stop this process."""
        freeze(pid)
        return cls(pid)

    async def move_until(self, folder: Path, pattern: str, within: float = 60) -> None:
        """Let it go on in small steps until a file of this pattern has something in it."""
        await self.step_until(lambda: _written(folder, pattern), f"{pattern!r} in {folder}", within)

    async def step_until(self, look: Callable[[], bool], what: str, within: float = 60, step: float = 0.01) -> None:
        """Let it go on in small steps, of `step` seconds, until `look` says that it is where it shall stand."""
        deadline = time.monotonic() + within
        while not look():
            assert time.monotonic() < deadline, f"expected {what} within {within:.0f} s"
            self.go_on()
            await asyncio.sleep(step)
            os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it."""
        kill(self.pid)
