"""Look at what could keep an operation from succeeding, or make it do harm, before it changes anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from temporalio import workflow

from workflows import call
from workflows.progress import ProgressReport

with workflow.unsafe.imports_passed_through():
    from activities.preflight import PreflightActivities
    from activities.trial import TrialActivities
    from galera_backup.errors import PreflightRefused
    from galera_backup.models.activities import Observe
    from galera_backup.models.cluster import ClusterObservation
    from galera_backup.models.inspection import ClusterFacts
    from galera_backup.models.layout import Layout
    from galera_backup.models.preflight import Finding, Undertaking, refusing, warnings
    from galera_backup.models.shape import PodShape
    from galera_backup.models.site import OperationRequest, Site
    from galera_backup.models.trial import TrialRequest, Way
    from galera_backup.rules.preflight.admission import Size, admitted
    from galera_backup.rules.preflight.claims import claims
    from galera_backup.rules.preflight.findings import findings, key_volumes, layouts
    from galera_backup.rules.preflight.statefulset import unread
    from galera_backup.show import preflight_table


@dataclass(frozen=True)
class Preflight:
    """What one look has shown."""

    found: tuple[Finding, ...]
    layouts: Mapping[str, Layout]
    """By data claim."""
    unready_after: Mapping[str, int | None]
    """By pod: seconds in which its readiness probe must fail."""
    server_volumes: tuple[str, ...] = ()
    """Volumes of the servers' pods whose files the tools need."""
    planned: PodShape | None = None
    """A pod that the template makes."""
    tls: tuple[str, ...] = ()
    """Pods whose servers offer TLS."""

    def placed(self, seen: ClusterObservation) -> ClusterObservation:
        """The same cluster, with the place of the data on each claim, and what else an operation needs to know."""
        places = [self.layouts.get(each.claim, Layout()) for each in seen.claims]
        claims = [each.model_copy(update={"layout": place}) for each, place in zip(seen.claims, places, strict=True)]
        return seen.model_copy(
            update={
                "claims": tuple(claims),
                "server_volumes": self.server_volumes,
                "planned": self.planned,
                "tls": self.tls,
                "findings": self.found,
                "in_turn": in_turn(self.found),
            }
        )


def in_turn(found: Iterable[Finding]) -> bool:
    """Whether no two pods can use the backup claim at once."""
    return any(each.kind == "backup-claim-in-turn" for each in found)


async def inspect(site: Site, replicas: int | None, summary: str) -> ClusterFacts:
    """The facts alone. `replicas`: how many to look at, where the StatefulSet is at 0."""
    return await call.act(PreflightActivities.inspect_cluster, Observe(site=site, replicas=replicas), summary)


async def preflight(
    request: OperationRequest, way: Way, progress: ProgressReport, replicas: int | None = None
) -> Preflight:
    """Error: `PreflightRefused`; nothing was changed. `replicas`: as for `inspect`."""
    undertaking: Undertaking = "backup" if way == "backup" else "restore"
    facts = await inspect(request.site, replicas, f"what could keep a {undertaking} from it")
    if way == "rollback":  # which works on the data volumes alone
        facts = facts.without_claim(request.backup_claim)
    places = layouts(facts, request.data_directory, request.host_files)
    unready_after = {member.name: member.unready_after for member in facts.shape.members}
    volumes = key_volumes(facts)
    found = (*findings(facts, undertaking), *await try_pods(request.site, way, facts, volumes))
    if found:
        progress.note(preflight_table(found))
    refuse(found, undertaking, request)
    progress.fact("preflight", "; ".join(warnings(found, undertaking, request.accept)) or "no warnings")
    return Preflight(
        found=found,
        layouts=places,
        unready_after=unready_after,
        server_volumes=volumes,
        planned=next(iter(facts.shape.planned), None),
        tls=tuple(each.pod for each in facts.servers if each.settings is not None and each.settings.tls),
    )


async def try_pods(site: Site, way: Way, facts: ClusterFacts, server_volumes: tuple[str, ...]) -> Sequence[Finding]:
    """What Kubernetes would say to the pods that the operation will need."""
    shape = facts.shape
    data_claims = [each.name for each in shape.claims if each.ordinal is not None]
    if not data_claims:
        return ()
    task = TrialRequest(site=site, way=way, claim=data_claims[0], server_volumes=server_volumes)
    trials = await call.act(TrialActivities.try_pods, task, f"would the pods of a {way} be created?")
    size = Size(replicas=len(data_claims), running=sum(not member.ended for member in shape.members))
    found = admitted(trials, way, size, in_turn=in_turn(claims(shape)))
    return [*found, *unread(shape.statefulset.cluster, trials.unread)]


def refuse(found: Sequence[Finding], undertaking: Undertaking, request: OperationRequest) -> None:
    """Error: `PreflightRefused`, when the operation must not go on with one of them."""
    refused = refusing(found, undertaking, request.accept)
    if refused:
        raise PreflightRefused(
            f"{undertaking} of cluster {str(request.cluster)!r} was not begun: "
            f"{'. '.join(each.sentence() for each in refused)}. Nothing was changed"
        )
