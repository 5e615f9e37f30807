"""Request and result of the workflow type GaleraBackup."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from galera_backup.models.common import Model, PhaseTime, PositiveDuration
from galera_backup.models.manifest import Manifest
from galera_backup.models.runner import RunnerLog
from galera_backup.models.site import OperationRequest

MB_PER_SECOND_AND_PROCESSOR = 25
"""Costs 6 to 8 % of the node's processors: benchmarks/load_during_backup.py."""


class BackupFields(Model):
    """How the agent takes a backup: the part of the request that the job has too."""

    required_space_ratio: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] = 1.2
    """The backup volume must have more free KB than the data directory's KB times this."""
    max_mb_per_second: Annotated[float, Field(ge=1, le=1_000_000, allow_inf_nan=False)] | None = None
    """At most so many 10^6 bytes of the uncompressed stream per second; None: 25 for each processor of the node."""


class BackupRequest(BackupFields, OperationRequest):
    """A full backup of one replica, taken while that replica is out of flow control and out of the Services."""

    replica: Annotated[int, Field(ge=0)] | None = None
    """Ordinal of the replica to back up; None: the ready replica with the highest ordinal."""
    backups_to_keep: Annotated[int, Field(ge=1, le=10_000)] = 10
    allow_unsafe: bool = False
    """Back up although the cluster check failed. Recorded in the manifest."""
    give_back_when_degraded: bool = True
    """Stop the backup and put the replica back when fewer than two others are in sync meanwhile."""
    runner_timeout: PositiveDuration = timedelta(hours=6)
    """The runner pod is stopped, and the replica put back, after this long."""
    lock_wait_timeout: PositiveDuration = timedelta(minutes=5)
    """How long mariadb-backup may wait for a lock that somebody holds, or may keep the replica from applying any
    write-set; then the replica is given back."""
    write_wait_timeout: PositiveDuration = timedelta(seconds=30)
    """How long mariadb-backup may let clients' writes wait on a replica that serves meanwhile; then the backup is given
    up. Less than a client's patience: a lock wait of InnoDB ends after 50 s, a request of a service within a minute."""
    drain_timeout: PositiveDuration = timedelta(minutes=10)
    """How long the resync waits for the replica to catch up before it rejoins flow control anyway."""


class BackupResult(Model):
    """What was backed up, how large it is, how long each phase took."""

    manifest: Manifest
    path: str
    """Directory of the backup on the backup volume."""
    phases: tuple[PhaseTime, ...]
    desynced_seconds: float
    """From wsrep_desync=ON to the replica being in sync, Ready and back in the endpoints."""
    drained: bool
    """False: the receive queue was still long when the drain's time was over."""
    pruned: tuple[str, ...]
    """Ids of the backups that retention removed."""
    kept: int
    """Complete backups of this cluster on the volume, this one included."""
    future: tuple[str, ...] = ()
    """Ids of backups with later names than this one: retention leaves them alone."""
    runner: RunnerLog
    problems: tuple[str, ...] = ()
    """As in the manifest."""
    warnings: tuple[str, ...] = ()
    """What the preflight and the look at the volume have found, one sentence each."""
