"""Read the shape of a cluster: all objects on which the preflight depends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kubernetes.client import AppsV1Api, AutoscalingV2Api, CoreV1Api, PolicyV1Api, V1Pod, V1StatefulSet

from galera_backup import names
from galera_backup.errors import ClusterNotFound, KubernetesRefused
from galera_backup.kube.calls import call
from galera_backup.kube.facts import statefulset_facts
from galera_backup.kube.shape import autoscalers, claim_shape, planned_shape, pod_shape, selects, statefulset_shape
from galera_backup.models.common import ClusterRef
from galera_backup.models.shape import Autoscaler, ClaimShape, ClusterShape, PodShape, Unread
from galera_backup.models.site import RunnerSite
from galera_backup.text import first_sentence_of


class Inspector:
    """Reads one cluster. Errors: those of `KubeGateway`; what only some workers may read is `Unread` instead."""

    def __init__(self, core: CoreV1Api, apps: AppsV1Api, autoscaling: AutoscalingV2Api, policy: PolicyV1Api) -> None:
        self._core = core
        self._apps = apps
        self._autoscaling = autoscaling
        self._policy = policy

    def shape(self, site: RunnerSite, replicas: int | None) -> ClusterShape:
        """`replicas`: how many to look at, where the StatefulSet is at 0."""
        cluster, namespace = site.cluster, site.cluster.namespace
        doing = f"reading StatefulSet {str(cluster)!r}"
        found: V1StatefulSet = call(doing, self._apps.read_namespaced_stateful_set, cluster.statefulset, namespace)
        facts = statefulset_facts(found, cluster, site.container, site.data_directory)
        ordinals = facts.ordinals(facts.replicas or replicas or 0)
        data_claims = {facts.claim(ordinal): ordinal for ordinal in ordinals}
        pods = call(f"listing pods of {namespace!r}", self._core.list_namespaced_pod, namespace).items
        replicas_names = {names.pod(cluster, ordinal) for ordinal in ordinals}
        members = [pod for pod in pods if pod.metadata.name in replicas_names or _owned_by(pod, found)]
        members = [pod for pod in members if names.HOLD_LABEL not in (pod.metadata.labels or {})]
        scalers, no_scalers = self._scalers(cluster)
        budgets, no_budgets = self._budgets(namespace, found.spec.template.metadata.labels or {})
        return ClusterShape(
            statefulset=statefulset_shape(found, facts),
            members=tuple(sorted((pod_shape(pod, facts.container) for pod in members), key=_by_ordinal)),
            planned=tuple(planned_shape(found, facts, ordinal) for ordinal in ordinals),
            others=tuple(_others(pods, members, set(data_claims))),
            backup_users=tuple(_backup_users(pods, members, site)),
            **self._claims(namespace, data_claims, site.backup_claim),
            autoscalers=scalers,
            disruption_budgets=budgets,
            unread=(*no_scalers, *no_budgets),
        )

    def _claims(self, namespace: str, data_claims: dict[str, int], backup_claim: str) -> dict[str, Any]:
        claims: list[ClaimShape] = []
        missing: list[str] = []
        wanted: list[tuple[str, int | None]] = [*data_claims.items(), (backup_claim, None)]
        for name, ordinal in wanted:
            read: Callable[..., Any] = self._core.read_namespaced_persistent_volume_claim
            try:
                claims.append(claim_shape(call(f"reading claim {name!r}", read, name, namespace), ordinal))
            except ClusterNotFound:
                missing.append(name)
        return {"claims": tuple(claims), "missing_claims": tuple(missing)}

    def _scalers(self, cluster: ClusterRef) -> tuple[tuple[Autoscaler, ...], tuple[Unread, ...]]:
        what = "horizontalpodautoscalers"
        try:
            listed = call(
                f"listing {what} of {cluster.namespace!r}",
                self._autoscaling.list_namespaced_horizontal_pod_autoscaler,
                cluster.namespace,
            )
        except (KubernetesRefused, ClusterNotFound) as error:
            return (), (Unread(what=what, why=first_sentence_of(error)),)
        return autoscalers(listed.items, cluster.statefulset), ()

    def _budgets(self, namespace: str, labels: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[Unread, ...]]:
        """Of the pods with these labels."""
        what = "poddisruptionbudgets"
        try:
            listed = call(
                f"listing {what} of {namespace!r}",
                self._policy.list_namespaced_pod_disruption_budget,
                namespace,
            )
        except (KubernetesRefused, ClusterNotFound) as error:
            return (), (Unread(what=what, why=first_sentence_of(error)),)
        return tuple(each.metadata.name for each in listed.items if selects(each.spec.selector, labels)), ()


def _owned_by(pod: V1Pod, statefulset: V1StatefulSet) -> bool:
    return any(owner.uid == statefulset.metadata.uid for owner in pod.metadata.owner_references or [])


def _others(pods: Iterable[V1Pod], members: list[V1Pod], data_claims: set[str]) -> Iterable[PodShape]:
    """Pods that mount a data claim, and are neither members nor ours."""
    uids = {pod.metadata.uid for pod in members}
    for pod in pods:
        labels = pod.metadata.labels or {}
        if pod.metadata.uid in uids or labels.get(names.MANAGED_BY_LABEL) == names.MANAGED_BY:
            continue
        shape = pod_shape(pod, None)
        if shape.claims & data_claims:
            yield shape


def _backup_users(pods: Iterable[V1Pod], members: list[V1Pod], site: RunnerSite) -> Iterable[PodShape]:
    """Pods that mount the backup claim, and are neither members nor ours of this cluster."""
    ours = {names.MANAGED_BY_LABEL: names.MANAGED_BY, names.CLUSTER_LABEL: site.cluster.statefulset}.items()
    uids = {pod.metadata.uid for pod in members}
    for pod in pods:
        if pod.metadata.uid in uids or ours <= (pod.metadata.labels or {}).items():
            continue
        shape = pod_shape(pod, None)
        if site.backup_claim in shape.claims:
            yield shape


def _by_ordinal(member: PodShape) -> tuple[int, str]:
    ordinal = member.name.rpartition("-")[2]
    return int(ordinal) if ordinal.isdigit() else -1, member.name
