"""A runner pod in temporary directories: the real script under `sh`, the real agent, stand-ins for MariaDB's tools."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from galera_backup.failure import AgentError
from galera_backup.models.common import ClusterRef, Model
from galera_backup.models.jobs import (
    BackupJob,
    CheckJob,
    DiscardJob,
    PruneJob,
    RestoreJob,
    StageJob,
    SwapJob,
    TidyJob,
    UnpackJob,
)
from galera_backup.models.manifest import Manifest
from galera_backup.models.passwords import PasswordMode
from galera_backup.models.reports import (
    CheckReport,
    Done,
    PruneReport,
    RestoreReport,
    StageReport,
    SwapReport,
    UnpackReport,
)
from galera_backup.models.runner import Job, RunnerResult
from galera_backup.runner import agent, scripts
from galera_backup.runner.container import dismiss
from galera_backup.runner.places import Places

Report = TypeVar("Report", bound=Model)
CLUSTER = ClusterRef(namespace="openstack", statefulset="mariadb-server")
BACKUP_ID = "20261122T010000Z-full"
UUID = "0979c94d-e6ee-11f1-b6f6-93a976a0f1fb"

MARIADB_BACKUP = r"""#!/bin/sh
echo "$@" >> "$FAKE/arguments"
env > "$FAKE/environment"
nice > "$FAKE/niceness"
for argument; do
    case $argument in
        --defaults-file=*) cp -p "${argument#*=}" "$FAKE/client.cnf" ;;
        --datadir=*) datadir=${argument#*=} ;;
        --extra-lsndir=*) lsn=${argument#*=} ;;
        --target-dir=*) target=${argument#*=} ;;
    esac
done
case $* in
    *--version*)
        echo "mariadb-backup based on MariaDB server ${FAKE_VERSION:-10.11.19}-MariaDB debian-linux-gnu (x86_64)" >&2
        ;;
    *--backup*)
        echo "Connecting to MariaDB server" >&2
        printf '%s 100' "$FAKE_POSITION" > "$FAKE/metadata/xtrabackup_galera_info"
        [ "$FAKE_FAULT" != no_position ] || rm "$FAKE/metadata/xtrabackup_galera_info"
        pack "$datadir" "$FAKE/metadata" > "$FAKE/stream"
        case $FAKE_FAULT in
            killed) head -c 5000 "$FAKE/stream"; kill -9 $$ ;;
            container_killed) head -c 5000 "$FAKE/stream"; kill -9 $PPID; exit 1 ;;
            status) head -c 5000 "$FAKE/stream"; echo "failed to execute query BACKUP LOCK" >&2; exit 1 ;;
            hangs) head -c 5000 "$FAKE/stream"; echo $$ > "$FAKE/pid"; exec sleep 60 ;;
        esac
        cat "$FAKE/stream"
        last=577120878
        [ "$FAKE_FAULT" = lsn ] && last=1
        if [ "$FAKE_FAULT" != no_checkpoints ]; then
            printf 'backup_type = full-backuped\nfrom_lsn = 0\nto_lsn = 511392902\nlast_lsn = %s\n' $last \
                > "$lsn/${FAKE_PREFIX:-xtrabackup_}checkpoints"
            server=10.11.19-MariaDB-0+deb12u1-log
            printf 'tool_version = %s-MariaDB\nserver_version = %s\n' "${FAKE_VERSION:-10.11.19}" "$server" \
                > "$lsn/${FAKE_PREFIX:-xtrabackup_}info"
        fi
        [ "$FAKE_FAULT" = not_ok ] || echo "[00] 2026-11-23 03:29:27 completed OK!" >&2
        ;;
    *--prepare*)
        [ "$FAKE_FAULT" = prepare ] && { echo "InnoDB: corrupted" >&2; exit 1; }
        echo "applied" > "$target/ib_logfile0"
        [ "$FAKE_FAULT" = unprepared ] || echo "backup_type = log-applied" > "$target/xtrabackup_checkpoints"
        printf '%s 0' "${FAKE_RECOVERED:-$FAKE_POSITION}" > "$target/xtrabackup_galera_info"
        echo "[00] 2026-11-23 03:29:27 completed OK!" >&2
        ;;
esac
"""

CLIENT = r"""#!/bin/sh
echo "$@" > "$FAKE/client_arguments"
[ "$FAKE_FAULT" != log_in ] || { echo "ERROR 1045 (28000): Access denied for user 'backup'@'10.1.0.9'" >&2; exit 1; }
"""

MBSTREAM = r"""#!/bin/sh
while [ "$1" != -C ]; do shift; done
case $FAKE_FAULT in
    mbstream) head -c 2000 > /dev/null; echo "mbstream: No space left on device" >&2; exit 1 ;;
    mbstream_late) unpack "$2"; exit 1 ;;
esac
exec unpack "$2"
"""

PACK = f"""#!{sys.executable} -SE
import pathlib, struct, sys

def chunk(kind, path):
    return struct.pack("<8sBcI", b"XBSTCK01", 0, kind, len(path)) + path

