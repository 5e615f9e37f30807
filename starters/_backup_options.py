"""The options of a backup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from galera_backup.models.backup import BackupRequest
from starters._options import REQUEST, RequestOptions, RunnerTimeout, default_of, duration_option, request_option

Replica = Annotated[
    str | None,
    request_option("--replica", "Ordinal of the replica to back up.", "ORDINAL", "the highest that is ready"),
]
Keep = Annotated[
    str | None,
    request_option(
        "--keep",
        "Complete backups to keep, the new one included.",
        "COUNT",
        default_of(BackupRequest, "backups_to_keep"),
    ),
]
SpaceRatio = Annotated[
    str | None,
    request_option(
        "--space-ratio",
        "The backup volume needs the data directory's KB times this many KB free.",
        "RATIO",
        default_of(BackupRequest, "required_space_ratio"),
    ),
]
MaxRate = Annotated[
    str | None,
    request_option(
        "--max-mb-per-second",
        "Read the replica no faster than this, to spare a busy node.",
        "MB/S",
        "25 for each processor of the node",
    ),
]
AllowUnsafe = Annotated[
    bool,
    typer.Option(
        "--allow-unsafe",
        help="Back up although the cluster check failed; recorded in the manifest.",
        show_default="off",
        rich_help_panel=REQUEST,
    ),
]
GiveBack = Annotated[
    bool,
    typer.Option(
        "--give-back-when-degraded/--no-give-back-when-degraded",
        help="Stop the backup and put the replica back when fewer than two others are in sync meanwhile.",
        rich_help_panel=REQUEST,
    ),
]
DrainTimeout = Annotated[
    str | None,
    duration_option(
        "--drain-timeout",
        "How long the replica may take to catch up before it rejoins flow control anyway",
        BackupRequest,
        "drain_timeout",
    ),
]
LockWait = Annotated[
    str | None,
    duration_option(
        "--lock-wait-timeout",
        "How long mariadb-backup may wait for a lock before the replica is given back",
        BackupRequest,
        "lock_wait_timeout",
    ),
]
WriteWait = Annotated[
    str | None,
    duration_option(
        "--write-wait-timeout",
        "How long clients' writes may wait for mariadb-backup, where the replica serves meanwhile",
        BackupRequest,
        "write_wait_timeout",
    ),
]


@dataclass(frozen=True)
class BackupOptions(RequestOptions):
    """What a backup is to do: of a `BackupRequest`."""

    replica: Replica = None
    backups_to_keep: Keep = None
    required_space_ratio: SpaceRatio = None
    allow_unsafe: AllowUnsafe = False
    runner_timeout: RunnerTimeout = None
    drain_timeout: DrainTimeout = None
    give_back_when_degraded: GiveBack = True
    max_mb_per_second: MaxRate = None
    lock_wait_timeout: LockWait = None
    write_wait_timeout: WriteWait = None
