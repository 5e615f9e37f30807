"""A pod that holds a replica's name: while it is there, the StatefulSet's controller cannot make the replica.

The API server gives a name to one pod alone, whoever scales, reverts or recreates the StatefulSet. It never runs: its
scheduling gate keeps the scheduler off. Its finalizer keeps it when somebody deletes it, by force too. See ADR 19.
"""

from __future__ import annotations

from kubernetes.client import (
    V1Capabilities,
    V1Container,
    V1ObjectMeta,
    V1Pod,
    V1PodSchedulingGate,
    V1PodSecurityContext,
    V1PodSpec,
    V1ResourceRequirements,
    V1SeccompProfile,
    V1SecurityContext,
)

from galera_backup import names
from galera_backup.models.common import ClusterRef
from galera_backup.models.site import RunnerSettings, Site

_WHY = (
    "Holds the name of a server while the data on its volume is replaced, so that nobody starts the server meanwhile. "
    "It goes when that is over. To release it by hand, when the operation and its lease are gone and the data is known "
    'to be whole: kubectl patch pod NAME --type merge -p \'{"metadata":{"finalizers":null}}\' and delete it'
)


def hold_pod(site: Site, name: str, owner: str, image: str, service_account: str | None) -> V1Pod:
    """The pod that holds one name for a stop (`HoldTask.owner`); `image` is never pulled.

    `service_account`: of the servers' pods, as it decides which policies they meet. The labels of `runner` are left
    out: the StatefulSet's controller adopts a pod that has a replica's name and its selector's labels. It names no
    user: a policy may give it one of its own choice.
    """
    return V1Pod(
        api_version="v1",
        kind="Pod",
        metadata=V1ObjectMeta(
            name=name,
            namespace=site.cluster.namespace,
            labels=hold_labels(site.cluster),
            annotations={
                **site.runner.annotations,
                names.HOLD_WHY_ANNOTATION: _WHY.replace("NAME", name),
                names.HOLD_OWNER_ANNOTATION: owner,
            },
            finalizers=[names.HOLD_FINALIZER],
        ),
        spec=V1PodSpec(
            containers=[
                V1Container(
                    name="hold",
                    image=image,
                    resources=_share(site.runner),
                    security_context=V1SecurityContext(
                        allow_privilege_escalation=False,
                        read_only_root_filesystem=True,
                        capabilities=V1Capabilities(drop=["ALL"]),
                    ),
                )
            ],
            scheduling_gates=[V1PodSchedulingGate(name=names.HOLD_GATE)],
            automount_service_account_token=False,
            service_account_name=service_account,
            priority_class_name=site.runner.priority_class,
            enable_service_links=False,
            restart_policy="Never",
            security_context=V1PodSecurityContext(
                run_as_non_root=True,
                seccomp_profile=V1SeccompProfile(type="RuntimeDefault"),
            ),
        ),
    )


def _share(settings: RunnerSettings) -> V1ResourceRequirements:
    """It takes nothing, but a quota may want every pod to say so."""
    return V1ResourceRequirements(
        requests={"cpu": "1m", "memory": "1Mi", **settings.requests}, limits=dict(settings.limits) or None
    )


def hold_labels(cluster: ClusterRef) -> dict[str, str]:
    """By which the holds of a cluster are found; no selector of the cluster matches them."""
    return {names.MANAGED_BY_LABEL: names.MANAGED_BY, names.HOLD_LABEL: cluster.statefulset}
