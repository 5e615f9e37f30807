"""Tables of a given size on every replica, and whether they and their copies fit on the volumes and the disk."""

from __future__ import annotations

import contextlib
import math
import shutil
import subprocess
import time
from dataclasses import dataclass

from benchmarks._load import REPLICAS, SCHEMA, WRITER, connection
from benchmarks._outage import JOURNAL
from dev.stack import paths, settings, volumes
from dev.stack.console import say
from galera_backup.models.volumes import STAGING_RESERVE
from galera_backup.rules.space import RESTORE_RESERVE

STORED_SHARE = 0.6
"""Of the tables, that a backup takes at most: half of them is random, the rest shrinks to a tenth."""
SPARE = 1.0
"""GB on each volume, and on the disk, for all that is not a table: logs, write-set cache, the sample data's indexes."""
SCARCE = 12.0
"""GB free on the disk below which freed blocks are given back in the middle of a restore."""
TABLES = 8
ROWS = 8000
"""Of 1.9 KB, in one transaction."""
_TABLE = "id BIGINT AUTO_INCREMENT PRIMARY KEY, project INT NOT NULL, token VARBINARY(1024), document TEXT"
_ROW = """seq MOD 1000, RANDOM_BYTES(1024), REPEAT(CONCAT('{"uuid": "', MD5(RAND()), '", "host": "compute-', seq MOD 64,
'", "state": "active", "flavor": {"vcpus": 4, "memory_mb": 8192}, "zone": "nova"}, '), 6)"""


@dataclass(frozen=True)
class Free:
    """GB: of the host's disk, of the fullest data volume and its size, of the backup volume."""

    disk: float
    data: float
    data_total: float
    backups: float

    @classmethod
    def now(cls) -> Free:
        """As it is."""
        data = [shutil.disk_usage(volume.mount) for volume in volumes.data_volumes()]
        return cls(
            disk=shutil.disk_usage(paths.VOLUME_FILES).free / 1e9,
            data=min(each.free for each in data) / 1e9,
            data_total=min(each.total for each in data) / 1e9,
            backups=shutil.disk_usage(paths.VOLUME_MOUNTS / settings.BACKUP_CLAIM).free / 1e9,
        )


def lacking(size: float, present: float, stages: bool, free: Free) -> list[str]:
    """Why tables of `size` GB, of which `present` are there, do not fit with their backup and its copies.

    `stages`: every data volume must hold a second copy; else there is one on the backup volume only.
    """
    growth = max(0.0, size - present)
    copies = len(REPLICAS) if stages else 1
    disk = growth * len(REPLICAS) + size * (copies + STORED_SHARE) + SPARE
    data = growth + SPARE + (size * RESTORE_RESERVE + free.data_total * STAGING_RESERVE if stages else 0)
    backups = size * (RESTORE_RESERVE + STORED_SHARE) + SPARE
    problems = []
    if free.disk < disk:
        problems.append(f"the disk has {free.disk:.1f} GB free, expected {disk:.1f} GB: choose smaller --sizes")
    if free.data < data:
        total = size * (1 + RESTORE_RESERVE) + 2 * SPARE
        flag = f"--data-volume-size {_gib(total / (1 - STAGING_RESERVE))}"
        problems.append(f"a data volume has {free.data:.1f} GB free, expected {data:.1f} GB: {_anew(flag)}")
    if free.backups < backups:
        flag = f"--backup-volume-size {_gib(backups)}"
        problems.append(f"the backup volume has {free.backups:.1f} GB free, expected {backups:.1f} GB: {_anew(flag)}")
    return problems


def refuse_unless_it_fits(size: float, stages: bool) -> None:
    """End with what is missing."""
    problems = lacking(size, tables_gb(), stages, Free.now())
    if problems:
        raise SystemExit(f"tables of {size:g} GB do not fit; nothing was changed for them:\n" + "\n".join(problems))


def _gib(gigabytes: float) -> int:
    """Of a volume that has room for so much: some of it is for the file system itself."""
    return math.ceil(gigabytes * 1e9 / 2**30 * 1.03)


def _anew(flag: str) -> str:
    return f"make the volumes anew with `dev/down --purge` and `dev/up {flag}` (all flags at once)"


def tables_gb() -> float:
    """Of the tables in the data directory of the writer, the sample data included."""
    files = (paths.VOLUME_MOUNTS / f"mysql-data-{WRITER}").rglob("*.ibd")
    return sum(file.stat().st_size for file in files) / 1e9


def fill(size: float) -> None:
    """Add rows until the tables have `size` GB."""
    with contextlib.closing(connection(WRITER)) as server, server.cursor() as cursor:
        server.select_db(SCHEMA)  # sequences need a current schema
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {JOURNAL} (id BIGINT AUTO_INCREMENT PRIMARY KEY, at TIMESTAMP(6))")
        for number in range(TABLES):
            cursor.execute(f"CREATE TABLE IF NOT EXISTS rows_{number} ({_TABLE})")
        inserted, said = 0, time.monotonic()
        while (now := tables_gb()) < size:
            table = f"rows_{inserted % TABLES} (project, token, document)"
            cursor.execute(f"INSERT INTO {table} SELECT {_ROW} FROM seq_1_to_{ROWS}")
            inserted += 1
            if time.monotonic() - said > 30:
                say("data", f"{now:.1f} of {size:g} GB")
                said = time.monotonic()


def give_back_when_scarce() -> None:
    """In the middle of a restore, only when the kubelet would soon end pods for want of room on the node."""
    if Free.now().disk < SCARCE:
        give_back_freed_blocks()


def give_back_freed_blocks() -> None:
    """The volumes are sparse files: what was removed in them takes room on the disk until it is discarded."""
    for volume in volumes.all_volumes():
        subprocess.run(["sync", "--file-system", str(volume.mount)], check=True)  # else they are not free yet
        subprocess.run(["fstrim", str(volume.mount)], check=True)
