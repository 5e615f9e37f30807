"""What a running operation says of itself: the query `progress`, and the text in the Temporal UI."""

from __future__ import annotations

from datetime import datetime

from galera_backup.models.common import ClusterRef, Model, PhaseTime


class Progress(Model):
    """Where an operation is."""

    operation: str
    cluster: ClusterRef
    phase: str
    """The phase's name as in the documentation: lease, check, select, desync, run, resync, prune, ..."""
    waiting_for: str
    """What the operation is doing or waiting for, as a sentence."""
    since: datetime
    """Start of this phase."""
    finished: tuple[PhaseTime, ...]
    replica: str | None = None
    backup_id: str | None = None
