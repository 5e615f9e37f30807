"""What holds the backups of one cluster: the interface that a job works with, and what follows from it.

Ids order backups by time. A backup counts from the moment at which its manifest is there; the manifest comes last.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from galera_backup.failure import AgentError
from galera_backup.models.common import ClusterRef
from galera_backup.models.manifest import Manifest
from galera_backup.models.runner import StoredLog

_LISTED_IDS = 20


@dataclass(frozen=True)
class Entry:
    """What has the name of a backup. Complete, damaged (it has a manifest that does not hold), or left over."""

    backup_id: str
    manifest: Manifest | None = None
    """Only of a complete backup."""
    damage: str | None = None

    @property
    def left_over(self) -> bool:
        """No manifest: a failed run, or a removal that was cut short."""
        return self.manifest is None and self.damage is None


class NewBackup(Protocol):
    """A backup that is being stored."""

    def write(self, block: bytes) -> None:
        """Append to the stream. Error: OSError; ENOSPC or EDQUOT when there is no room."""

    def keep_stream(self) -> str:
        """The stream is whole: it is durable when this returns its name, beside the manifest."""

    def put_manifest(self, manifest: Manifest) -> None:
        """The last step: it is a backup, durably, when this returns."""


class Log(Protocol):
    """A log beside a backup."""

    @property
    def name(self) -> str:
        """As a person finds it where the backups are."""

    def append(self, text: str) -> None:
        """Nothing is there before the first text. Error: OSError."""


class Archive(Protocol):
    """The backups of one cluster."""

    @property
    def cluster(self) -> ClusterRef: ...

    def ids(self) -> list[str]:
        """Of everything that has the name of a backup, oldest first."""

    def entry(self, backup_id: str) -> Entry:
        """What there is of one backup; left over when there is nothing."""

    def read(self, manifest: Manifest) -> Generator[bytes]:
        """The stored stream, in blocks. Error: OSError."""

    def create(self, backup_id: str, run: str) -> AbstractContextManager[NewBackup]:
        """Store a backup. When the block ends with an exception, the stream and the manifest are removed.

        `run`: of the lease; what an earlier attempt of it has left goes. Error: `BackupExists`, when another run stores
        one with this id; nothing was changed.
        """

    def log(self, stored: StoredLog) -> Log:
        """What a job leaves beside a backup that is there, or that is being stored."""

    def free_kb(self) -> int:
        """KB that may still be stored."""

    def remove(self, backup_id: str) -> None:
        """Remove a backup; once its manifest is gone it does not count any more, however far this comes."""

    def pin(self, backup_id: str, restore_id: str, lifetime: timedelta) -> None:
        """Keep a complete backup for a restore that reads it, under the lease of another cluster, for so long."""

    def pinned(self) -> frozenset[str]:
        """Ids of the backups that a restore still reads; pins whose time is over are removed."""

    def remove_leftovers(self, own: str, keep_logs: bool) -> None:
        """Remove what failed runs left: streams always, logs too unless `keep_logs`; the newest run keeps its log.

        `own`: the backup of this run, which is left alone; so is one that may be running, at another site that has the
        same name for its cluster.
        """


def entries(archive: Archive) -> list[Entry]:
    """Everything that has the name of a backup, oldest first."""
    return [archive.entry(backup_id) for backup_id in archive.ids()]


def newest_first(archive: Archive, before: str | None = None) -> Iterator[Manifest]:
    """The manifests of the complete backups that are older than the id `before`; each is read when it is asked for."""
    for backup_id in reversed(archive.ids()):
        if before is not None and backup_id >= before:
            continue
        manifest = archive.entry(backup_id).manifest
        if manifest is not None:
            yield manifest


def surplus(found: Sequence[Entry], keep: int, own: str, pinned: Collection[str] = ()) -> list[str]:
    """Ids of the complete backups that go: all but the newest `keep`, at least one; `found` is all, oldest first.

    `own`: the backup of this run, which is the newest. One that does not hold neither counts nor goes; nor does one
    with a later name: its clock, or ours, was wrong, or it is another site's. The newest one without problems stays in
    any case, and so do the `pinned` ones.
    """
    complete = [entry for entry in found if entry.manifest and entry.backup_id <= own]
    sound = [entry.backup_id for entry in complete if entry.manifest and not entry.manifest.problems]
    stays = {own, *sound[-1:], *pinned}
    return [entry.backup_id for entry in complete[: -max(keep, 1)] if entry.backup_id not in stays]


def manifest_of(archive: Archive, backup_id: str) -> Manifest:
    """The manifest of a backup that must be complete.

    Errors: `BackupNotFound` with the newest ids that there are, `BackupDamaged`.
    """
    entry = archive.entry(backup_id)
    if entry.manifest:
        return entry.manifest
    if entry.damage:
        raise AgentError(
            "BackupDamaged", f"backup {backup_id!r} of {archive.cluster}: {entry.damage}; choose another backup"
        )
    complete = [manifest.backup_id for manifest in newest_first(archive)]
    newest = ", ".join(complete[:_LISTED_IDS]) or "none"
    raise AgentError(
        "BackupNotFound",
        f"backup {backup_id!r} of {archive.cluster}: it has no manifest. "
        f"Complete backups, newest first ({len(complete)} in all): {newest}",
    )
