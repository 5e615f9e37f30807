"""A clone and its source are compared before anything is changed, and after the clone has started."""

from __future__ import annotations

from temporalio import workflow

from workflows import call
from workflows.observe import until_all_answer

with workflow.unsafe.imports_passed_through():
    from activities.clone import CloneActivities
    from galera_backup.errors import ClusterUnhealthy, RestoreFailed
    from galera_backup.models.clone import Clone, LookAtSides, Sides
    from galera_backup.models.site import Site
    from galera_backup.rules.clone import joined_already, joined_another, target_answers


async def check_apart(site: Site, clone: Clone) -> str:
    """What is known of the source. Error: `ClusterUnhealthy`; nothing was changed."""
    seen = await _look(site, clone)
    joined = joined_already(seen)
    if joined is not None:
        raise ClusterUnhealthy(joined)
    if seen.source.unseen is not None:
        return f"not looked at ({seen.source.unseen}); only its names were compared"
    return f"{len(seen.source.members)} members, none of them in the target's group"


async def check_alone(site: Site, clone: Clone, replicas: int) -> None:
    """Error: `RestoreFailed`, when the clone is not a cluster of its own."""
    seen = await until_all_answer(lambda: _look(site, clone), target_answers)
    joined = joined_another(seen, clone.uuid, replicas)
    if joined is not None:
        raise RestoreFailed(joined)


async def _look(site: Site, clone: Clone) -> Sides:
    look = LookAtSides(site=site, source=clone.source)
    summary = f"members, addresses and Services of {site.cluster} and of {clone.source}"
    return await call.act(CloneActivities.look_at_sides, look, summary)
