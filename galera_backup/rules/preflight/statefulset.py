"""Whether the StatefulSet and its pods are as its spec says, and who else decides about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from galera_backup.models.common import ClusterRef
from galera_backup.models.preflight import Finding
from galera_backup.models.shape import ClusterShape, PodShape, StatefulSetShape, Unread
from galera_backup.rules.health import OTHERS_IN_SYNC
from galera_backup.rules.preflight.severities import found

_PAUSES = {
    "MariaDB": 'kubectl -n {namespace} patch mariadb {name} --type merge -p \'{{"spec":{{"suspend":true}}}}\'',
}
"""By kind of the controlling owner: how its controller is told to let the StatefulSet alone."""


def statefulset(seen: ClusterShape) -> Iterator[Finding]:
    """What is wrong with it and its pods."""
    shape = seen.statefulset
    about = _about(shape)
    if shape.deleting:
        yield found(
            "statefulset-deleting", about, "expected nobody to delete it, it has a deletionTimestamp", "Make it anew"
        )
    names = {shape.pod(ordinal) for ordinal in shape.ordinals}
    for member in seen.members:
        yield from _owner(member, shape)
        if member.name not in names and not member.ended:
            yield found(
                "pod-beyond-the-replicas",
                f"pod {member.name!r}",
                f"expected pods with the ordinals {_span(shape)} alone; it still runs, or is on its way out",
                "Wait until it is gone",
            )
    yield from _template(seen)
    yield from _budgets(seen)
    yield from _probes(seen)


def controllers(seen: ClusterShape) -> Iterator[Finding]:
    """Who else scales it, or sets it back. Whether that is suspended, only a person can say."""
    shape = seen.statefulset
    about = _about(shape)
    for owner in shape.owners:
        if owner.controller:
            command = _PAUSES.get(owner.kind, "").format(namespace=shape.cluster.namespace, name=owner.name)
            yield found(
                "controlled",
                about,
                f"expected nobody to scale it in the outage, its controller is {owner}, which sets it back",
                f"Suspend that until the restore has ended{f': {command}' if command else ''}",
            )
    for tool in shape.delivered_by:
        yield found(
            "delivered",
            about,
            f"expected nobody to set it back in the outage, it is delivered by {tool}",
            "Suspend that until the restore has ended",
        )
    for scaler in seen.autoscalers:
        yield found(
            "autoscaled",
            about,
            f"expected nobody to scale it in the outage, {scaler.kind} {scaler.name!r} does",
            "Suspend or remove that until the restore has ended",
        )
    if shape.scaled_by:
        who = ", ".join(repr(manager) for manager in shape.scaled_by)
        yield found("replicas-written", about, f"spec.replicas was set by {who}, which may set it again")


def unread(cluster: ClusterRef, facts: Iterable[Unread]) -> Iterator[Finding]:
    """What the worker could not read: nobody knows whether it is as it should be."""
    for fact in facts:
        yield found(
            f"unknown-{fact.what}",
            f"StatefulSet {str(cluster)!r}",
            f"its {fact.what} are not known: {fact.why}",
            f"Let the worker's service account list {fact.what} in namespace {cluster.namespace!r}",
        )


def _owner(member: PodShape, shape: StatefulSetShape) -> Iterator[Finding]:
    if any(owner.uid == shape.uid for owner in member.owners):
        return
    whose = ", ".join(str(owner) for owner in member.owners) or "nobody"
    yield found(
        "pod-of-another-owner",
        f"pod {member.name!r}",
        f"expected it to belong to {_about(shape)} (uid {shape.uid}), it belongs to {whose}",
        f"kubectl -n {shape.cluster.namespace} delete pod {member.name}, so that the StatefulSet makes its own",
    )


def _template(seen: ClusterShape) -> Iterator[Finding]:
    """A start makes every pod from the template; until then old ones may run.

    Images are compared of pods of another revision alone: an admission webhook may give a pod another name of an image.
    The tools of a restore are of the template's image, so it must be that of every server: also of those that a
    partition lets start with an older template.
    """
    shape = seen.statefulset
    about = _about(shape)
    live = [each for each in seen.members if not each.ended]
    older = [each for each in live if each.revision != _next_revision(each, shape)]
    other_image = [each for each in live if each.revision != shape.update_revision and each.image != shape.image]
    yield from _mounts(live, seen)
    if other_image:
        yield found(
            "template-has-another-image",
            about,
            f"expected all servers to run, and to start again with, the image of the template, {shape.image!r}; "
            f"{', '.join(f'{each.name} runs {each.image!r}' for each in other_image)} ({_strategy(shape)})",
            f"Finish the rollout, or take it back: kubectl -n {shape.cluster.namespace} rollout undo statefulset "
            f"{shape.cluster.statefulset}",
        )
    elif not shape.observed:
        yield found(
            "template-differs",
            about,
            "expected its controller to have seen its present spec, it has not: nobody knows yet which pods are of an "
            "older template",
            "Wait until it has, or see why kube-controller-manager does not work",
        )
    elif older:
        yield found(
            "template-differs",
            about,
            f"expected every server to have run as the template says, {', '.join(each.name for each in older)} run an "
            f"older revision of it ({_strategy(shape)}): after the stop they start with one that nobody has tried",
            f"Finish the rollout, or take it back: kubectl -n {shape.cluster.namespace} rollout undo statefulset "
            f"{shape.cluster.statefulset}",
        )


def _probes(seen: ClusterShape) -> Iterator[Finding]:
    """A backup takes its replica out of the Services, if others are left; it would wait for that, and fail."""
    shape = seen.statefulset
    blind = [each.name for each in seen.members if not each.ended and each.unready_after is None]
    if blind and shape.replicas > OTHERS_IN_SYNC:
        yield found(
            "stays-in-service",
            _about(shape),
            f"expected a readiness probe that fails while a server is not Synced, that of {', '.join(blind)} only "
            "connects, or there is none: a replica that is backed up would go on getting clients, without flow control",
            "Give the server's container one that asks for wsrep_local_state_comment",
        )


def _mounts(live: Iterable[PodShape], seen: ClusterShape) -> Iterator[Finding]:
    """Whether a pod of the template finds the data where the one that runs has it."""
    shape = seen.statefulset
    planned = {each.name: each for each in seen.planned}
    for member in live:
        if member.name not in planned:
            continue
        claim = f"{shape.data_template}-{member.name}"
        now, then = (_places_of(claim, each) for each in (member, planned[member.name]))
        if now != then:
            yield found(
                "template-mounts-elsewhere",
                f"pod {member.name!r}",
                f"expected the template to mount claim {claim!r} as the pod that runs does, at {now}; it mounts it at "
                f"{then} ({_strategy(shape)})",
                f"Finish the rollout, or take it back: kubectl -n {shape.cluster.namespace} rollout undo statefulset "
                f"{shape.cluster.statefulset}",
            )


def _places_of(claim: str, pod: PodShape) -> str:
    """Where the pod's server mounts a claim, and which directories of it."""
    places = sorted(
        f"{PurePosixPath(mount.path)} ({mount.sub_path or mount.unresolved or '.'})"
        for mount in pod.mounts
        if mount.kind == "claim" and mount.source == claim
    )
    return ", ".join(places) or "no path"


