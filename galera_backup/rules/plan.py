"""What a restore plans with: whether the cluster is still as planned, and about how long it will be down."""

from __future__ import annotations

from galera_backup.models.cluster import ClusterObservation
from galera_backup.models.restore import Strategy

STOP_AND_START_SECONDS = 10
COPIED_PER_SECOND, UNPACKINGS = 500e6, 2
"""Of a restore: bytes, and what unpacking and preparing takes in copies. See docs/benchmarks.md."""


def changed_since(planned: ClusterObservation, seen: ClusterObservation) -> str | None:
    """What of a cluster is not as a restore has planned with, or None."""
    if seen.replicas != planned.replicas:
        return f"expected {planned.replicas} replicas of {str(seen.cluster)!r}, saw {seen.replicas}"
    claims = {each.claim: each.uid for each in planned.claims}
    others = sorted(each.claim for each in seen.claims if claims.get(each.claim) != each.uid)
    if others or len(claims) != len(seen.claims):
        return f"expected the data claims of {str(seen.cluster)!r} to be the same, saw others: {', '.join(others)}"
    return None


def expected_outage(strategy: Strategy, data_bytes: int, replicas: int) -> float:
    """Seconds, as a rough guess."""
    if strategy == Strategy.STAGED:
        return STOP_AND_START_SECONDS
    copies = 1 if strategy == Strategy.ROLLING else UNPACKINGS + replicas
    return STOP_AND_START_SECONDS + data_bytes * copies / COPIED_PER_SECOND
