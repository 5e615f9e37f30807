"""GaleraCheck: the preflight by itself."""

from __future__ import annotations

from temporalio import workflow

from workflows import call
from workflows._failures import operation
from workflows.preflight import inspect, try_pods

with workflow.unsafe.imports_passed_through():
    from activities.galera import GaleraActivities
    from galera_backup import workflow_types
    from galera_backup.errors import ClusterNotFound, KubernetesRefused
    from galera_backup.models.activities import Observe
    from galera_backup.models.check import CheckRequest, CheckResult
    from galera_backup.models.trial import Way
    from galera_backup.rules.health import health_problems
    from galera_backup.rules.preflight.findings import all_findings, key_volumes
    from galera_backup.show import members_table, preflight_table
    from galera_backup.temporal.attributes import CLUSTER


@workflow.defn(name=workflow_types.CHECK.name)
class GaleraCheck:
    """Looks; what it finds is its result, never its failure."""

    @workflow.run
    @operation
    async def run(self, request: CheckRequest) -> CheckResult:
        """One look."""
        workflow.upsert_search_attributes([CLUSTER.value_set(str(request.cluster))])
        facts = await inspect(request.site, request.replicas, "what could keep operations from it")
        volumes = key_volumes(facts)
        ways: tuple[Way, Way] = ("backup", request.strategy.value)
        tried = [await try_pods(request.site, way, facts, volumes) for way in ways]
        found = tuple(dict.fromkeys([*all_findings(facts), *tried[0], *tried[1]]))
        health, members = await _health(request)
        workflow.set_current_details(f"{preflight_table(found)}\n\n{members}")
        return CheckResult(cluster=request.cluster, findings=found, health=health, accepted=request.accept)


async def _health(request: CheckRequest) -> tuple[tuple[str, ...], str]:
    """What is wrong with it, and the members as a table. A claim or a Secret that is missing is a finding already."""
    observe = Observe(site=request.site, replicas=request.replicas)
    try:
        seen = await call.act(GaleraActivities.observe_cluster, observe, "Kubernetes and wsrep status of every pod")
    except (ClusterNotFound, KubernetesRefused) as error:
        return (f"its members were not looked at: {error.message}",), ""
    return health_problems(seen) if seen.replicas else (), members_table(seen)
