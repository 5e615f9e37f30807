"""Look at a cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow

from workflows import call

with workflow.unsafe.imports_passed_through():
    from activities.galera import GaleraActivities
    from galera_backup.models.activities import Observe
    from galera_backup.models.cluster import ClusterObservation
    from galera_backup.models.site import OperationRequest

T = TypeVar("T")

ANSWER_LIMIT, AGAIN_AFTER = timedelta(minutes=5), timedelta(seconds=2)
"""For the servers of a cluster that has formed: a lost connection or a restart proves nothing."""


async def observe(request: OperationRequest, summary: str, replicas: int | None = None) -> ClusterObservation:
    """The StatefulSet, its pods and its data claims. `replicas`: how many to look at, when it is at 0."""
    return await call.act(GaleraActivities.observe_cluster, Observe(site=request.site, replicas=replicas), summary)


async def until_all_answer(look: Callable[[], Awaitable[T]], answered: Callable[[T], bool]) -> T:
    """Look again while a server does not answer. After `ANSWER_LIMIT` return what is seen then."""
    deadline = workflow.now() + ANSWER_LIMIT
    while not answered(seen := await look()) and workflow.now() < deadline:
        await workflow.sleep(AGAIN_AFTER, summary="not every server answers: looking again")
    return seen
