"""The plan of a restore: whether the cluster still is as planned, and about how long the outage will be."""

from __future__ import annotations

from galera_backup.models.cluster import ClaimObservation, ClusterObservation

STOP_AND_START_SECONDS = 10
COPIED_PER_SECOND = 500e6
"""Bytes. See docs/benchmarks.md."""
UNPACK_AND_PREPARE = 2
"""In copies of the data."""


def changed_since(planned: ClusterObservation, seen: ClusterObservation) -> str | None:
    """How the cluster differs from the one that the restore was planned for, or None."""
    if seen.replicas != planned.replicas:
        return f"expected {planned.replicas} replicas of {str(seen.cluster)!r}, saw {seen.replicas}"
    claims = {each.claim: each.uid for each in planned.claims}
    others = sorted(each.claim for each in seen.claims if claims.get(each.claim) != each.uid)
    if others or len(claims) != len(seen.claims):
        return (
            f"expected the data claims of {str(seen.cluster)!r} to be the same, saw others: {', '.join(others)}, made "
            "anew without the data of those"
        )
    moved = [now.claim for before, now in zip(planned.claims, seen.claims, strict=True) if _moved(before, now)]
    if moved:
        return (
            f"expected the servers of {str(seen.cluster)!r} to have their files where they had them, they have them at "
            f"other places on {', '.join(moved)}"
        )
    if planned.image and seen.image and seen.image != planned.image:
        return f"expected the image {planned.image!r} in the template of {str(seen.cluster)!r}, saw {seen.image!r}"
    return None


def _moved(before: ClaimObservation, now: ClaimObservation) -> bool:
    """What nobody has asked a server about, the plan has from the volume and the backup."""
    then, here = before.layout, now.layout
    asked = then.asked and here.asked
    return then.sub_path != here.sub_path or (
        asked and (then.below, then.directories) != (here.below, here.directories)
    )


def expected_outage(data_bytes: int, copies: int) -> float:
    """Seconds, as a rough guess. `copies`: how many times the backup's data is written while the database is down."""
    return STOP_AND_START_SECONDS + data_bytes * copies / COPIED_PER_SECOND