for directory in map(pathlib.Path, sys.argv[1:]):
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.name in ("galera.cache", "gvwstate.dat"):
            continue
        name, content = str(path.relative_to(directory)).encode(), path.read_bytes()
        sys.stdout.buffer.write(chunk(b"P", name) + struct.pack("<QQI", len(content), 0, 0) + content)
        sys.stdout.buffer.write(chunk(b"E", name))
"""
"""The directories' files as an mbstream."""

UNPACK = f"""#!{sys.executable} -SE
import pathlib, struct, sys

stream, target = sys.stdin.buffer, pathlib.Path(sys.argv[1])
while head := stream.read(14):
    _, _, kind, length = struct.unpack("<8sBcI", head)
    path = target / stream.read(length).decode()
    path.parent.mkdir(parents=True, exist_ok=True)
    size = struct.unpack("<QQI", stream.read(20))[0] if kind == b"P" else 0
    with path.open("ab") as file:
        file.write(stream.read(size))
"""

MARIADBD = r"""#!/bin/sh
echo "$@" >> "$FAKE/server_arguments"
for argument; do
    case $argument in
        --init-file=*) cp -p "${argument#*=}" "$FAKE/init.sql" ;;
        --datadir=*) datadir=${argument#*=} ;;
    esac
done
case $FAKE_FAULT in
    server) echo "[ERROR] Aborting" >&2; exit 1 ;;
    server_half) exit 0 ;;
    server_innodb) echo changed >> "$datadir/ibdata1" ;;
esac
printf '%b' "${FAKE_REPORT:-asked 6261636B7570\nsame 6261636B7570 25\nend}" > "$WORK/passwords.report"
"""


@dataclass
class Pod:
    """One runner pod after the other, on the same volumes."""

    root: Path
    data: Path
    fake: Path
    environment: dict[str, str]
    runs: int = 0
    script_status: int | None = None
    script_log: str = ""
    patience: timedelta = timedelta(seconds=20)
    work: Path = field(default_factory=Path)
    volume: Path | None = None
    """The whole data volume, where that is more than the data directory."""
    mariadb_starts: bool = True
    site: str = "site-1"
    claim: str = ""
    server: tuple[str, int] | None = None
    """Where the replica's server listens."""

    @property
    def cluster_directory(self) -> Path:
        return self.root / CLUSTER.namespace / CLUSTER.statefulset

    def directory(self, backup_id: str = BACKUP_ID) -> Path:
        return self.cluster_directory / backup_id

    def places(self, data: Path | None = None) -> Places:
        """The mounts of a new pod."""
        self.runs += 1
        self.work = self.root.parent / f"work-{self.runs}"
        self.work.mkdir()
        data = data or self.data
        return Places(
            backup_root=self.root,
            data_directory=data,
            volume=self.volume or data,
            work=self.work,
            termination_log=self.work / "answer",
            start_timeout=self.patience,
            progress_every=timedelta(0),
            server=self.server,
            claim=self.claim,
            site=self.site,
        )

    def script_environment(self, data: Path, **changes: str) -> dict[str, str]:
        return self.environment | {"WORK": str(self.work), "DATADIR": str(data)} | changes

    def start_script(self, script: str, data: Path | None = None, **changes: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["/bin/sh", "-c", script],
            env=self.script_environment(data or self.data, **changes),
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, job: Job[Report], data: Path | None = None, **changes: str) -> RunnerResult[Report]:
        """Both containers to their end; the agent's error comes out as its result does."""
        places = self.places(data)
        parts = job.needs.script
        process = None
        if parts and self.mariadb_starts:
            process = self.start_script(scripts.program(*parts), data, **changes)
        try:
            return RunnerResult(report=agent.run(job, places))
        except AgentError as error:
            return RunnerResult(error=error.error)
        finally:
            dismiss(places.work)
            if process:
                _, self.script_log = process.communicate(timeout=20)
                self.script_status = process.returncode

    def backup(
        self, backup_id: str = BACKUP_ID, lease: str = "lease-1", ratio: float = 0.01, **changes: str
    ) -> RunnerResult[Manifest]:
        return self.run(self.backup_job(backup_id, lease, ratio), None, **changes)

    @staticmethod
    def backup_job(backup_id: str = BACKUP_ID, lease: str = "lease-1", ratio: float = 0.01) -> BackupJob:
        job = BackupJob(
            cluster=CLUSTER,
            backup_id=backup_id,
            replica="mariadb-server-2",
            node="node-3",
            claim="mysql-data-mariadb-server-2",
            claim_uid="uid-2",
            lease_run=lease,
        )
        # More than a request may ask for, where the disk of this machine shall be too small for some KB.
        return job.model_copy(update={"required_space_ratio": ratio})

    def check(
        self, backup_id: str | None = BACKUP_ID, data: Path | None = None, **changes: str
    ) -> RunnerResult[CheckReport]:
        job = CheckJob(cluster=CLUSTER, backup_id=backup_id)
        return self.run(job, data, **changes)

    def restore(
        self, data: Path, ordinal: int = 0, last: bool = False, restore_id: str = "galera-restore/1", **changes: str
    ) -> RunnerResult[RestoreReport]:
        job = RestoreJob(
            cluster=CLUSTER,
            backup_id=BACKUP_ID,
            restore_id=restore_id,
            ordinal=ordinal,
            last=last,
            safe_to_bootstrap=ordinal == 0,
        )
        return self.run(job, data, **changes)

    def unpack(self, restore_id: str = "galera-restore/1", **changes: str) -> RunnerResult[UnpackReport]:
        job = UnpackJob(cluster=CLUSTER, backup_id=BACKUP_ID, restore_id=restore_id)
        return self.run(job, None, **changes)

    def discard(self, keep: str | None = None) -> RunnerResult[Done]:
        return self.run(DiscardJob(cluster=CLUSTER, keep=keep))

    def stage(
        self,
        data: Path,
        ordinal: int = 0,
        restore_id: str = "galera-restore/1",
        passwords: PasswordMode = "compare",
        **changes: str,
    ) -> RunnerResult[StageReport]:
        job = StageJob(
            cluster=CLUSTER,
            backup_id=BACKUP_ID,
            restore_id=restore_id,
            safe_to_bootstrap=ordinal == 0,
            passwords=passwords,
        )
        return self.run(job, data, **changes)

    def swap(
        self, data: Path, direction: Literal["in", "back"], restore_id: str = "galera-restore/1"
    ) -> RunnerResult[SwapReport]:
        return self.run(SwapJob(cluster=CLUSTER, restore_id=restore_id, direction=direction), data)

    def tidy(self, data: Path, keep: str | None = None) -> RunnerResult[Done]:
        return self.run(TidyJob(cluster=CLUSTER, keep=keep), data)

    def prune(self, keep: int, own: str = "20261201T000000Z-full") -> RunnerResult[PruneReport]:
        """`own`: later than all others, if not told otherwise."""
        return self.run(PruneJob(cluster=CLUSTER, keep=keep, own=own))

    def ids(self) -> list[str]:
        """Names that a listing of the cluster's directory shows."""
        return sorted(path.name for path in self.cluster_directory.iterdir() if not path.name.startswith("."))


