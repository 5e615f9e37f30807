"""Root file systems of Debian packages, as image layers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.stack import oci, paths, settings
from dev.stack.console import StackError

# Only what a person reads: the copyright files stay.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
_KEPT = ("/usr/share/doc/*/copyright",)


@dataclass(frozen=True)
class RootFs:
    """Debian packages plus shell steps: `before` the packages are installed and `after`; `$1` is the root folder."""

    name: str
    packages: Sequence[str]
    before: Sequence[str] = ()
    after: Sequence[str] = ()

    @property
    def path(self) -> Path:
        key = oci.content_hash((settings.DEBIAN_SUITE, *self.packages, "|", *self.before, "|", *self.after))
        return paths.LAYERS / f"{self.name}-{key[:12]}.tar"

    @property
    def built(self) -> bool:
        return self.path.exists()

    def build(self) -> None:
        """Make the file system; it appears in the cache only when it is whole."""
        paths.LAYERS.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f".{self.path.stem}.{os.getpid()}.new.tar")
        log = paths.LOGS / f"build-{self.name}.log"
        argv = [
            "mmdebstrap",
            "--variant=minbase",
            f"--include={','.join(self.packages)}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
            *(f"--dpkgopt=path-include={pattern}" for pattern in _KEPT),
            *(f"--essential-hook={step}" for step in self.before),
            *(f"--customize-hook={step}" for step in self.after),
            settings.DEBIAN_SUITE,
            str(new),
        ]
        try:
            with log.open("wb") as output:
                done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
            if done.returncode:
                raise StackError(self.name, f"mmdebstrap ended with {done.returncode}", log)
            new.replace(self.path)
        finally:
            new.unlink(missing_ok=True)
        oci.Layer.of(self.path)


_MYSQL = f"install -o {settings.MYSQL_UID} -g {settings.MYSQL_UID}"

MARIADB = RootFs(
    name="mariadb-base",
    packages=("mariadb-server", "mariadb-backup", "galera-4", "libdbd-mariadb-perl", "catatonit", "procps", "zstd"),
    before=(
        # Before the package makes the user itself: so its number is fixed.
        f'echo "mysql:x:{settings.MYSQL_UID}:" >> "$1/etc/group"',
        f'echo "mysql:x:{settings.MYSQL_UID}:{settings.MYSQL_UID}:MySQL Server:/nonexistent:/bin/false"'
        ' >> "$1/etc/passwd"',
    ),
    after=(
        'rm -rf "$1"/var/lib/mysql/* "$1"/var/log/mysql/* "$1"/run/mysqld',
        # Its syslog setting would send the state transfer's log to a syslog that a container does not have.
        'rm -f "$1/etc/mysql/mariadb.conf.d/50-mysqld_safe.cnf"',
        # The start script writes the pod's own settings here, as the user mysql.
        f'{_MYSQL} -m 0644 /dev/null "$1/etc/mysql/mariadb.conf.d/99-node.cnf"',
        f'{_MYSQL} -m 0755 -d "$1/run/mysqld"',
    ),
)
AGENT = RootFs(
    name="agent-base",
    packages=("python3", "ca-certificates"),
    before=(
        f'echo "agent:x:{settings.AGENT_UID}:" >> "$1/etc/group"',
        f'echo "agent:x:{settings.AGENT_UID}:{settings.AGENT_UID}:agent:/nonexistent:/bin/false" >> "$1/etc/passwd"',
    ),
)
ALL = (MARIADB, AGENT)
