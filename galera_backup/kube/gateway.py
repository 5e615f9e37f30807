"""The calls to the Kubernetes API server, each with a time limit and errors of the one tree."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from typing import Any

from kubernetes import client
from kubernetes.client import ApiClient, ApiException, V1DeleteOptions, V1Pod, V1Preconditions
from urllib3.exceptions import HTTPError

from galera_backup import names
from galera_backup.credentials import Credentials
from galera_backup.errors import ClusterNotFound, KubernetesRefused
from galera_backup.kube.admission import quota, server_pod
from galera_backup.kube.calls import TIMEOUT, call, translated, unreachable
from galera_backup.kube.facts import ClaimFacts, PodFacts, StatefulSetFacts, pod_facts, statefulset_facts
from galera_backup.kube.hold_pod import hold_labels
from galera_backup.kube.inspector import Inspector
from galera_backup.marks import annotations_of, revocation
from galera_backup.models.admission import Quota
from galera_backup.models.common import ClusterRef, SecretRef
from galera_backup.models.mark import Mark
from galera_backup.models.shape import ClusterShape
from galera_backup.models.site import RunnerSite

_OF_A_STATEFULSET = "statefulset.kubernetes.io/pod-name"
"""Label that the controller gives to each pod of a StatefulSet, and gives again when somebody takes it away."""
_SERVICE = "kubernetes.io/service-name"
"""Label of an EndpointSlice."""


class KubeGateway:
    """Reads and changes what an operation needs of a cluster.

    Errors of every method: `KubernetesUnavailable` when a retry can help (connection, 409, 429, 5xx),
    `KubernetesRefused` when it cannot, `ClusterNotFound` for an object that must exist and does not. Of a method that
    writes or removes a mark also `MarkUnreadable`, before anything is sent.
    """

    def __init__(self, api_client: ApiClient) -> None:
        self._core = client.CoreV1Api(api_client)
        self._apps = client.AppsV1Api(api_client)
        self._discovery = client.DiscoveryV1Api(api_client)
        self._inspector = Inspector(
            self._core, self._apps, client.AutoscalingV2Api(api_client), client.PolicyV1Api(api_client)
        )

    # --- reading

    def statefulset(
        self, cluster: ClusterRef, container: str | None, data_directory: str | None = None
    ) -> StatefulSetFacts:
        """The cluster's StatefulSet; `container` is the name of the server's container, None: it is found.

        `data_directory`, where a request says it: whoever works with the data claims needs it.
        """
        found = call(
            f"reading StatefulSet {str(cluster)!r}",
            self._apps.read_namespaced_stateful_set,
            cluster.statefulset,
            cluster.namespace,
        )
        return statefulset_facts(found, cluster, container, data_directory)

    def shape(self, site: RunnerSite, replicas: int | None) -> ClusterShape:
        """All that the preflight looks at. `replicas`: how many to look at, where the StatefulSet is at 0."""
        return self._inspector.shape(site, replicas)

    def pod(self, namespace: str, name: str) -> PodFacts:
        """A pod that must exist."""
        return pod_facts(call(f"reading pod {name!r}", self._core.read_namespaced_pod, name, namespace))

    def find_pod(self, namespace: str, name: str) -> PodFacts | None:
        """A pod, or None."""
        try:
            return self.pod(namespace, name)
        except ClusterNotFound:
            return None

    def members(self, cluster: ClusterRef) -> list[PodFacts]:
        """The pods that the StatefulSet owns, whatever its replica count says now.

        The namespace may have a thousand pods of others, of which each takes milliseconds to read.
        """
        pods = call(
            f"listing pods of {str(cluster)!r}",
            self._core.list_namespaced_pod,
            cluster.namespace,
            label_selector=_OF_A_STATEFULSET,
        )
        return [pod_facts(pod) for pod in pods.items if _is_owned_by(pod, cluster)]

    def claim(self, namespace: str, name: str) -> ClaimFacts:
        """A PersistentVolumeClaim that must exist."""
        claim = call(f"reading claim {name!r}", self._core.read_namespaced_persistent_volume_claim, name, namespace)
        return ClaimFacts(uid=claim.metadata.uid, deleting=claim.metadata.deletion_timestamp is not None)

    def credentials(self, namespace: str, reference: SecretRef) -> Credentials:
        """User and password from a Secret."""
        doing = f"reading Secret {namespace}/{reference.secret}"
        secret = call(doing, self._core.read_namespaced_secret, reference.secret, namespace)
        data: Mapping[str, str] = secret.data or {}
        missing = [key for key in (reference.user_key, reference.password_key) if key not in data]
        if missing:
            raise ClusterNotFound(f"{doing}: expected the keys {missing}, it has {sorted(data)}")
        return Credentials(
            user=base64.b64decode(data[reference.user_key]).decode(),
            password=base64.b64decode(data[reference.password_key]).decode(),
        )

    def services_that_list(self, namespace: str, pod: str) -> list[str]:
        """Services whose endpoints list the pod as ready; those that publish pods that are not ready do not count."""
        listing = {
            str(endpoint_slice.metadata.labels[_SERVICE])
            for endpoint_slice in self._endpoint_slices(namespace)
            if any(
                endpoint.target_ref is not None
                and endpoint.target_ref.name == pod
                and endpoint.conditions is not None
                and endpoint.conditions.ready
                for endpoint in endpoint_slice.endpoints or []
            )
        }
        return sorted(listing & self._services_that_follow_readiness(namespace).keys())

    def services_that_select(self, namespace: str, labels: Mapping[str, str]) -> list[str]:
        """Services that should list a ready pod with these labels."""
        return sorted(
            name
            for name, selector in self._services_that_follow_readiness(namespace).items()
            if selector.items() <= labels.items()
        )

    def services_of(self, statefulset: StatefulSetFacts) -> list[str]:
        """The Services under whose names its pods are found: the one that names them, and all that select them."""
        selecting = set(self.services_that_match(statefulset.cluster.namespace, statefulset.labels))
        return sorted(selecting | {statefulset.service} - {""})

    def services_that_match(self, namespace: str, labels: Mapping[str, str]) -> list[str]:
        """Services whose selector matches these labels, those that publish pods that are not ready too."""
        services = call(f"listing Services of {namespace!r}", self._core.list_namespaced_service, namespace)
        return sorted(
            service.metadata.name
            for service in services.items
            if service.spec.selector and service.spec.selector.items() <= labels.items()
        )

    def _services_that_follow_readiness(self, namespace: str) -> dict[str, dict[str, str]]:
        services = call(f"listing Services of {namespace!r}", self._core.list_namespaced_service, namespace)
        return {
            service.metadata.name: service.spec.selector
            for service in services.items
            if service.spec.selector
            and not service.spec.publish_not_ready_addresses
            and service.spec.type != "ExternalName"  # nobody makes endpoints for it
        }

    def _endpoint_slices(self, namespace: str) -> list[Any]:
        doing = f"listing endpoints in {namespace!r}"
        slices = call(doing, self._discovery.list_namespaced_endpoint_slice, namespace, label_selector=_SERVICE)
        return list(slices.items)

    # --- changes by the lease: each patch names the version that was read, so an object that has changed gives a 409

    def set_mark(self, namespace: str, pod: PodFacts, mark: Mark | None) -> None:
        """Write or remove the lease's mark on a pod."""
        doing = f"marking pod {pod.name!r}"
        self._patch_pod(namespace, pod, annotations=annotations_of(pod.annotations, mark, doing))

    def set_label(self, namespace: str, pod: PodFacts, key: str, value: str | None) -> None:
        """Set a label of a pod; None removes it."""
        self._patch_pod(namespace, pod, labels={key: value})

    def revoke(self, namespace: str, pod: PodFacts, lease_run: str) -> None:
        """Note on a pod that this run of a lease must not change it any more."""
        self._patch_pod(namespace, pod, annotations=revocation(lease_run))

    def _patch_pod(self, namespace: str, pod: PodFacts, spec: Mapping[str, Any] | None = None, **metadata: Any) -> None:
        body = {"metadata": {"resourceVersion": pod.resource_version, **metadata}, "spec": spec or {}}
        patch = self._core.patch_namespaced_pod
        call(f"patching pod {pod.name!r}", patch, pod.name, namespace, body, field_manager=names.MANAGED_BY)

    def scale(self, statefulset: StatefulSetFacts, replicas: int, mark: Mark, revoked_run: str | None = None) -> None:
        """Set `spec.replicas` and the mark in one patch; and, as `revoke_statefulset`, note a run of a lease."""
        self._patch_marked("scaling", statefulset, mark, revoked_run, {"replicas": replicas})

    def mark_statefulset(
        self, statefulset: StatefulSetFacts, mark: Mark | None, revoked_run: str | None = None
    ) -> None:
        """Replace the mark, or remove it; and, as `revoke_statefulset`, note a run of a lease."""
        self._patch_marked("marking", statefulset, mark, revoked_run, {})

    def revoke_statefulset(self, statefulset: StatefulSetFacts, lease_run: str) -> None:
        """Note on a StatefulSet that this run of a lease must not scale it down any more."""
        doing = f"marking StatefulSet {str(statefulset.cluster)!r}"
        self._patch_statefulset(doing, statefulset, revocation(lease_run), {})

    def wake(self, statefulset: StatefulSetFacts, at: datetime) -> None:
        """Change the StatefulSet, so that its controller tries again what it has backed off from."""
        doing = f"waking the controller of StatefulSet {str(statefulset.cluster)!r}"
        self._patch_statefulset(doing, statefulset, {names.RELEASED_ANNOTATION: at.isoformat()}, {})

    def _patch_marked(
        self, verb: str, found: StatefulSetFacts, mark: Mark | None, revoked_run: str | None, spec: Mapping[str, Any]
    ) -> None:
        doing = f"{verb} StatefulSet {str(found.cluster)!r}"
        self._patch_statefulset(doing, found, annotations_of(found.annotations, mark, doing, revoked_run), spec)

    def _patch_statefulset(
        self, doing: str, found: StatefulSetFacts, annotations: Mapping[str, str | None], spec: Mapping[str, Any]
    ) -> None:
        metadata = {"resourceVersion": found.resource_version, "annotations": annotations}
        cluster, patch = found.cluster, self._apps.patch_namespaced_stateful_set
        body = {"metadata": metadata, "spec": spec}
        call(doing, patch, cluster.statefulset, cluster.namespace, body, field_manager=names.MANAGED_BY)

    # --- runner pods

    def create_pod(self, namespace: str, pod: V1Pod) -> None:
        """Create a pod; success too when a pod of this name exists already."""
        try:
            self._core.create_namespaced_pod(namespace, pod, field_manager=names.MANAGED_BY, _request_timeout=TIMEOUT)
        except ApiException as error:
            if error.status != HTTPStatus.CONFLICT:
                raise translated(error, f"creating pod {pod.metadata.name!r}") from error
        except HTTPError as error:
            raise unreachable(error, f"creating pod {pod.metadata.name!r}") from error

    def try_pod(self, namespace: str, pod: V1Pod) -> V1Pod:
        """What admission would make of a pod; nothing is created."""
        create = self._core.create_namespaced_pod
        return call(f"trying pod {pod.metadata.name!r}", create, namespace, pod, dry_run="All")

    def try_scale(self, statefulset: StatefulSetFacts, replicas: int) -> None:
        """Whether `scale` would be admitted; nothing is changed."""
        cluster, body = statefulset.cluster, {"spec": {"replicas": replicas}}
        doing = f"trying to scale StatefulSet {str(cluster)!r} to {replicas}"
        patch, where = self._apps.patch_namespaced_stateful_set, (cluster.statefulset, cluster.namespace)
        call(doing, patch, *where, body, dry_run="All", field_manager=names.MANAGED_BY)

    def server_pod(self, statefulset: StatefulSetFacts) -> V1Pod:
        """A pod of the StatefulSet as its template makes it, under a name of its own."""
        cluster = statefulset.cluster
        doing = f"reading StatefulSet {str(cluster)!r}"
        found = call(doing, self._apps.read_namespaced_stateful_set, cluster.statefulset, cluster.namespace)
        first = names.pod(cluster, statefulset.first_ordinal)
        templates = [each.metadata.name for each in found.spec.volume_claim_templates or []]
        return server_pod(found, {name: f"{name}-{first}" for name in templates})

    def quotas(self, namespace: str) -> tuple[Quota, ...]:
        """The ResourceQuotas of a namespace."""
        listed = call(f"listing resourcequotas of {namespace!r}", self._core.list_namespaced_resource_quota, namespace)
        return tuple(quota(each) for each in listed.items)

    def release_pod(self, namespace: str, pod: PodFacts) -> None:
        """Remove a runner pod's gate, so that it is scheduled, if the pod has not changed since it was read."""
        # None: in a strategic merge patch an empty list would leave the gate in its place.
        self._patch_pod(namespace, pod, {"schedulingGates": None})

    def delete_pod(self, namespace: str, name: str) -> None:
        """Delete a pod; success too when it is gone already. Returns before the pod is gone."""
        try:
            call(f"deleting pod {name!r}", self._core.delete_namespaced_pod, name, namespace)
        except ClusterNotFound:
            return

    def delete_unstarted(self, namespace: str, pod: PodFacts) -> None:
        """Delete a pod that has not changed since it was read: one that was not started by then never is.

        Error: `KubernetesUnavailable`, also when it has changed.
        """
        options = V1DeleteOptions(preconditions=V1Preconditions(uid=pod.uid, resource_version=pod.resource_version))
        call(f"deleting pod {pod.name!r}", self._core.delete_namespaced_pod, pod.name, namespace, body=options)

    def delete_member(self, namespace: str, pod: PodFacts) -> None:
        """Delete exactly this pod, not a later one of its name; success too when it is gone already."""
        options = V1DeleteOptions(preconditions=V1Preconditions(uid=pod.uid))
        doing = f"deleting pod {pod.name!r}"
        with suppress(ClusterNotFound):
            call(doing, self._core.delete_namespaced_pod, pod.name, namespace, body=options)

    def holds(self, cluster: ClusterRef) -> list[PodFacts]:
        """The pods that hold names of its replicas."""
        selector = ",".join(f"{key}={value}" for key, value in hold_labels(cluster).items())
        doing = f"listing the pods that hold names of {str(cluster)!r}"
        pods = call(doing, self._core.list_namespaced_pod, cluster.namespace, label_selector=selector)
        return [pod_facts(pod) for pod in pods.items]

    def take_hold(self, namespace: str, pod: PodFacts, owner: str) -> None:
        """From now on it holds the name for this stop, if it has not changed since it was read."""
        self._patch_pod(namespace, pod, annotations={names.HOLD_OWNER_ANNOTATION: owner})

    def release_hold(self, namespace: str, pod: PodFacts) -> None:
        """Remove the finalizer of exactly this pod, and the pod; success too when it is gone already."""
        doing, options = (
            f"releasing pod {pod.name!r}",
            V1DeleteOptions(grace_period_seconds=0, preconditions=V1Preconditions(uid=pod.uid)),
        )
        with suppress(ClusterNotFound):
            self._patch_pod(namespace, pod, finalizers=None)
            call(doing, self._core.delete_namespaced_pod, pod.name, namespace, body=options)

    def runner_pods(self, cluster: ClusterRef, lease_run: str | None) -> list[PodFacts]:
        """The runner pods that work under one run of the cluster's lease; None: under any run."""
        of_lease = names.LEASE_LABEL if lease_run is None else f"{names.LEASE_LABEL}={lease_run}"
        managed = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY},{names.CLUSTER_LABEL}={cluster.statefulset}"
        pods = call(
            f"listing runner pods of {str(cluster)!r}",
            self._core.list_namespaced_pod,
            cluster.namespace,
            label_selector=f"{managed},{of_lease}",
        )
        return [pod_facts(pod) for pod in pods.items]

    def log(self, namespace: str, pod: str, container: str, tail_lines: int) -> str:
        """The last lines of a container's log; empty when it has none.

        The API's limit in bytes does not help: it returns the first bytes.
        """
        try:
            text = call(
                f"reading the log of {container!r} in pod {pod!r}",
                self._core.read_namespaced_pod_log,
                pod,
                namespace,
                container=container,
                tail_lines=tail_lines,
            )
        except (ClusterNotFound, KubernetesRefused):  # 400: the container has not started
            return ""
        return str(text or "")


def _is_owned_by(pod: V1Pod, cluster: ClusterRef) -> bool:
    return any(
        owner.kind == "StatefulSet" and owner.name == cluster.statefulset
        for owner in pod.metadata.owner_references or []
    )
