"""The outage of a restore or a rollback. The lease stops and starts the cluster; runner pods rename data between."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow

from workflows import _runner
from workflows._runner import Report
from workflows.gather import for_each
from workflows.operation import Work
from workflows.restore.plan import Plan
from workflows.way_back import Claims

with workflow.unsafe.imports_passed_through():
    from galera_backup import names
    from galera_backup.errors import GaleraBackupError, RestoreFailed
    from galera_backup.models.cluster import ClaimObservation
    from galera_backup.models.jobs import SwapJob
    from galera_backup.models.lease import RenewCommand, StartCommand
    from galera_backup.models.mark import StartRecipe
    from galera_backup.models.restore import ClaimReport, ClaimState, OutageRequest
    from galera_backup.models.runner import Job
    from galera_backup.rules.claims import are_restored, as_found, may_start, replicas_on
    from galera_backup.rules.way_back import ClaimFound, WayBack, way_back
    from galera_backup.show import describe_claims

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
        self._just_stopped = False
        """Nobody has renamed data since."""
        self._failed_to_form = False
        """The restored data was started, and the cluster did not form on it."""
        self.is_formed = False
        """The whole cluster is up on the data on which it was started."""
        self.seconds: float | None = None
        """How long the database was down; None: no start has ended the outage."""
        self._recipe: StartRecipe | None = None
        """Of what was stopped."""

    @staticmethod
    def limit(request: OutageRequest) -> timedelta:
        """The longest that a stop, the renames and a start may take."""
        return request.stop_timeout + SWAP_LIMIT * _runner.ATTEMPTS + request.ready_timeout

    async def stop(self, plan: Plan) -> None:
        """Phase stop: all pods of the cluster are gone. Errors: `RestoreFailed`, `ScaleFailed`."""
        self._work.enter("stop", f"scaling {plan.seen.cluster} to 0: the database is not available from now on")
        self.has_begun, self.is_formed, self.seconds, self._recipe = True, False, None, plan.recipe
        await self._work.lease.stop(plan.stop)
        self._is_stopped = self._just_stopped = True

    async def _renew(self, *, restored_failed: bool = False) -> None:
        """The mark, which the stop has just written; before later renames somebody may have removed it."""
        if restored_failed or not self._just_stopped:
            await self._work.lease.renew(RenewCommand(restored_failed=restored_failed))
        self._just_stopped = False

    async def swap_in(self, plan: Plan) -> None:
        """Phase swap: the previous data aside and the staged data in, on all claims at once. Error: `RestoreFailed`."""
        self._work.enter("swap", "renaming the previous data out and the restored data in")
        await self._renew()
        job = SwapJob(cluster=plan.seen.cluster, restore_id=plan.restore_id, direction="in")

        async def swap_claim(claim: ClaimObservation) -> None:
            task = plan.pods.stopped(f"in-{claim.ordinal}", job, SWAP_LIMIT, claim=claim.claim)
            await _runner.run(task, f"rename the restored data in on {claim.claim}")

        await for_each(plan.claims, swap_claim)

    async def start_first(self, plan: Plan) -> None:
        """Phase start-first: the first replica serves on its restored claim, while those of the others are restored.

        Errors: `ClusterNotFormed`, `ScaleFailed`.
        """
        self._work.enter(
            "start-first", "scaling to the first replica alone, which serves while the others are restored"
        )
        first = ClaimReport(claim=plan.claims[0].claim, ordinal=plan.claims[0].ordinal, state=ClaimState.RESTORED)
        started = await self._work.lease.start(StartCommand(claims=(first,), first_alone=True))
        self.seconds = started.seconds

    async def start(self, plan: Plan, state: ClaimState, *, may_stop_again: bool = False) -> None:
        """Phase start: the whole cluster, whose claims are in this state. Errors: `ClusterNotFormed`, `ScaleFailed`.

        `may_stop_again`: what has started is still to be proved.
        """
        claims = _all(plan, state)
        await self._start(plan, "start", claims, may_stop_again=may_stop_again)

    async def go_back(self, plan: Plan) -> str:
        """Phases back and start-old: stopped again if it runs, and started on its previous data. Returns what was done.

        A cluster that is up is not stopped unless its previous data can be started.
        Errors: `RestoreFailed`, `ClusterNotFormed`, `ScaleFailed`.
        """
        self._work.enter("back", "proving on every claim that the previous data is whole")
        restored_failed = self._failed_to_form or plan.clone is not None
        if self.is_formed and not restored_failed:
            decided = self._decide(plan, await self._claims(plan, up=True).inspect(in_outage=False))
            if decided.start_on != ClaimState.UNTOUCHED:
                return f"Not swapped back: {decided.why}. The cluster was not stopped, and runs on the restored data"
        if not self._is_stopped:
            await self.stop(plan)
        decided = await self.swap_back(plan, "start-old", restored_failed=restored_failed, may_stop_again=True)
        if decided.start_on == ClaimState.RESTORED:
            return f"Not swapped back: {decided.why}. The cluster was started again on the restored data"
        return f"The previous data was swapped back{f'; {decided.why}' if decided.why else ''}"

    async def start_untouched(self, plan: Plan) -> str:
        """Phase start-old: no pod has changed a claim. Returns what was done.

        Errors: `ClusterNotFormed`, `ScaleFailed`.
        """
        untouched = as_found(plan.recipe)
        await self._start(plan, "start-old", untouched, may_stop_again=True)
        return f"No data was changed. {self.outcome(untouched)}"

    async def failed(self, failure: GaleraBackupError, way: Coroutine[Any, Any, str]) -> RestoreFailed:
        """What failed, and what became of the way back; a way back that fails too does not hide why it was taken."""
        self._work.lease.goes_back_after = failure
        try:
            done = await way
        except GaleraBackupError as error:
            done = f"Going back to the previous data failed too: {error.message}"
        self._work.lease.goes_back_after = None  # what is raised from here on says it
        return RestoreFailed(f"{failure.message}. {done}")

    def outcome(self, claims: Sequence[ClaimReport]) -> str:
        """What became of the cluster after a failure, when its claims hold this."""
        stays = self._recipe is not None and not replicas_on(claims, self._recipe)
        return "The StatefulSet stays at 0 replicas, as it was before" if stays else "The cluster was started again"

    async def swap_back(
        self, plan: Plan, phase: str, *, restored_failed: bool = False, may_stop_again: bool = False
    ) -> WayBack:
        """The way back of a stopped cluster, and phase `phase`: its start, on the data that the rule says.

        Errors: `RestoreFailed`, when it can be started on neither, `ClusterNotFormed`, `ScaleFailed`.
        """
        await self._renew(restored_failed=restored_failed)
        volumes = self._claims(plan)
        found = await volumes.inspect()
        decided = self._decide(plan, found, may_be_restored=not restored_failed)
        if decided.start_on is None:
            raise RestoreFailed(f"swapping the previous data back: {decided.why}")
        done = await volumes.follow(decided, found)
        if not may_start(done.claims):
            raise RestoreFailed(
                "swapping the previous data back: expected it on every claim, saw "
                f"{describe_claims(done.claims)}: {'; '.join(done.problems)}"
            )
        await self._start(plan, phase, done.claims, may_stop_again=may_stop_again)
        return decided

    def _decide(self, plan: Plan, found: Sequence[ClaimFound], *, may_be_restored: bool = True) -> WayBack:
        self._work.lease.check()  # without the lease no pod could look
        return way_back(
            found,
            was_up=plan.recipe.replicas_before > 0,
            may_be_restored=may_be_restored,
            first_in_sync=plan.recipe.first_in_sync,
        )

    def _claims(self, plan: Plan, *, up: bool = False) -> Claims:
        async def run(name: str, job: Job[Report], ordinal: int, claim: str, summary: str) -> Report:
            if up:
                replica = names.pod(plan.seen.cluster, ordinal)
                task = plan.pods.beside(f"{name}-up-{ordinal}", job, SWAP_LIMIT, claim=claim, replica=replica)
            else:
                task = plan.pods.stopped(f"{name}-{ordinal}", job, SWAP_LIMIT, claim=claim)
            return (await _runner.run(task, summary)).report

        return Claims.of(plan.recipe, run)

    async def _start(self, plan: Plan, phase: str, claims: Sequence[ClaimReport], *, may_stop_again: bool) -> None:
        data = "restored" if are_restored(claims) else "previous"
        text = f"scaling {plan.seen.cluster} back on its {data} data, until all replicas are Ready and in one cluster"
        self._work.enter(phase, text)
        self._is_stopped, self._failed_to_form = False, are_restored(claims)
        command = StartCommand(claims=tuple(claims), may_stop_again=may_stop_again)
        started = await self._work.lease.start(command)
        self.is_formed, self._failed_to_form = True, False
        self.seconds = started.seconds if self.seconds is None else self.seconds


def _all(plan: Plan, state: ClaimState) -> list[ClaimReport]:
    return [ClaimReport(claim=each.claim, ordinal=each.ordinal, state=state) for each in plan.claims]
