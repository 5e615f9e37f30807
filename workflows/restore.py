"""GaleraRestore: every doubt settled before the database stops."""

from __future__ import annotations

import asyncio

from temporalio import workflow

from workflows._failures import operation
from workflows._holder import LeaseHeld
from workflows._in_place import InPlace
from workflows._operation import Operation
from workflows._progress import ProgressReport
from workflows._restoring import Restoring
from workflows._staged import Staged

with workflow.unsafe.imports_passed_through():
    from galera_backup.models.restore import RestoreRequest, RestoreResult, Strategy

_STRATEGIES: dict[Strategy, type[Restoring]] = {Strategy.IN_PLACE: InPlace, Strategy.STAGED: Staged}


@workflow.defn(name="GaleraRestore")
class GaleraRestore(Operation):
    """Stops a cluster, replaces the data of every replica by a backup, starts it again."""

    @workflow.run
    @operation
    async def run(self, request: RestoreRequest) -> RestoreResult:
        """One restore, from the plan to the end of the lease."""
        self._progress = progress = ProgressReport("restore", request.cluster)
        self._lease = lease = LeaseHeld(request, "restore")
        restore = _STRATEGIES[request.strategy](request, lease, progress)
        try:
            # First of all: a run that was reset has a lease already, and failing without it would leave that open.
            progress.enter("lease", "acquiring the cluster's lease")
            await lease.acquire(restore.ttl(request), progress.waiting)
            result = await lease.guard(restore.run(), second_line=restore.start_without_lease)
        except asyncio.CancelledError as error:
            if (told := restore.cancelled_too_late()) is not None:
                progress.fail(told)
                raise told from error
            progress.end("cancelled")
            raise
        except BaseException as error:
            failure = restore.failure(error)
            progress.fail(failure)
            if failure is error:
                raise
            raise failure from error
        untidy = lease.result.untidy if lease.result is not None else ()
        return result.model_copy(update={"phases": progress.end("done"), "untidy": untidy})
