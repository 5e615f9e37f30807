"""One namespace: a Galera cluster as a StatefulSet, its Services and claims, runner pods, a backup volume."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kubernetes.client import V1Pod

from galera_backup import names
from galera_backup.credentials import Credentials
from galera_backup.errors import ClusterNotFound, KubernetesUnavailable
from galera_backup.kube.facts import PodFacts, StatefulSetFacts
from galera_backup.models.admission import Quota
from galera_backup.models.clone import GaleraGroup
from galera_backup.models.common import ClusterRef
from galera_backup.models.mark import Mark
from galera_backup.models.runner import RunnerErrorType
from galera_backup.models.shape import ClusterShape
from galera_backup.runner.handshake import AGENT_CONTAINER
from tests.fakes import safety
from tests.fakes.faults import Faults
from tests.fakes.hold import Holds
from tests.fakes.member import Delays, Member
from tests.fakes.proof import ProofAnswers
from tests.fakes.runner import End, RunnerPod
from tests.fakes.statefulset import Controller, StatefulSet, annotated
from tests.fakes.timeline import Timeline
from tests.fakes.volumes import CLUSTER_UUID, BackupVolume, Claim

SERVER = {"app": "mariadb"}
"""Labels of the StatefulSet's template."""
PRIMARY = {"mariadb-role": "primary"}
BACKUP = {"mariadb-role": "backup"}


@dataclass
class RunnerPlan:
    """How the next runner pods of a mode, or of a mode on the claim with an ordinal, go."""

    mode: str
    ordinal: int | None = None
    end: End = "answers"
    error: RunnerErrorType = "RunnerFailed"
    held: bool = False
    times: int = 1


