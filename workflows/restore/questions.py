"""What a restore asks a person: to approve its plan, and what to do after a failure."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from galera_backup.errors import InvalidInput, RestoreRejected
    from galera_backup.models.plan import Answer, Decision, RestorePlan

Question = Literal["approval", "decision"]


class Questions:
    """At most one question is open. An answer to a question that is not open is refused."""

    def __init__(self) -> None:
        self.plan: RestorePlan | None = None
        self._open: Question | None = None
        self._may_keep = False
        self._approval: Answer | None = None
        self._rejection: Answer | None = None
        self._decision: Decision | None = None

    # --- for the updates

    def check_approval(self) -> None:
        """Error: `InvalidInput`, when the restore does not wait for one."""
        self._must_be_open("approval")

    def check_decision(self, decision: Decision) -> None:
        """Error: `InvalidInput`, when the restore does not wait for one, or cannot do what was decided."""
        self._must_be_open("decision")
        if decision.choice == "keep" and not self._may_keep:
            raise InvalidInput(
                "choice: 'keep' needs a cluster that has formed on the restored data; expected 'retry' or 'rollback'"
            )

    def approve(self, answer: Answer) -> None:
        """The plan may be carried out."""
        self._approval, self._open = answer, None

    def reject(self, answer: Answer) -> None:
        """The plan may not be carried out."""
        self._rejection, self._open = answer, None

    def decide(self, decision: Decision) -> None:
        """What to do after the failure."""
        self._decision, self._open = decision, None

    def _must_be_open(self, question: Question) -> None:
        if self._open != question:
            waits = f"for a person's {self._open}" if self._open else "for no answer"
            raise InvalidInput(f"expected a restore that waits for a person's {question}; this one waits {waits}")

    # --- for the restore

    @property
    def approved_by(self) -> str | None:
        """Who has approved the plan; None: no approval was required."""
        return self._approval.who if self._approval is not None else None

    async def approval(self, limit: timedelta) -> Answer:
        """Wait until a person approves. Error: `RestoreRejected`, also when `limit` has passed."""
        if not await self._ask("approval", limit):
            raise RestoreRejected(
                f"the plan was not approved within {limit}. Nothing was changed; start the restore again"
            )
        if self._approval is None:
            said = f"{self._rejection.who} rejected the plan: {self._rejection.why}" if self._rejection else ""
            raise RestoreRejected(f"{said}. Nothing was changed")
        return self._approval

    async def decision(self, may_keep: bool, limit: timedelta) -> Decision | None:
        """Wait until a person decides; None: `limit` has passed. `may_keep`: the restored data can be kept."""
        self._decision, self._may_keep = None, may_keep
        await self._ask("decision", limit)
        return self._decision

    async def _ask(self, question: Question, limit: timedelta) -> bool:
        self._open = question
        try:
            summary = f"a person's {question}"
            await workflow.wait_condition(lambda: self._open is None, timeout=limit, timeout_summary=summary)
        except TimeoutError:
            return False
        finally:
            self._open = None
        return True
