"""Where state and builds live: outside the checkout, so that every checkout of this machine shares them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
DEV = CHECKOUT / "dev"


def _xdg(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default) / "galera-backup"


STATE = _xdg("XDG_STATE_HOME", ".local/state")
CACHE = _xdg("XDG_CACHE_HOME", ".cache")

LOGS = STATE / "logs"
RECORDS = STATE / "run"
CONFIG = STATE / "config"
PKI = STATE / "pki"
BIN = STATE / "bin"
ETCD_DATA = STATE / "etcd"
KUBELET_ROOT = STATE / "kubelet"
POD_LOGS = STATE / "pod-logs"
CONTAINERD_ROOT = STATE / "containerd"
CONTAINERD_STATE = STATE / "containerd-run"
CONTAINERD_SOCKET = STATE / "containerd.sock"
CNI_DATA = STATE / "cni"
VOLUME_FILES = STATE / "volumes"
VOLUME_MOUNTS = STATE / "mounts"
KUBECONFIG = CONFIG / "admin.kubeconfig"
LOCK = STATE / "lock"

PROGRAMS = CACHE / "programs"
LAYERS = CACHE / "layers"


_MEMORY = Path("/dev/shm")


def in_memory(room: int) -> Path | None:
    """A folder in memory for files that live as long as a test, where it has room: a container may have 64 MiB."""
    return _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > room else None


def write_atomic(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a whole file or nothing, with its mode from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        file.write(text)
    new.chmod(mode)
    new.replace(path)
