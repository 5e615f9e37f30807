"""Whether the pods of an operation, and the servers after it, would be created."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from galera_backup.models.admission import Quota, Trial
from galera_backup.models.preflight import Finding
from galera_backup.models.trial import Trials, Way
from galera_backup.rules.preflight.severities import found

_OF_A_POD = ("pods", "count/pods")
_PREFIXES = ("requests.", "limits.")
_SMALL = {"cpu": Decimal("0.2"), "memory": Decimal(128 << 20)}
"""What pods of ours request if they are not told otherwise: no node is so full."""

_WITH_TOOLS = ("backup", "stage", "unpack", "restore")
"""Runner pods whose container of the server's image runs mariadb-backup, or a server that nobody reaches."""
LEAST_MEMORY = Decimal(256 << 20)
"""Bytes that such a container may use at least: a server that only takes a new uuid was killed at 100 MiB."""


@dataclass(frozen=True)
class Size:
    """Of the cluster."""

    replicas: int
    """Once it is started."""
    running: int
    """Members that run now."""


@dataclass(frozen=True)
class Gathering:
    """Pods that live at the same time, beyond those that run now."""

    when: str
    """For a message: `while it is staged`."""
    pods: Sequence[Trial]
    gone: Sequence[Trial] = ()
    """Those of the servers that do not run then."""


def admitted(seen: Trials, way: Way, size: Size, *, in_turn: bool = False) -> Iterator[Finding]:
    """What is wrong with the pods of an operation. `in_turn`: no two pods can use the backup claim at once."""
    holds = [seen.hold] if seen.hold is not None else []
    judged = {each.name for each in seen.quotas if _is_judged(each)}
    yield from trials([*seen.runners, *holds, seen.server], judged)
    yield from quotas(seen.quotas, gatherings(seen, way, size, in_turn=in_turn))
    if seen.scaling:
        yield found(
            "scaling-refused",
            f"StatefulSet {seen.server.name!r}",
            f"expected Kubernetes to let it be scaled to 0, and back, it answers: {seen.scaling}",
            "Mend the policy, or let the worker's service account patch statefulsets",
        )
    yield from _killed(seen.runners)
    yield from _larger(seen, way)
    if seen.server.pulled:
        yield found(
            "images-pulled",
            f"pod {seen.server.name!r}",
            f"its node pulls {', '.join(seen.server.pulled)} again when the cluster is started (imagePullPolicy "
            "Always): a registry that does not answer then keeps the database down",
            "Set imagePullPolicy IfNotPresent, or see that the registry answers",
        )


def gatherings(seen: Trials, way: Way, size: Size, *, in_turn: bool = False) -> list[Gathering]:
    """Which pods live at the same time."""
    by_name = {each.name: each for each in seen.runners}
    if way == "backup":
        return [Gathering("while a replica is backed up", [by_name["backup"]])]
    running = [seen.server] * size.running
    holds = [seen.hold] * size.replicas if seen.hold is not None else []
    start = Gathering("when the cluster is started", [seen.server] * size.replicas, gone=running)
    if way in ("staged", "rollback"):
        if way == "staged":
            staging = [by_name["stage"]] * (1 if in_turn else size.replicas)
            before = Gathering("while the backup is staged", staging)
        else:
            before = Gathering("while the volumes are looked at", [by_name["inspect"]] * size.replicas)
        return [before, Gathering("in the outage", [*[by_name["swap"]] * size.replicas, *holds], gone=running), start]
    outage = Gathering("in the outage", [by_name["restore"], *holds], gone=running)
    if way == "in_place":
        return [outage, start]
    unpacking = Gathering("while the backup is unpacked", [by_name["unpack"]])
    serving = Gathering("while the first replica serves", [by_name["restore"], seen.server, *holds[1:]], gone=running)
    return [unpacking, outage, *([serving] if size.replicas > 1 else []), start]


