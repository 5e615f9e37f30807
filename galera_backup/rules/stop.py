"""Somebody else scales a cluster that is being stopped, or is stopped."""

from __future__ import annotations

from collections.abc import Sequence

from galera_backup.models.common import ClusterRef


def scaled_up(cluster: ClusterRef, replicas: int, by: Sequence[str], expected: int) -> str:
    """The message of an operation that cannot go on. `by`: field managers of `spec.replicas`."""
    who = f" by {', '.join(repr(each) for each in by)}" if by else ""
    return (
        f"StatefulSet {str(cluster)!r}: expected at most {expected} replicas, it was scaled to {replicas}{who}. Keep "
        "whoever does that from it, then start the operation again"
    )
