"""The outage of a restore or a rollback. The lease stops and starts the cluster; runner pods rename data between."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from temporalio import workflow

from workflows import _runner
from workflows.gather import for_each
from workflows.operation import Work
from workflows.restore.plan import Plan

with workflow.unsafe.imports_passed_through():
    from galera_backup.errors import RestoreFailed
    from galera_backup.models.cluster import ClaimObservation
    from galera_backup.models.jobs import SwapJob
    from galera_backup.models.lease import StartCommand
    from galera_backup.models.restore import ClaimReport, ClaimState, OutageRequest

SWAP_LIMIT = timedelta(minutes=30)
"""For some renames; most of it is for a node that has to attach a volume."""


class Cut:
    """One outage, and how far it is."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.has_begun = False
        """The cluster may have been stopped."""
        self._is_stopped = False
        """Until the whole cluster is started, or that is tried."""
        self.is_formed = False
        """The whole cluster is up on the data on which it was started."""
        self.seconds: float | None = None
        """How long the database was down; None: no start has ended the outage."""

    @staticmethod
    def limit(request: OutageRequest) -> timedelta:
        """The longest that a stop, the renames and a start may take."""
        return request.stop_timeout + SWAP_LIMIT * _runner.ATTEMPTS + request.ready_timeout

    async def stop(self, plan: Plan) -> None:
        """Phase stop: all pods of the cluster are gone. Errors: `RestoreFailed`, `ScaleFailed`."""
        self._work.enter("stop", f"scaling {plan.seen.cluster} to 0: the database is not available from now on")
        self.has_begun, self.is_formed, self.seconds = True, False, None
        await self._work.lease.stop(plan.stop)
        self._is_stopped = True

    async def swap(self, plan: Plan, direction: Literal["in", "back"]) -> None:
        """Phase swap: the data aside and the staged data in; or the previous data back. Error: `RestoreFailed`."""
        data = "previous data out and the restored" if direction == "in" else "restored data out and the previous"
        self._work.enter("swap", f"renaming the {data} data in")
        await self._swap(plan, direction)

    async def start_first(self, plan: Plan) -> None:
        """Phase start-first: ordinal 0 serves on its restored claim, while the claims of the others are restored.

        Errors: `ClusterNotFormed`, `ScaleFailed`.
        """
        self._work.enter(
            "start-first", "scaling to the first replica alone, which serves while the others are restored"
        )
        first = ClaimReport(claim=plan.claims[0].claim, ordinal=0, state=ClaimState.RESTORED)
        started = await self._work.lease.start(StartCommand(claims=(first,), first_alone=True))
        self.seconds = started.seconds

    async def start(self, plan: Plan, state: ClaimState, *, may_stop_again: bool = False) -> None:
        """Phase start: the whole cluster, whose claims are in this state. Errors: `ClusterNotFormed`, `ScaleFailed`.

        `may_stop_again`: what has started is still to be proved.
        """
        text = f"scaling {plan.seen.cluster} back, until all replicas are Ready and in one cluster"
        self._work.enter("start", text)
        await self._start(plan, state, may_stop_again)

    async def go_back(self, plan: Plan) -> None:
        """Phases back and start-old: stopped again if it runs, and started on its previous data.

        Errors: `RestoreFailed`, `ClusterNotFormed`, `ScaleFailed`.
        """
        self._work.enter("back", "renaming the previous data back")
        if not self._is_stopped:
            await self.stop(plan)
        await self._swap(plan, "back")
        self._work.enter("start-old", f"scaling {plan.seen.cluster} back on its previous data")
        await self._start(plan, ClaimState.UNTOUCHED, may_stop_again=True)

    async def _swap(self, plan: Plan, direction: Literal["in", "back"]) -> None:
        """On all claims at once; the lease notes it before the first rename. Error: `RestoreFailed`."""
        await self._work.lease.swap()
        job = SwapJob(cluster=plan.seen.cluster, restore_id=plan.restore_id, direction=direction)
        data = "the restored data in" if direction == "in" else "the previous data back"

        async def swap_claim(claim: ClaimObservation) -> None:
            task = plan.pods.stopped(f"{direction}-{claim.ordinal}", job, SWAP_LIMIT, claim=claim.claim)
            ran = await _runner.run(task, f"rename {data} on {claim.claim}")
            if direction == "back" and ran.report.state is None:
                raise RestoreFailed(
                    f"swapping the previous data of {claim.claim!r} back: expected the journal of restore "
                    f"{plan.restore_id!r}, there is none, so nothing says what the claim holds. Something has removed "
                    "'.galera-backup' since the swap began"
                )

        await for_each(plan.claims, swap_claim)

    async def _start(self, plan: Plan, state: ClaimState, may_stop_again: bool) -> None:
        claims = [ClaimReport(claim=each.claim, ordinal=each.ordinal, state=state) for each in plan.claims]
        self._is_stopped = False
        command = StartCommand(claims=tuple(claims), may_stop_again=may_stop_again)
        started = await self._work.lease.start(command)
        self.is_formed = True
        self.seconds = started.seconds if self.seconds is None else self.seconds
