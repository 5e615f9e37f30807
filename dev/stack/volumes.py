"""Real volumes: sparse ext4 image files, mounted through loop devices. A volume can so become really full."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.stack import paths, settings
from dev.stack.console import StackError, run, say, succeeds

_GIB = 1 << 30


@dataclass(frozen=True)
class Volume:
    """One claim of the namespace and the file system behind it."""

    claim: str
    default_gib: int

    @property
    def file(self) -> Path:
        return paths.VOLUME_FILES / f"{self.claim}.ext4"

    @property
    def mount(self) -> Path:
        return paths.VOLUME_MOUNTS / self.claim

    @property
    def gib(self) -> int:
        """Size of the existing file: a volume keeps the size that it was made with."""
        return self.file.stat().st_size // _GIB if self.file.exists() else self.default_gib


def data_volumes(gib: int = settings.DATA_VOLUME_GIB) -> list[Volume]:
    return [Volume(f"mysql-data-{settings.STATEFULSET}-{ordinal}", gib) for ordinal in range(settings.REPLICAS)]


def all_volumes(data_gib: int = settings.DATA_VOLUME_GIB, backup_gib: int = settings.BACKUP_VOLUME_GIB) -> list[Volume]:
    return [*data_volumes(data_gib), Volume(settings.BACKUP_CLAIM, backup_gib)]


def up(volumes: Iterable[Volume]) -> None:
    """Make missing file systems and mount all of them."""
    for volume in volumes:
        if not volume.file.exists():
            _make(volume)
        volume.mount.mkdir(parents=True, exist_ok=True)
        if not os.path.ismount(volume.mount):
            with _one_at_a_time():
                _loop_device_available()
                run("volumes", ["mount", "-o", "loop", str(volume.file), str(volume.mount)])


def _make(volume: Volume) -> None:
    say("volumes", f"making {volume.claim} ({volume.gib} GiB, sparse)")
    volume.file.parent.mkdir(parents=True, exist_ok=True)
    new = volume.file.with_suffix(".new")
    with new.open("wb") as file:
        file.truncate(volume.gib * _GIB)
    # Blocks are discarded instead of written, and none is reserved for root: the size is what a pod can use.
    run("volumes", ["mkfs.ext4", "-q", "-F", "-m", "0", "-L", volume.claim[:16], str(new)])
    new.replace(volume.file)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two that take the next free loop device take the same one."""
    with (paths.STATE / "loop.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _loop_device_available() -> None:
    """Where no device manager makes /dev/loopN, make the one that the kernel offers."""
    free = run("volumes", ["losetup", "-f"]).strip()
    if not Path(free).exists() and not succeeds(["mknod", free, "b", "7", free.removeprefix("/dev/loop")]):
        raise StackError("volumes", f"loop device {free!r} does not exist and cannot be made")


def down() -> None:
    """Unmount everything below our mounts, and the copies that pods were given."""
    for mount in sorted(_mounts_below(paths.STATE), key=len, reverse=True):
        if not succeeds(["umount", mount]):
            succeeds(["umount", "-l", mount])


def purge() -> None:
    shutil.rmtree(paths.VOLUME_FILES, ignore_errors=True)
    shutil.rmtree(paths.VOLUME_MOUNTS, ignore_errors=True)


def _mounts_below(folder: Path) -> list[str]:
    """Mount points below a folder, from the kernel's list (which writes a blank as \\040)."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    decoded = (point.encode().decode("unicode_escape") for point in points)
    return [point for point in decoded if point.startswith(f"{folder}/")]
