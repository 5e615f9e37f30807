"""Up and down: the order of the parts, and one command at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dev.stack import (
    builds,
    certificates,
    cluster,
    containers,
    data,
    images,
    kubernetes,
    network,
    paths,
    processes,
    settings,
    temporal,
    volumes,
)
from dev.stack.console import StackError, say
from dev.stack.processes import Part

# In the order of starting; stopped in the opposite order.
PARTS: dict[str, Callable[[], Part]] = {
    "temporal": temporal.server,
    "etcd": kubernetes.etcd,
    "kube-apiserver": kubernetes.apiserver,
    "containerd": kubernetes.containerd,
    "kubelet": kubernetes.kubelet,
    "kube-controller-manager": kubernetes.controller_manager,
    "kube-scheduler": kubernetes.scheduler,
    "kube-proxy": kubernetes.proxy,
    "coredns": kubernetes.coredns,
}
# Before any pod may start: images are loaded between these and the rest.
_FIRST = ("temporal", "etcd", "kube-apiserver", "containerd")


@contextmanager
def exclusive() -> Iterator[None]:
    """One `dev/up` or `dev/down` at a time on this machine; the second waits."""
    paths.STATE.mkdir(parents=True, exist_ok=True)
    paths.STATE.chmod(0o711)  # pods of other users mount volumes below it; names in it are nobody's business
    with paths.LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("lock", "another dev/up or dev/down is at work: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(
    data_size: str | None = None,
    data_gib: int = settings.DATA_VOLUME_GIB,
    backup_gib: int = settings.BACKUP_VOLUME_GIB,
) -> None:
    """Bring the whole stack up, from whatever state this machine is in."""
    _must_be_root()
    with exclusive():
        builds.ensure_all()
        _clean_after_crash()
        certificates.ensure()
        network.up()
        all_volumes = volumes.all_volumes(data_gib, backup_gib)
        volumes.up(all_volumes)
        for name in _FIRST:
            processes.ensure(PARTS[name]())
        cluster.apply_foundation(all_volumes)
        mariadb = images.mariadb()
        for image in (images.pause(), mariadb, images.agent()):
            images.ensure_loaded(image)
        for name, part in PARTS.items():
            if name not in _FIRST:
                processes.ensure(part())
        cluster.wait_node_ready()
        cluster.apply_galera(mariadb.reference)
        cluster.wait_galera_ready()
        cluster.ensure_primary()
        cluster.ensure_backup_account()
        data.ensure(data_size)
    say("stack", f'up. For your shell: eval "$({paths.DEV / "env"})"')
    say("stack", f"Temporal UI: http://127.0.0.1:{settings.TEMPORAL_UI_PORT}")


def up_only(names: list[str]) -> None:
    """Start single parts of a stack that is otherwise up."""
    _must_be_root()
    with exclusive():
        for name in names:
            processes.ensure(PARTS[name]())


def down(*, purge: bool = False) -> None:
    """Stop what was started and remove what was made; volumes and builds stay unless purged."""
    _must_be_root()
    with exclusive():
        # First the kubelet: it would start again what is ended next.
        for name in ("kubelet", "kube-controller-manager", "kube-scheduler"):
            _stop(name)
        if processes.running("containerd"):
            say("containers", "stopping")
            containers.stop_all()
        for name in reversed(PARTS):
            _stop(name)
        _end_leftovers()
        volumes.down()
        containers.forget_runtime_state()
        network.down()
        network.forget_addresses()
        _remove_cgroups()
        if purge:
            _purge()
    say("stack", "down, and its data removed" if purge else "down; its data is kept (dev/down --purge removes it)")


def down_only(names: list[str], *, kill: bool = False) -> None:
    """Stop single parts and leave the rest running."""
    _must_be_root()
    with exclusive():
        for name in names:
            if not processes.stop(name, kill=kill):
                say(name, "was not running")


def _stop(name: str) -> None:
    if processes.stop(name):
        say(name, "stopped")


def _clean_after_crash() -> None:
    """Where all was killed or the machine was restarted, end what containers left behind and forget their state."""
    if processes.running("containerd") or any(_is_shim(process) for process in _processes()):
        return  # a containerd that alone has died takes its containers up again
    if _end_leftovers():
        say("containers", "ended what a killed stack had left running")
    containers.forget_runtime_state()


def _end_leftovers() -> bool:
    """Kill shims and container processes whose containerd is gone: they hold volumes and addresses."""
    ours = [process for process in _processes() if _is_shim(process) or _is_contained(process)]
    for process in ours:
        with suppress(ProcessLookupError):
            os.kill(int(process.name), signal.SIGKILL)
    return bool(ours)


def _processes() -> Iterator[Path]:
    return Path("/proc").glob("[0-9]*")


def _is_shim(process: Path) -> bool:
    """Whether a process is a shim of our containerd, by the socket that it was given."""
    try:
        arguments = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"containerd-shim" in arguments[0] and str(paths.CONTAINERD_SOCKET).encode() in arguments


def _is_contained(process: Path) -> bool:
    """Whether a process runs on a root file system that our containerd mounted."""
    try:
        mounts = (process / "mountinfo").read_text()
    except OSError:
        return False
    root = next((line for line in mounts.splitlines() if line.split()[4] == "/"), "")
    return f"upperdir={paths.CONTAINERD_ROOT}/" in root


def _remove_cgroups() -> None:
    for folder in [*Path("/sys/fs/cgroup").glob("kubepods"), *Path("/sys/fs/cgroup").glob("*/kubepods")]:
        for group in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
            _remove_cgroup(group)
        _remove_cgroup(folder)


def _remove_cgroup(group: Path) -> None:
    try:
        group.rmdir()
    except OSError as error:
        say("cgroups", f"{group} stays: {error.strerror}")


def _purge() -> None:
    volumes.purge()
    for entry in paths.STATE.iterdir():
        if entry in (paths.LOCK, paths.LOGS):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _must_be_root() -> None:
    if os.geteuid() != 0:
        raise StackError("stack", "must be run as root: it mounts volumes and starts containers")
