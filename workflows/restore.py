"""GaleraRestore: every doubt settled before the database stops."""

from __future__ import annotations

from temporalio import workflow

from workflows._failures import operation
from workflows._in_place import InPlace
from workflows._outage import OutageOperation
from workflows._progress import ProgressReport
from workflows._questions import Questions
from workflows._restoring import Restoring
from workflows._rolling import Rolling
from workflows._staged import Staged
from workflows.lease.held import LeaseHeld

with workflow.unsafe.imports_passed_through():
    from galera_backup.models.plan import Answer, Decision, RestorePlan
    from galera_backup.models.restore import RestoreRequest, RestoreResult, Strategy

_STRATEGIES: dict[Strategy, type[Restoring]] = {
    Strategy.IN_PLACE: InPlace,
    Strategy.ROLLING: Rolling,
    Strategy.STAGED: Staged,
}


@workflow.defn(name="GaleraRestore")
class GaleraRestore(OutageOperation):
    """Stops a cluster, replaces the data of every replica by a backup, starts it again."""

    def __init__(self) -> None:
        super().__init__()
        self._questions = Questions()

    @workflow.run
    @operation
    async def run(self, request: RestoreRequest) -> RestoreResult:
        """One restore, from the plan to the end of the lease."""
        lease, progress = LeaseHeld(request, "restore"), ProgressReport("restore", request.cluster)
        restore = _STRATEGIES[request.strategy](request, lease, progress, self._questions)
        result = await self._conduct(restore, lease, progress)
        ended = lease.result
        changes = {"untidy": ended.untidy, "kept_until": ended.kept_until} if ended is not None else {}
        return result.model_copy(update={"phases": progress.end("done"), **changes})

    @workflow.query
    def plan(self) -> RestorePlan | None:
        """What it is going to do; None: it has not looked yet."""
        return self._questions.plan

    @workflow.update
    async def approve(self, answer: Answer) -> None:
        """Let a restore that requires approval go on."""
        self._questions.approve(answer)

    @approve.validator
    def _may_approve(self, answer: Answer) -> None:
        self._questions.check_approval()

    @workflow.update
    async def reject(self, answer: Answer) -> None:
        """End a restore that requires approval; nothing was changed."""
        self._questions.reject(answer)

    @reject.validator
    def _may_reject(self, answer: Answer) -> None:
        self._questions.check_approval()

    @workflow.update
    async def decide(self, decision: Decision) -> None:
        """Say how a staged restore goes on after a failure."""
        self._questions.decide(decision)

    @decide.validator
    def _may_decide(self, decision: Decision) -> None:
        self._questions.check_decision(decision)
