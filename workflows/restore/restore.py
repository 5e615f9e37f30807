"""GaleraRestore: every doubt is resolved before the database stops."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Protocol

from temporalio import workflow

from workflows._failures import operation
from workflows.operation import Operation
from workflows.restore import in_place, rolling, staged
from workflows.restore.cut import Cut
from workflows.restore.ending import Aim, carry_out
from workflows.restore.plan import Restore, Restored
from workflows.restore.questions import Questions

with workflow.unsafe.imports_passed_through():
    from galera_backup import workflow_types
    from galera_backup.models.plan import Answer, Decision, RestorePlan
    from galera_backup.models.preflight import warnings
    from galera_backup.models.restore import ClaimState, RestoreRequest, RestoreResult, Strategy


class Sequence(Protocol):
    """What the module of a strategy has."""

    def ttl(self, request: RestoreRequest, /) -> timedelta:
        """The longest that the lease may be needed."""

    def run(self, restore: Restore, cut: Cut, /) -> Coroutine[Any, Any, Restored]:
        """From the plan to the start of the cluster."""


_SEQUENCES: dict[Strategy, Sequence] = {
    Strategy.STAGED: staged,
    Strategy.ROLLING: rolling,
    Strategy.IN_PLACE: in_place,
}
_AIM = Aim(
    "restore",
    ClaimState.RESTORED,
    "The cluster runs on the restored data. To go back, start a restore of an older backup",
)


@workflow.defn(name=workflow_types.RESTORE.name)
class GaleraRestore(Operation):
    """Stops a cluster, replaces the data of every replica by a backup, starts it again."""

    def __init__(self) -> None:
        super().__init__()
        self._questions = Questions()

    @workflow.run
    @operation
    async def run(self, request: RestoreRequest) -> RestoreResult:
        """One restore, from the plan to the end of the lease."""
        work = self._begin(request, workflow_types.RESTORE)
        restore, cut = Restore(request, work, self._questions), Cut(work)
        sequence = _SEQUENCES[request.strategy]
        restored = await carry_out(work, cut, sequence.ttl(request), _AIM, lambda: sequence.run(restore, cut))
        plan, ended, told = restored.plan, work.lease.result, self._questions.plan
        return RestoreResult(
            restore_id=plan.restore_id,
            manifest=restored.manifest,
            claims=tuple(restored.claims),
            replicas=plan.recipe.replicas,
            phases=work.progress.end("done"),
            outage_seconds=cut.seconds or 0,
            uuid=plan.recipe.uuid,
            clone=plan.clone,
            proof=restored.proof,
            untidy=ended.untidy if ended is not None else (),
            kept_until=ended.kept_until if ended is not None else None,
            approved_by=self._questions.approved_by,
            kept_despite=restored.kept_despite,
            warnings=warnings(told.findings, "restore", request.accept) if told is not None else (),
        )

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
