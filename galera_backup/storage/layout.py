"""Names on the storage of backups. No other module knows them.

<namespace>/<statefulset>/<backup id>/backup.mbs.zst                   one stream; `.part` while it is written
                                      manifest.json                    written last; no manifest, no backup
                                      runner.log                       what was said when it was made
                                      restore-<restore id>-<part>.log  what was said when it was restored
                                      pin-<restore id>                 a restore of another cluster reads it: seconds
                                      .worker                          who stores it; touched meanwhile
<namespace>/<statefulset>/.restore/<restore id>/data                   unpacked and prepared, to be copied from
                                                .prepared              written when `data` is complete
                                                .worker                who works on it; touched meanwhile
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from galera_backup.models.common import ClusterRef
from galera_backup.models.runner import StoredLog

STREAM = "backup.mbs.zst"
PART = f"{STREAM}.part"
MANIFEST = "manifest.json"
RUNNER_LOG = "runner.log"
WORKER = ".worker"
PINS = "pin-*"
PREPARED_DATA = "data"
PREPARED_MARKER = ".prepared"


def cluster(reference: ClusterRef) -> PurePosixPath:
    """The directory of one cluster."""
    return PurePosixPath(reference.namespace, reference.statefulset)


def backup(reference: ClusterRef, backup_id: str) -> PurePosixPath:
    """The directory of one backup."""
    return cluster(reference) / backup_id


def log(stored: StoredLog) -> PurePosixPath:
    """The log that a job leaves beside a backup."""
    name = RUNNER_LOG
    if stored.restore_id is not None:
        name = f"restore-{file_name(stored.restore_id)}-{stored.part}.log"
    return backup(stored.owner, stored.backup_id) / name


def pin(restore_id: str) -> str:
    """The name, beside a backup, of what keeps it for a restore."""
    return PINS.replace("*", file_name(restore_id))


def restores(reference: ClusterRef) -> PurePosixPath:
    """The directory of the scratch directories of a cluster's restores."""
    return cluster(reference) / ".restore"


def restore(reference: ClusterRef, restore_id: str) -> PurePosixPath:
    """The scratch directory of one restore."""
    return restores(reference) / file_name(restore_id)


def file_name(identifier: str) -> str:
    """An identifier, such as a workflow's, as one component of a path."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", identifier)[:120]