def make_pod(tmp_path: Path) -> Pod:
    """Empty backup volume, a live data directory, tools on PATH."""
    fake, data, credentials = tmp_path / "fake", tmp_path / "data", tmp_path / "credentials"
    for directory in (
        fake / "bin",
        fake / "metadata",
        data / "nova",
        data / "mysql",
        credentials,
        tmp_path / "backups",
        tmp_path / "accounts" / "0",
    ):
        directory.mkdir(parents=True)
    tools = {
        "mariadb-backup": MARIADB_BACKUP,
        "mariadb": CLIENT,
        "mbstream": MBSTREAM,
        "mariadbd": MARIADBD,
        "pack": PACK,
        "unpack": UNPACK,
    }
    for name, text in tools.items():
        (fake / "bin" / name).write_text(text)
        (fake / "bin" / name).chmod(0o755)
    (fake / "metadata" / "xtrabackup_checkpoints").write_text("backup_type = full-backuped\n")
    (fake / "metadata" / "xtrabackup_galera_info").write_text(f"{UUID}:18 100")
    (fake / "metadata" / "backup-my.cnf").write_text("[mysqld]\n")
    provider = fake / "image" / "opt" / "lib" / "libgalera_smm.so"
    provider.parent.mkdir(parents=True)
    provider.touch()
    (data / "nova" / "instances.ibd").write_bytes(os.urandom(3_000_000))
    (data / "nova" / "zeros.ibd").write_bytes(bytes(5_000_000))
    (data / "mysql" / "global_priv.MAD").write_bytes(os.urandom(8192))
    (data / "ibdata1").write_bytes(os.urandom(100_000))
    (data / "galera.cache").write_bytes(os.urandom(500_000))
    (data / "gvwstate.dat").write_text("my_uuid: x\n")
    (credentials / "username").write_text("backup")
    (credentials / "password").write_text("secret-word")
    (tmp_path / "accounts" / "0" / "username").write_text("backup")
    (tmp_path / "accounts" / "0" / "password").write_text("it's \"secret\\word")
    environment = {
        "PATH": f"{fake / 'bin'}:{os.environ['PATH']}",
        "FAKE": str(fake),
        "FAKE_FAULT": "",
        "FAKE_POSITION": f"{UUID}:18",
        "CREDENTIALS": str(credentials),
        "GALERA_BACKUP_IMAGE": str(fake / "image"),
        "ACCOUNTS": str(tmp_path / "accounts"),
        "MARIADB_HOST": "10.0.0.3",
        "MARIADB_PORT": "3306",
    }
    return Pod(root=tmp_path / "backups", data=data, fake=fake, environment=environment)


def content(directory: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def failure(result: RunnerResult[Any]) -> tuple[str, str]:
    """Type and message of a result that must be a failure."""
    assert result.error is not None
    return result.error.type, result.error.message


def age(directory: Path) -> None:
    """Nobody has written below it for long."""
    for path in (directory, *directory.rglob("*")):
        os.utime(path, (0, 0), follow_symlinks=False)