def trials(tried: Iterable[Trial], judged: Collection[str] = ()) -> Iterator[Finding]:
    """Pods that an admission plugin, a LimitRange or a webhook would refuse, or that nobody should create.

    `judged`: quotas that arithmetic judges, which knows what has gone when a pod is created.
    """
    tried = tuple(tried)
    for problem in dict.fromkeys(each.problem for each in tried if not each.is_known):
        yield found("pod-unknown", "runner pods", f"expected to know how to build them: {problem}")
    for services in dict.fromkeys(each.selected_by for each in tried if each.selected_by):
        yield found(
            "pod-selected",
            "runner pods",
            f"expected no Service to send clients to them, by their labels {', '.join(map(repr, services))} would",
            "Take those labels out of 'runner'",
        )
    for trial in tried:
        if not trial.problem or not trial.is_known or trial.over_quota in judged:
            continue
        if trial.whose == "runner":
            yield found(
                "pod-refused",
                f"runner pod for {trial.name!r}",
                f"expected Kubernetes to create it, it answers: {trial.problem}",
                "Mend the policy, or the pod's fields in 'runner' (labels, limits, priority_class)",
            )
        else:
            yield found(
                "server-pod-refused",
                f"pod {trial.name!r}",
                "expected Kubernetes to create it when the cluster is started again, as the template says, it answers: "
                f"{trial.problem}",
                "Mend the policy or the template: the database would stay down",
            )


def _killed(runners: Iterable[Trial]) -> Iterator[Finding]:
    """Pods that would be created, and killed for want of memory when their tools work."""
    for trial in runners:
        if trial.name in _WITH_TOOLS and trial.memory is not None and trial.memory < LEAST_MEMORY:
            yield found(
                "memory-limited",
                f"runner pod for {trial.name!r}",
                f"expected each of its containers to be allowed {_plain(LEAST_MEMORY)} bytes of memory, one is allowed "
                f"{_plain(trial.memory)}: its tools would be killed",
                "Set 'limits' in 'runner', as {\"memory\": \"1Gi\"}, or raise the namespace's LimitRange",
            )


def _larger(seen: Trials, way: Way) -> Iterator[Finding]:
    """A pod of the outage that may find no room on its node, although the pods before it did and its server is gone."""
    by_name = {each.name: each for each in seen.runners}
    if way == "backup":
        return
    work, before = by_name["swap" if way in ("staged", "rollback") else "restore"], by_name["check"]
    for resource, wanted in work.requests.items():
        proved = before.requests.get(resource, Decimal(0)) + seen.server.requests.get(resource, Decimal(0))
        if wanted > max(proved, _SMALL.get(resource, Decimal(0))):
            yield found(
                "outage-pods-larger",
                f"runner pod for {work.name!r}",
                f"expected it to request no more {resource} than its server and the pods before it, it requests "
                f"{_plain(wanted)}, they {_plain(proved)}: it may wait for room while the database is down",
                "Lower it in 'runner', or see that each replica's node has room for it",
            )


def quotas(limits: Iterable[Quota], gatherings: Sequence[Gathering]) -> Iterator[Finding]:
    """Quotas that the pods would exceed at some time. A dry run looks at now, so this is arithmetic."""
    for quota in limits:
        about = f"ResourceQuota {quota.name!r}"
        if not _is_judged(quota):
            yield found(
                "quota-not-judged", about, "it counts some pods alone, so nobody knows whether ours are among them"
            )
            continue
        for gathering in gatherings:
            added = [pod for pod in gathering.pods if _counts(quota, pod)]
            gone = [pod for pod in gathering.gone if _counts(quota, pod)]
            for resource, hard in quota.hard.items():
                more = _sum(added, resource) - _sum(gone, resource)
                used = quota.used.get(resource, Decimal(0))
                if more > 0 and used + more > hard:
                    yield found(
                        "quota-exceeded",
                        about,
                        f"expected room for {_plain(more)} more of {resource} {gathering.when}, it has "
                        f"{_plain(hard)} and {_plain(used)} are used",
                        "Raise the quota",
                    )


def _is_judged(quota: Quota) -> bool:
    return not quota.has_selector and not set(quota.scopes) - {"Terminating", "NotTerminating"}


def _counts(quota: Quota, pod: Trial) -> bool:
    scopes = set(quota.scopes)
    return not scopes or scopes == {"Terminating" if pod.has_deadline else "NotTerminating"}


def _sum(pods: Iterable[Trial], resource: str) -> Decimal:
    return sum((_of(pod, resource) for pod in pods), Decimal(0))


def _of(pod: Trial, resource: str) -> Decimal:
    """What one pod takes of a quota's resource: `limits.cpu`, `requests.cpu`, which is `cpu` too, or `pods`."""
    if resource in _OF_A_POD:
        return Decimal(1)
    values = pod.limits if resource.startswith("limits.") else pod.requests
    name = next((resource.removeprefix(each) for each in _PREFIXES if resource.startswith(each)), resource)
    return values.get(name, Decimal(0))


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"