def _budgets(seen: ClusterShape) -> Iterator[Finding]:
    """A replica that is backed up is Not Ready, and counts as one that is disrupted."""
    if seen.disruption_budgets:
        yield found(
            "disruption-budget",
            f"PodDisruptionBudget {', '.join(repr(each) for each in seen.disruption_budgets)}",
            "a replica that is backed up is Not Ready where its probe demands Synced: evictions of the others, as of a "
            "node that is drained, may wait until it is back",
        )


def _next_revision(member: PodShape, shape: StatefulSetShape) -> str:
    """Of the template, when the pod is made anew. A pod that is no replica is not made anew."""
    ordinal = next((each for each in shape.ordinals if shape.pod(each) == member.name), None)
    if ordinal is None:
        return member.revision
    kept = shape.update_strategy == "RollingUpdate" and ordinal < shape.first_ordinal + shape.partition
    return shape.current_revision if kept else shape.update_revision


def _strategy(shape: StatefulSetShape) -> str:
    if shape.update_strategy == "RollingUpdate" and shape.partition:
        return f"updateStrategy RollingUpdate with partition {shape.partition}"
    return f"updateStrategy {shape.update_strategy}"


def _span(shape: StatefulSetShape) -> str:
    return f"{shape.ordinals.start} to {shape.ordinals.stop - 1}" if shape.replicas else "of no replica"


def _about(shape: StatefulSetShape) -> str:
    return f"StatefulSet {str(shape.cluster)!r}"
