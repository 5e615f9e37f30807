"""Whether the data claims outlive a stop of the cluster, and whether a pod of ours can work on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from galera_backup.models.preflight import Finding
from galera_backup.models.shape import ClaimShape, ClusterShape, Owner, StatefulSetShape
from galera_backup.rules.preflight.severities import found

ONE_POD, MANY = "ReadWriteOncePod", "ReadWriteMany"


def claims(seen: ClusterShape) -> Iterator[Finding]:
    """What is wrong with the claims. Claims are looked at, not only the spec by which they would be deleted."""
    yield from _retention(seen.statefulset)
    for name in seen.missing_claims:
        yield found(
            "claim-missing",
            _claim(name),
            "expected it to exist, there is none",
            "Check the names in the request; a claim that was deleted takes its data with it: start from another "
            "cluster's volumes, or let the StatefulSet make it and restore into it",
        )
    for claim in seen.claims:
        yield from _life(claim, seen.statefulset)
        yield from _use(claim, seen)


def _retention(statefulset: StatefulSetShape) -> Iterator[Finding]:
    if statefulset.claims_when_scaled != "Delete":
        return
    cluster = statefulset.cluster
    patch = '{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Retain"}}}'
    yield found(
        "claims-deleted-by-scaling",
        f"StatefulSet {str(cluster)!r}",
        "expected persistentVolumeClaimRetentionPolicy.whenScaled to be Retain, it is Delete: Kubernetes deletes every "
        "data claim when the StatefulSet is scaled to 0",
        f"kubectl -n {cluster.namespace} patch statefulset {cluster.statefulset} --type merge -p '{patch}'",
    )


def _life(claim: ClaimShape, statefulset: StatefulSetShape) -> Iterator[Finding]:
    """Whether it will be there after the stop, with what it holds."""
    namespace = statefulset.cluster.namespace
    if claim.phase == "Lost":
        yield found(
            "claim-lost",
            _claim(claim.name),
            f"expected it to be bound, its volume {claim.volume!r} is gone",
            "Bring the PersistentVolume back, or make the claim and its replica anew",
        )
    if claim.phase == "Pending" and claim.ordinal is not None:
        yield found(
            "claim-unbound",
            _claim(claim.name),
            "expected it to be bound, it has no volume yet: the first pod that mounts it decides where it is, and ours "
            "know nothing of what keeps the replicas apart",
            f"Start {statefulset.pod(claim.ordinal)} once, so that the scheduler finds its place",
        )
    if claim.deleting:
        anew = (
            f"A deletion cannot be taken back. Delete the pod too, so that the claim is made anew and a state transfer "
            f"fills it, one replica after the other: kubectl -n {namespace} delete pod "
            f"{statefulset.pod(claim.ordinal)}"
            if claim.ordinal is not None
            else "A deletion cannot be taken back. Copy the backups elsewhere, then make the claim anew"
        )
        yield found(
            "claim-deleting",
            _claim(claim.name),
            "expected nobody to delete it, it has a deletionTimestamp: it goes as soon as no pod uses it",
            anew,
        )
    for owner in claim.owners if claim.ordinal is not None else ():
        yield _owned(claim, owner, statefulset)


def _owned(claim: ClaimShape, owner: Owner, statefulset: StatefulSetShape) -> Finding:
    namespace = statefulset.cluster.namespace
    if owner.uid == statefulset.uid:
        patch = '{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Retain"}}}'
        return found(
            "claim-owned-by-the-statefulset",
            _claim(claim.name),
            "it goes with its StatefulSet: whoever deletes that while the cluster is stopped deletes the data",
            f"kubectl -n {namespace} patch statefulset {statefulset.cluster.statefulset} --type merge -p '{patch}'",
        )
    if owner.kind == "Pod":
        return found(
            "claim-owned-by-a-pod",
            _claim(claim.name),
            f"expected no owner, it has {owner}: Kubernetes deletes it, with its data, as soon as that pod is stopped",
            _disown(claim, namespace),
        )
    return found(
        "claim-owned",
        _claim(claim.name),
        f"expected no owner, it has {owner}: it is deleted with that",
        _disown(claim, namespace),
    )


def _disown(claim: ClaimShape, namespace: str) -> str:
    return (
        f"Take the owner away where it is set; then: kubectl -n {namespace} patch pvc {claim.name} --type json -p "
        """'[{"op":"remove","path":"/metadata/ownerReferences"}]'"""
    )


def _use(claim: ClaimShape, seen: ClusterShape) -> Iterator[Finding]:
    """Whether a pod of ours can mount it, and whether a pod of somebody else does."""
    if claim.volume_mode != "Filesystem":
        yield found(
            "claim-without-filesystem",
            _claim(claim.name),
            f"expected volumeMode Filesystem, it is {claim.volume_mode}",
            "Nothing can be done with such a volume",
        )
    if claim.ordinal is None:
        yield from _in_turn(claim, seen)
        yield from _taken(claim, seen)
        return
    pod = seen.statefulset.pod(claim.ordinal)
    runs = any(member.name == pod and not member.ended for member in seen.members)
    if ONE_POD in claim.access_modes and runs:
        yield found(
            "claim-for-one-pod",
            _claim(claim.name),
            f"expected an access mode with which a second pod can mount it, it is {ONE_POD} and {pod} uses it",
            "A backup cannot be taken. For a restore scale the StatefulSet to 0 and say its size in 'replicas'; for "
            "backups make the claims anew with ReadWriteOnce, one replica after the other",
        )
    using = [other for other in seen.others if claim.name in other.claims and not other.ended]
    sharing = sorted(other.name for other in using if claim.name in other.writable_claims)
    reading = sorted(other.name for other in using if claim.name not in other.writable_claims)
    if reading:
        yield found(
            "claim-read-by-others",
            _claim(claim.name),
            f"expected no pod but {pod} to mount it, {_listed(reading)} does too, read-only: what it reads is replaced",
            "Stop it, or start it anew after the restore",
        )
    if sharing:
        yield found(
            "claim-shared",
            _claim(claim.name),
            f"expected no pod but {pod} to mount it, {_listed(sharing)} does too and may write to it",
            f"kubectl -n {seen.statefulset.cluster.namespace} delete pod {' '.join(sharing)}",
        )


def _in_turn(claim: ClaimShape, seen: ClusterShape) -> Iterator[Finding]:
    """Whether the pods that read backups must come one after the other."""
    placed = [member.node for member in seen.members if member.node]
    nodes = sorted(set(placed))
    if ONE_POD in claim.access_modes:
        why = f"its access mode is {ONE_POD}"
    elif MANY in claim.access_modes:
        return
    elif len(nodes) > 1:
        why = f"it can be used on one node at a time, and the replicas run on {', '.join(nodes)}"
    elif len(seen.planned) > max(1, len(placed)):
        why = "it can be used on one node at a time, and nobody knows yet on which the replicas' volumes can be used"
    else:
        return
    yield found(
        "backup-claim-in-turn", _claim(claim.name), f"a staged restore fills one data volume after the other: {why}"
    )


def _taken(claim: ClaimShape, seen: ClusterShape) -> Iterator[Finding]:
    """Whether pods of others keep the backup claim from ours."""
    nodes = {member.node for member in seen.members if member.node}
    for pod in seen.backup_users if MANY not in claim.access_modes else ():
        if pod.node and not pod.ended and (ONE_POD in claim.access_modes or nodes != {pod.node}):
            yield found(
                "backup-claim-in-use",
                _claim(claim.name),
                f"expected that our pods can mount it, pod {pod.name!r} uses it on node {pod.node!r}, and its access "
                f"modes are {', '.join(claim.access_modes)}: on another node they would wait for it",
                "Wait until that pod is gone, or use a claim of the access mode ReadWriteMany",
            )


def _claim(name: str) -> str:
    return f"claim {name!r}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
