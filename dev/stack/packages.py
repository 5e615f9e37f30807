"""Debian packages that the stack needs and this machine lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.stack import paths
from dev.stack.console import StackError, say

# The program (or file) whose presence makes the package unnecessary.
_NEEDED = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "catatonit": "catatonit",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "iptables": "iptables",
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "losetup": "mount",
    "openssl": "openssl",
    "modprobe": "kmod",
    "faketime": "faketime",
    "strace": "strace",
}
CNI_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
_CNI_PLUGINS = ("bridge", "host-local", "loopback")
_POLICY = Path("/usr/sbin/policy-rc.d")


def cni_directory() -> Path | None:
    """The folder that has the CNI plugins we use."""
    return next((d for d in CNI_DIRECTORIES if all((d / plugin).exists() for plugin in _CNI_PLUGINS)), None)


def missing() -> list[str]:
    """Debian packages to install."""
    names = {package for program, package in _NEEDED.items() if shutil.which(program) is None}
    if cni_directory() is None:
        names.add("containernetworking-plugins")
    return sorted(names - {"kmod"} if Path("/proc/sys/net/bridge").exists() else names)


def install(names: list[str]) -> None:
    """Install packages without starting the services that they bring."""
    if shutil.which("apt-get") is None:
        raise StackError("packages", f"not a Debian system; install what gives {', '.join(names)} and run this again")
    say("packages", f"installing {' '.join(names)}")
    log = paths.LOGS / "packages.log"
    with _services_stay_down(), log.open("ab") as output:
        # A machine that has just booted may be updating itself: wait for dpkg's lock.
        apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300"]
        for argv in ([*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", *names]):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            if subprocess.run(argv, stdout=output, stderr=output, env=environment, check=False).returncode:
                raise StackError("packages", f"{' '.join(argv)!r} failed", log)


@contextmanager
def _services_stay_down() -> Iterator[None]:
    if _POLICY.exists():
        yield
        return
    paths.write_atomic(_POLICY, "#!/bin/sh\nexit 101\n", 0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
