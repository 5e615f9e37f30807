"""Activities on Temporal itself."""

from __future__ import annotations

import asyncio

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from galera_backup import timing
from galera_backup.models.activities import LeaseHolder, LeaseName


class TemporalActivities:
    """What needs the Temporal client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn
    async def lease_holder(self, lease: LeaseName) -> LeaseHolder:
        """Who holds the lease now."""
        try:
            description = await self._client.get_workflow_handle(lease.workflow_id).describe()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return LeaseHolder(owner=None)
        if description.status != WorkflowExecutionStatus.RUNNING:
            return LeaseHolder(owner=None)
        return LeaseHolder(owner=description.parent_id or description.id, since=description.start_time)

    @activity.defn
    async def wait_until_closed(self, lease: LeaseName) -> None:
        """Long-poll the end of whatever run of this workflow is open: one activity, however long it waits."""
        waiting = asyncio.ensure_future(self._closed(lease.workflow_id))
        try:
            while not waiting.done():
                activity.heartbeat()
                await asyncio.wait({waiting}, timeout=timing.BEAT.total_seconds())
            waiting.result()
        finally:
            waiting.cancel()

    async def _closed(self, workflow_id: str) -> None:
        try:
            await self._client.get_workflow_handle(workflow_id).result(follow_runs=False)
        except WorkflowFailureError:
            return
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
