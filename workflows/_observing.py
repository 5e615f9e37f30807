"""One look at a cluster, for every operation that needs it."""

from __future__ import annotations

from temporalio import workflow

from workflows import _options

with workflow.unsafe.imports_passed_through():
    from activities.galera import GaleraActivities
    from galera_backup.models.activities import Observe
    from galera_backup.models.cluster import ClusterObservation
    from galera_backup.models.common import OperationRequest


async def observe(request: OperationRequest, summary: str, replicas: int | None = None) -> ClusterObservation:
    """The StatefulSet, its pods and its data claims. `replicas`: its size, should it be at 0."""
    return await workflow.execute_activity_method(
        GaleraActivities.observe_cluster,
        Observe(
            cluster=request.cluster,
            credentials=request.credentials,
            container=request.container,
            primary_label=request.primary_label,
            replicas=replicas,
        ),
        summary=summary,
        **_options.act(),
    )
