"""What a restore plans with: whether the cluster is still as planned, and about how long it will be down."""

from __future__ import annotations

from galera_backup.models.cluster import ClusterObservation

STOP_AND_START_SECONDS = 10
COPIED_PER_SECOND = 500e6
"""Bytes. See docs/benchmarks.md."""
UNPACK_AND_PREPARE = 2
"""In copies of the data."""


def changed_since(planned: ClusterObservation, seen: ClusterObservation) -> str | None:
    """What of a cluster is not as a restore has planned with, or None."""
    if seen.replicas != planned.replicas:
        return f"expected {planned.replicas} replicas of {str(seen.cluster)!r}, saw {seen.replicas}"
    claims = {each.claim: each.uid for each in planned.claims}
    others = sorted(each.claim for each in seen.claims if claims.get(each.claim) != each.uid)
    if others or len(claims) != len(seen.claims):
        return f"expected the data claims of {str(seen.cluster)!r} to be the same, saw others: {', '.join(others)}"
    return None


def expected_outage(data_bytes: int, copies: int) -> float:
    """Seconds, as a rough guess. `copies`: how many times the backup's data is written while the database is down."""
    return STOP_AND_START_SECONDS + data_bytes * copies / COPIED_PER_SECOND
