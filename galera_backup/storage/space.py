"""How much room a volume has. KB are 1024 bytes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers that mean: the volume is full."""


def free_kb(path: Path) -> int:
    """What an ordinary user may still write to the volume."""
    volume = os.statvfs(path)
    return volume.f_bavail * volume.f_frsize // 1024


def total_kb(path: Path) -> int:
    """Size of the volume."""
    volume = os.statvfs(path)
    return volume.f_blocks * volume.f_frsize // 1024
