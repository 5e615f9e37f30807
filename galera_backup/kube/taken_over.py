"""What a runner pod takes over from the servers' pods: where they may run, as whom, and the files that a tool needs."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

from kubernetes.client import (
    V1Affinity,
    V1Capabilities,
    V1LocalObjectReference,
    V1NodeAffinity,
    V1NodeSelector,
    V1NodeSelectorRequirement,
    V1NodeSelectorTerm,
    V1PodSecurityContext,
    V1PreferredSchedulingTerm,
    V1SeccompProfile,
    V1SecurityContext,
)

from galera_backup.errors import InvalidInput
from galera_backup.kube.facts import PodFacts, StatefulSetFacts

_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
"""Begin of the annotation for a container, as before Kubernetes 1.30."""


@dataclass(frozen=True)
class Taken:
    """Of one StatefulSet. `server_volumes`: which of the server's volumes."""

    statefulset: StatefulSetFacts
    server_volumes: Sequence[str] = ()

    def affinity(self, replica: PodFacts | None, prefer_node: str, *, as_server: bool = False) -> V1Affinity | None:
        """The node of the replica beside which it works, by affinity, so that the scheduler still looks at its volumes;
        else the template's demands on the node; `as_server`: both. `prefer_node`: where a stopped replica ran."""
        template = getattr(self.statefulset.pod, "affinity", None)
        demands = getattr(template.node_affinity, _REQUIRED, None) if template and template.node_affinity else None
        terms = deepcopy(list(demands.node_selector_terms)) if demands is not None else []
        if _runs(replica):
            # a node that has changed since keeps its server, and takes this pod
            terms = [_with_node(each, replica.node) for each in (terms if as_server else ()) or [V1NodeSelectorTerm()]]
        preferred = [V1PreferredSchedulingTerm(weight=100, preference=_term(prefer_node))] if prefer_node else None
        if not terms and not preferred:
            return None
        return V1Affinity(
            node_affinity=V1NodeAffinity(
                required_during_scheduling_ignored_during_execution=(
                    V1NodeSelector(node_selector_terms=terms) if terms else None
                ),
                preferred_during_scheduling_ignored_during_execution=preferred,
            )
        )

    def node_selector(self, replica: PodFacts | None, *, as_server: bool = False) -> dict[str, str] | None:
        """That of the template; beside a running replica none, if not `as_server`."""
        return None if _runs(replica) and not as_server else dict(self._of_pod("node_selector") or {}) or None

    def tolerations(self) -> list[Any]:
        """Those of the template."""
        return list(self._of_pod("tolerations") or ())

    def pull_secrets(self, more: Sequence[str]) -> list[Any]:
        """Those of the template, and more."""
        return [*(self._of_pod("image_pull_secrets") or ()), *(V1LocalObjectReference(name=name) for name in more)]

    def priority_class(self) -> str | None:
        """That of the template."""
        return cast("str | None", self._of_pod("priority_class_name"))

    def runtime_class(self) -> str | None:
        """That of the template."""
        return cast("str | None", self._of_pod("runtime_class_name"))

    def pod_security(self, user: int, group: int, fs_group: int | None) -> V1PodSecurityContext:
        """Ours, with what only the template knows: SELinux, AppArmor, supplemental groups."""
        template = self._of_pod("security_context")
        return V1PodSecurityContext(
            run_as_non_root=True,
            run_as_user=user,
            run_as_group=group,
            fs_group=fs_group,
            fs_group_change_policy="OnRootMismatch" if fs_group is not None else None,
            supplemental_groups=getattr(template, "supplemental_groups", None),
            se_linux_options=getattr(template, "se_linux_options", None),
            app_armor_profile=getattr(template, "app_armor_profile", None),
            seccomp_profile=V1SeccompProfile(type="RuntimeDefault"),
        )

    def annotations(self, containers: Sequence[str]) -> dict[str, str]:
        """For these containers, what the template says of the server's: AppArmor, as before Kubernetes 1.30."""
        profile = self.statefulset.pod_annotations.get(f"{_APP_ARMOR}{self.statefulset.container}")
        return {f"{_APP_ARMOR}{name}": profile for name in containers} if profile is not None else {}

    def volumes(self) -> list[Any]:
        """Of the template, those that are taken over, under names that no other volume of the pod has.

        Error: `InvalidInput`, when the template does not have one of them, or its server does not mount it.
        """
        there = {volume.name: volume for volume in self._of_pod("volumes") or []}
        mounted = {mount.name for mount in self._mounts()}
        if missing := [name for name in self.server_volumes if name not in there or name not in mounted]:
            raise InvalidInput(
                f"StatefulSet {str(self.statefulset.cluster)!r}: expected the template's container "
                f"{self.statefulset.container!r} to mount the volumes {', '.join(map(repr, missing))}, as a running "
                "replica does: a tool needs the keys in them. Finish the rollout, or take it back"
            )
        return [_named(there[name], new) for name, new in self._names.items()]

    def mounts(self) -> list[Any]:
        """Of the server's container, read-only."""
        found = [_named(mount, self._names[mount.name]) for mount in self._mounts() if mount.name in self._names]
        for mount in found:
            mount.read_only = True
        return found

    @property
    def _names(self) -> dict[str, str]:
        return {name: f"server-{number}" for number, name in enumerate(self.server_volumes)}

    def _mounts(self) -> Sequence[Any]:
        return getattr(self.statefulset.server, "volume_mounts", None) or ()

    def _of_pod(self, field: str) -> Any:
        return getattr(self.statefulset.pod, field, None)


def locked_down(statefulset: StatefulSetFacts) -> V1SecurityContext:
    """Of each container; SELinux and AppArmor as the server's."""
    server = getattr(statefulset.server, "security_context", None)
    return V1SecurityContext(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=V1Capabilities(drop=["ALL"]),
        se_linux_options=getattr(server, "se_linux_options", None),
        app_armor_profile=getattr(server, "app_armor_profile", None),
    )


def _runs(replica: PodFacts | None) -> TypeGuard[PodFacts]:
    return replica is not None and bool(replica.node)


def _named(found: Any, name: str) -> Any:
    """A copy of a volume or a mount, under this name."""
    copied = deepcopy(found)
    copied.name = name
    return copied


_REQUIRED = "required_during_scheduling_ignored_during_execution"


def _on(node: str) -> V1NodeSelectorRequirement:
    return V1NodeSelectorRequirement(key="metadata.name", operator="In", values=[node])


def _with_node(term: V1NodeSelectorTerm, node: str) -> V1NodeSelectorTerm:
    fields = [*(term.match_fields or []), _on(node)]
    return V1NodeSelectorTerm(match_expressions=term.match_expressions, match_fields=fields)


def _term(node: str) -> V1NodeSelectorTerm:
    return V1NodeSelectorTerm(match_fields=[_on(node)])