class World:
    """Everything of one test. Take `lock` before looking inside; gateway calls take it by themselves."""

    exists: bool = True
    """False: there is no such namespace."""
    datadir: str = "/var/lib/mysql/"
    servers_say: Mapping[str, Any] = {}
    """Fields of every server's settings."""
    kills_the_last = False
    """Its server has not ended when the grace of its pod has."""
    refuses_scaling = False
    """A policy lets nobody scale it down."""
    refuses_pods: str | None = None
    """Admission refuses pods with this in their names."""
    quotas: tuple[Quota, ...] = ()
    taken: frozenset[str] = frozenset()
    """Names of pods that somebody else has made."""
    copies_may_stay: bool = False
    """A restore keeps the old data."""

    def __init__(
        self, cluster: ClusterRef, replicas: int = 3, primary: int | None = 0, network: str = "10.0.0"
    ) -> None:
        self.cluster = cluster
        self.network = network
        """Of its pods."""
        self.lock = threading.RLock()
        self.time = Timeline()
        self.faults = Faults()
        self.delays = Delays()
        self.events: list[str] = []
        """What happened, in order; for assertions on order."""
        self.deleted: list[str] = []
        """Members that somebody asked the API server to delete."""
        self.violations: list[str] = []
        """What must never happen."""
        self.statefulset = StatefulSet(replicas)
        self.controller = Controller(self)
        self.claims = {self.claim_name(each): Claim(self.claim_name(each)) for each in range(replicas)}
        self.volume = BackupVolume()
        self.services: dict[str, dict[str, str]] = {"mariadb": dict(SERVER)}
        self.members: dict[str, Member] = {}
        self.runners: dict[str, RunnerPod] = {}
        self.plans: list[RunnerPlan] = []
        self.created: list[V1Pod] = []
        self.looking_credentials = Credentials("backup", "secret-word")
        self.secrets: dict[str, Credentials] = {}
        """Beside that of `looking_credentials`."""
        self.proof = ProofAnswers()
        self.controller_moves_label = False
        self.never_ready: set[int] = set()
        """Ordinals whose servers do not come up."""
        self.never_ready_on: set[str] = set()
        """Data on which no server comes up."""
        self.address = "gcomm://mariadb-discovery"
        """wsrep_cluster_address of its members."""
        self.settings: tuple[str, ...] = ()
        """Of the servers' container."""
        self.strangers: tuple[str, ...] = ()
        """Hosts that its members see in their group, once it runs on restored data."""
        self.joins: World | None = None
        """The cluster whose group its members join when they start next."""
        self.ends_on: set[str] = set()
        """Data on which a server ends again and again."""
        self.reshape: Callable[[ClusterShape], ClusterShape] = lambda shape: shape
        """What Kubernetes says of its objects, when they are not as usual."""
        self.holds = Holds(self.events.append)
        """Pods that hold the names of replicas."""
        for ordinal in range(replicas):
            self._serve(self.new_member(ordinal, PRIMARY if ordinal == primary else {}))
        if primary is not None:
            self.services["mariadb-primary"] = {**SERVER, **PRIMARY}
        self.labels_before = self.labels()

    # --- for tests

    def member(self, ordinal: int) -> Member:
        """The pod with this ordinal."""
        return self.members[names.pod(self.cluster, ordinal)]

    def labels(self) -> dict[str, dict[str, str]]:
        """Of every member."""
        return {name: dict(member.labels) for name, member in self.members.items()}

    def claim_name(self, ordinal: int) -> str:
        """As the StatefulSet controller names it."""
        return f"mysql-data-{names.pod(self.cluster, ordinal)}"

    def look(self) -> World:
        """Let happen what is due, then look."""
        with self.lock:
            self.time.advance()
        return self

    def plan(self, plan: RunnerPlan) -> None:
        """How a runner pod that is not yet created goes."""
        self.plans.append(plan)

    def remove_mark(self, ordinal: int | None = None, *, all_annotations: bool = False) -> None:
        """A person or an operator removes the mark from a pod, or from the StatefulSet; or sets annotations whole."""
        with self.lock:
            carrier = self.statefulset if ordinal is None else self.member(ordinal)
            kept = {} if all_annotations else dict(carrier.annotations)
            kept.pop(names.LEASE_ANNOTATION, None)
            if carrier.annotations != kept:
                carrier.annotations = kept
                carrier.version += 1

    def scale_by_hand(self, replicas: int) -> None:
        """A person scales the StatefulSet; its controller follows."""
        with self.lock:
            self.statefulset.replicas = replicas
            self.statefulset.version += 1
            self.controller.reconcile_soon()

    def let_go(self) -> None:
        """Held runner pods finish."""
        with self.lock:
            self.plans = [replace(plan, held=False) for plan in self.plans]
            for pod in self.runners.values():
                pod.let_go()

    def recreate(self, ordinal: int) -> None:
        """The pod is deleted and comes again, with the labels of the template and wsrep_desync OFF."""
        with self.lock:
            self.controller.delete(self.member(ordinal))

    def claims_are_incomplete(self) -> bool:
        """A claim on which no server may start."""
        return any(claim.data == "incomplete" for claim in self.claims.values())

    def delete_member(self, facts: PodFacts) -> None:
        """Delete this very pod (409 for one that has come in its place)."""
        member = self.members.get(facts.name)
        if member is None:
            return
        if member.uid != facts.uid:
            raise KubernetesUnavailable(f"deleting pod {facts.name!r}: Kubernetes answered 409 Conflict")
        self.deleted.append(facts.name)
        leaving = [each.name for each in self.members.values() if each.deleting and not each.ended]
        if leaving not in ([], [facts.name]):
            self.violations.append(f"{facts.name} was told to go while {leaving} left")
        if not member.deleting:
            self.controller.delete(member)

    # --- Services

    def selecting(self, labels: dict[str, str]) -> list[str]:
        """Services that select these labels."""
        return sorted(name for name, selector in self.services.items() if selector.items() <= labels.items())

    def listing(self, pod: str) -> list[str]:
        """Services that list this pod as ready."""
        member = self.members.get(pod)
        return sorted(
            name for name, selector in self.services.items() if member is not None and member.is_listed_by(selector)
        )

    # --- what a person, or the gateway, changes

    def knows(self, credentials: Credentials) -> bool:
        """Its servers let this account log in."""
        return credentials in (self.looking_credentials, *self.secrets.values())

    def patch_member(self, name: str, version: str, change: Callable[[Member], None]) -> None:
        """Change a pod's metadata, only if it has not changed since (409)."""
        member = self.members.get(name)
        if member is None:
            raise ClusterNotFound(f"patching pod {name!r}: it does not exist")
        if version != str(member.version):
            raise KubernetesUnavailable(f"patching pod {name!r}: Kubernetes answered 409 Conflict")
        before = dict(member.labels), dict(member.annotations)
        change(member)
        if before != (member.labels, member.annotations):  # a patch that changes nothing leaves the version
            member.version += 1
            member.follow_labels()

    def patch_statefulset(self, version: str, replicas: int, annotations: dict[str, str]) -> None:
        """Change it only if it has not changed since (409); a patch that changes nothing leaves its version."""
        if version != str(self.statefulset.version):
            raise KubernetesUnavailable("patching the StatefulSet: Kubernetes answered 409 Conflict")
        if (replicas, annotations) != (self.statefulset.replicas, self.statefulset.annotations):
            self.statefulset.version += 1
        self.statefulset.replicas, self.statefulset.annotations = replicas, annotations

    def mark_statefulset(self, facts: StatefulSetFacts, mark: Mark | None, revoked_run: str | None = None) -> None:
        """Replace the mark, or remove it; and note a run of a lease."""
        annotations = annotated(facts, mark, "marking", revoked_run)
        self.patch_statefulset(facts.resource_version, self.statefulset.replicas, annotations)

    def scale(self, facts: StatefulSetFacts, replicas: int, mark: Mark, revoked_run: str | None = None) -> None:
        """Replica count, mark and note in one patch."""
        annotations = annotated(facts, mark, "scaling", revoked_run)
        self.patch_statefulset(facts.resource_version, replicas, annotations)
        stops = mark.start is not None and mark.start.stopping_from
        self.events.append(f"{'down' if stops else 'scale'} {replicas}")
        self.statefulset.strategy = mark.start.strategy if mark.start is not None else None
        safety.check_scale(self, replicas)
        self.controller.reconcile_soon()

    def create_runner(self, pod: V1Pod) -> None:
        """Schedule a runner pod; one of this name that is there already stays as it is."""
        name = pod.metadata.name
        if not self.exists:
            raise ClusterNotFound(f"creating pod {name!r}: the namespace does not exist")
        if name in self.runners and not self.runners[name].gone:
            return
        self.created.append(pod)
        spec = pod.spec
        agent = next(each for each in spec.containers if each.name == AGENT_CONTAINER)
        job = RunnerPod.job_of({each.name: each.value for each in agent.env})
        claimed = {each.name: each.persistent_volume_claim.claim_name for each in spec.volumes if _is_claim(each)}
        runner = RunnerPod(
            name=name,
            labels=pod.metadata.labels,
            job=job,
            claim=self.claims[claimed["data"]] if "data" in claimed else None,
            volume=self.volume,
            time=self.time,
            note=self.events.append,
            check=lambda pod: safety.check_runner(self, pod),
            annotations=dict(pod.metadata.annotations or {}),
        )
        ordinal = names.ordinal(claimed["data"]) if "data" in claimed else None
        for plan in self.plans:
            if plan.mode == job.mode and plan.times and plan.ordinal in (None, ordinal):
                plan.times -= 1
                runner.end, runner.error, runner.held = plan.end, plan.error, plan.held
                break
        self.runners[name] = runner
        runner.gated = bool(spec.scheduling_gates)
        if not runner.gated:
            runner.schedule()

    def release_runner(self, facts: PodFacts) -> None:
        """Remove a runner pod's gate, only if the pod has not changed since (409)."""
        pod = self.runners.get(facts.name)
        if pod is None or pod.gone:
            raise ClusterNotFound(f"patching pod {facts.name!r}: it does not exist")
        if facts.resource_version != pod.version:
            raise KubernetesUnavailable(f"patching pod {facts.name!r}: Kubernetes answered 409 Conflict")
        pod.release()

    def delete_unstarted(self, facts: PodFacts) -> None:
        """Delete a runner pod, only if it has not changed since (409)."""
        pod = self.runners[facts.name]
        if facts.resource_version != pod.version:
            raise KubernetesUnavailable(f"deleting pod {facts.name!r}: Kubernetes answered 409 Conflict")
        pod.delete()

    def present_runners(self) -> Iterable[RunnerPod]:
        """Those that are not gone."""
        self.runners = {name: pod for name, pod in self.runners.items() if not pod.gone}
        return self.runners.values()

    # --- what goes by itself

    def new_member(self, ordinal: int, labels: dict[str, str]) -> Member:
        """A pod of the template, with these labels too; it is not in `members` yet."""
        member = Member(
            name=names.pod(self.cluster, ordinal),
            ordinal=ordinal,
            labels={**SERVER, **labels},
            time=self.time,
            events=self.events,
            delays=self.delays,
            network=self.network,
        )
        member.on_changed = lambda: self._on_readiness(member)
        return member

    def _serve(self, member: Member) -> None:
        member.ready = member.listed = True
        member.listed_labels = dict(member.labels)
        self.members[member.name] = member

    def _on_readiness(self, member: Member) -> None:
        if self.controller_moves_label:
            self._move_label()
        self.controller.reconcile_soon()

    def _move_label(self) -> None:
        """The cluster's own controller: the first Ready member is the primary."""
        ready = [member for member in self.members.values() if member.ready]
        for member in self.members.values():
            wanted = "primary" if ready and member is ready[0] else None
            if member.labels.get("mariadb-role") != wanted:
                if wanted is None:
                    member.labels.pop("mariadb-role", None)
                else:
                    member.labels["mariadb-role"] = wanted
                member.version += 1
                member.follow_labels()

    # --- facts

    def statefulset_facts(self, container: str | None) -> StatefulSetFacts:
        """As the gateway reads it."""
        if container not in (None, "mariadb"):
            raise ClusterNotFound(f"StatefulSet {str(self.cluster)!r}: expected a container {container!r}")
        return StatefulSetFacts(
            cluster=self.cluster,
            uid="statefulset-uid",
            resource_version=str(self.statefulset.version),
            replicas=self.statefulset.replicas,
            annotations=dict(self.statefulset.annotations),
            container="mariadb",
            image="mariadb:10.11.19",
            image_pull_policy="IfNotPresent",
            data_volume="mysql-data",
            data_path="/var/lib/mysql",
            user=999,
            group=999,
            fs_group=999,
            service_account="mariadb",
            service="mariadb-discovery",
            labels=dict(SERVER),
            settings=self.settings,
        )

    @property
    def cluster_uuid(self) -> str:
        """wsrep_cluster_state_uuid: that of the group which it has joined, else that of its data."""
        if self.joins is not None:
            return self.joins.cluster_uuid
        claims = (self.claims[self.claim_name(member.ordinal)] for member in self.members.values())
        return next((claim.cluster_uuid for claim in claims), CLUSTER_UUID)

    def group(self) -> GaleraGroup:
        """As its members see it."""
        worlds = [self, *([self.joins] if self.joins is not None else [])]
        members = [member for world in worlds for member in world.members.values()]
        return GaleraGroup(
            address=self.address,
            incoming=(*(member.facts().ip for member in members), *(self.strangers if self._is_restored() else ())),
            state_uuid=self.cluster_uuid,
            size=len(members),
        )

    def _is_restored(self) -> bool:
        return all(claim.data != "live" for claim in self.claims.values())


def fresh_cluster(statefulset: str = "mariadb-server") -> ClusterRef:
    """A namespace that no other test has."""
    return ClusterRef(namespace=f"openstack-{uuid.uuid4().hex[:12]}", statefulset=statefulset)


def _is_claim(volume: object) -> bool:
    return getattr(volume, "persistent_volume_claim", None) is not None
