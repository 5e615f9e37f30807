"""The way back of a staged restore: inspect every claim, decide by the rule, then rename, or empty a claim.

The restore and the rollback take it themselves; who undoes for them takes it from where they left it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from temporalio import workflow

from workflows._runner import Report
from workflows.gather import for_each

with workflow.unsafe.imports_passed_through():
    from galera_backup.errors import GaleraBackupError
    from galera_backup.models.common import ClusterRef
    from galera_backup.models.jobs import EmptyJob, InspectJob, SwapJob
    from galera_backup.models.mark import StartRecipe
    from galera_backup.models.restore import ClaimReport, ClaimState, Strategy
    from galera_backup.models.runner import Job
    from galera_backup.rules.claims import claim_state
    from galera_backup.rules.way_back import ClaimFound, WayBack
    from galera_backup.show import describe_claims


class OnClaim(Protocol):
    """Runs a job in a pod on one data claim; `name` is a part of the pod's name, without the ordinal."""

    async def __call__(self, name: str, job: Job[Report], ordinal: int, claim: str, summary: str) -> Report:
        """The job's report. Error: what fails the job."""


@dataclass(frozen=True)
class Followed:
    """What the claims hold after the way back, and why it failed on some."""

    claims: tuple[ClaimReport, ...]
    problems: tuple[str, ...] = ()

    @staticmethod
    def of(parts: Sequence[Followed]) -> Followed:
        """Of several claims; each problem is said once."""
        problems = dict.fromkeys(problem for part in parts for problem in part.problems)
        return Followed(tuple(claim for part in parts for claim in part.claims), tuple(problems))


@dataclass(frozen=True)
class Claims:
    """The claims of one restore, by ordinal, and how jobs are run on them."""

    cluster: ClusterRef
    restore_id: str
    strategy: Strategy
    names: Sequence[str]
    ordinals: range
    run: OnClaim

    @staticmethod
    def of(recipe: StartRecipe, run: OnClaim) -> Claims:
        """Those of the restore with this recipe."""
        cluster = recipe.site.cluster
        return Claims(cluster, recipe.restore_id, recipe.strategy, recipe.claims, recipe.ordinals, run)

    async def inspect(self, *, in_outage: bool = True) -> tuple[ClaimFound, ...]:
        """What all of them hold, at once; a claim that cannot be read is `unknown`."""
        claims = list(zip(self.ordinals, self.names, strict=True))
        return tuple(await for_each(claims, lambda each: self._inspect(*each, in_outage)))

    async def _inspect(self, ordinal: int, claim: str, in_outage: bool) -> ClaimFound:
        job = InspectJob(cluster=self.cluster, restore_id=self.restore_id, in_outage=in_outage)
        try:
            seen = await self.run("prove", job, ordinal, claim, f"what does {claim} hold?")
        except GaleraBackupError as error:
            workflow.logger.error("a data volume cannot be read", extra={"claim": claim, "error": error.message})
            return ClaimFound(claim=claim, ordinal=ordinal, state=ClaimState.UNKNOWN, seen=None)
        state = claim_state(seen, self.restore_id, self.strategy)
        return ClaimFound(claim=claim, ordinal=ordinal, state=state, seen=seen)

    async def follow(self, decided: WayBack, found: Sequence[ClaimFound]) -> Followed:
        """Do with the claims what was decided; the claims as they are afterwards, `incomplete` where that failed.

        Claims are emptied only when all others have their previous data back.
        """
        claims = tuple(each.report for each in found)
        if decided.start_on != ClaimState.UNTOUCHED:
            return Followed(claims)
        workflow.logger.warning("swapping the previous data back", extra={"claims": describe_claims(claims)})
        done = Followed.of(await for_each(claims, lambda each: self._swap_back(each, decided)))
        if any(each.state == ClaimState.INCOMPLETE for each in done.claims if each.ordinal not in decided.emptied):
            return done
        return Followed.of(await for_each(done.claims, lambda each: self._empty(each, decided)))

    async def _swap_back(self, claim: ClaimReport, decided: WayBack) -> Followed:
        if claim.ordinal in decided.emptied:
            return Followed((claim,))
        job = SwapJob(
            cluster=self.cluster,
            restore_id=self.restore_id,
            direction="back",
            safe_to_bootstrap=claim.ordinal == decided.bootstrap if decided.bootstrap is not None else None,
        )
        return await self._changed(
            "back", job, claim, f"rename the previous data of {claim.claim} back", ClaimState.UNTOUCHED
        )

    async def _empty(self, claim: ClaimReport, decided: WayBack) -> Followed:
        if claim.ordinal not in decided.emptied:
            return Followed((claim,))
        job = EmptyJob(cluster=self.cluster, restore_id=self.restore_id)
        return await self._changed("empty", job, claim, f"empty {claim.claim} for a state transfer", ClaimState.EMPTIED)

    async def _changed(
        self, name: str, job: Job[Report], claim: ClaimReport, summary: str, done: ClaimState
    ) -> Followed:
        try:
            await self.run(name, job, claim.ordinal, claim.claim, summary)
        except GaleraBackupError as error:
            workflow.logger.error("a claim is not done", extra={"claim": claim.claim, "error": error.message})
            return Followed((claim.model_copy(update={"state": ClaimState.INCOMPLETE}),), (error.message,))
        return Followed((claim.model_copy(update={"state": done}),))
