"""Names on the storage of backups. No other module knows them.

<namespace>/<statefulset>/<backup id>/runner.log                       what was said when it was made
                                      restore-<restore id>-<part>.log  what was said when it was restored
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from galera_backup.models.common import ClusterRef
from galera_backup.models.jobs import StoredLog

RUNNER_LOG = "runner.log"


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


def file_name(identifier: str) -> str:
    """An identifier, such as a workflow's, as one component of a path."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", identifier)[:120]
