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


def claims_lost(cluster: ClusterRef, claims: Sequence[str]) -> str:
    """The message of an operation whose data is gone: no server may start on the new, empty claims in its place."""
    return (
        f"StatefulSet {str(cluster)!r}: expected its data claims to outlive the stop, {', '.join(claims)} were "
        "deleted: what they held is lost. Do not scale it up: servers would start on empty volumes. See who deleted "
        "them; then make the claims anew and restore a backup into them with strategy 'in_place' and 'replicas'"
    )


def held_by_others(cluster: ClusterRef, pods: Sequence[str]) -> str:
    """The message of an operation that cannot keep servers from being started."""
    return (
        f"holding the names of the stopped replicas of {str(cluster)!r}: expected {', '.join(pods)} to be free or held "
        "by us, there are pods of somebody else. Look at them, remove them, then start the operation again"
    )


def not_held(cluster: ClusterRef, pods: Sequence[str]) -> str:
    """The message of a pod that must not start, because a server may run on its volume."""
    return (
        f"StatefulSet {str(cluster)!r}: expected the names {', '.join(pods)} to be held, so that no server can start "
        "on their volumes; somebody has removed the pods that held them. Nothing was done; start the operation again"
    )
