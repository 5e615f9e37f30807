"""GaleraJanitor: mends what an operation left when its lease was lost with it.

A lease that was terminated by hand together with its operation, or a Temporal database that was lost, leaves a replica
desynced or the cluster stopped, and nobody who would undo it. What was done is in the mark on the cluster.
"""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from temporalio import workflow

from workflows import call
from workflows._failures import operation
from workflows.lease.copies import Copies
from workflows.lease.desynced import Desynced
from workflows.lease.held import LeaseHeld
from workflows.lease.persist import persist
from workflows.lease.stake import Ended, Undoer
from workflows.lease.stopped import Stopped
from workflows.operation import Operation
from workflows.progress import ProgressReport
from workflows.within import within

with workflow.unsafe.imports_passed_through():
    from activities.janitor import JanitorActivities
    from activities.runner import RunnerActivities
    from galera_backup import names, timing, workflow_types
    from galera_backup.errors import (
        ClusterBusy,
        ClusterLeftPartial,
        ClusterLeftStopped,
        GaleraBackupError,
        JanitorFailed,
    )
    from galera_backup.models.activities import Observe, RemoveRunners
    from galera_backup.models.common import LeaseRef
    from galera_backup.models.janitor import (
        Finding,
        JanitorRequest,
        JanitorResult,
        MarkSeen,
        Mended,
        Remark,
        Survey,
        Verdict,
    )
    from galera_backup.models.lease import CleanUpCommand
    from galera_backup.models.mark import Mark, StartRecipe
    from galera_backup.models.restore import Strategy
    from galera_backup.models.site import OperationRequest, Site
    from galera_backup.rules.claims import replicas_on
    from galera_backup.rules.triage import JANITOR_IS_CONTENT, JANITOR_MENDS, triage
    from galera_backup.show import describe_claims, findings_table
    from galera_backup.text import first_sentence_of


MARGIN = timedelta(minutes=10)
"""What looking may take beside that, before the lease ends by itself."""
INSPECTION = timedelta(hours=1)
"""For looking at all volumes of a stopped cluster, with a second try each."""


@workflow.defn(name=workflow_types.JANITOR.name)
class GaleraJanitor(Operation):
    """Looks without the lease, and takes it only when there is something to mend."""

    @workflow.run
    @operation
    async def run(self, request: JanitorRequest) -> JanitorResult:
        """One look, and what follows from it."""
        shared = OperationRequest(
            cluster=request.cluster,
            credentials=request.credentials,
            container=request.container,
            port=request.port,
        )  # without waiting for the cluster: whoever holds it undoes, or the next run does
        work = self._begin(shared, workflow_types.JANITOR)
        steps = _Steps(request, work.lease, work.progress)
        with work.progress.shows_end():
            result = await steps.run()
        return result.model_copy(update={"phases": work.progress.end("done")})


class _Steps:
    """The phases of one run."""

    def __init__(self, request: JanitorRequest, lease: LeaseHeld, progress: ProgressReport) -> None:
        self._request = request
        self._lease = lease
        self._progress = progress
        self._found: dict[tuple[str, str], Finding] = {}
        self._mended: list[Mended] = []
        self._errors: list[GaleraBackupError] = []

    async def run(self) -> JanitorResult:
        """Look; when there is something to mend and nobody holds the cluster, take the lease and mend."""
        self._progress.enter("look", "members, marks, and whether the leases that they name are open")
        seen = await self._survey()
        if not self._to_mend() or seen.holder is not None:
            return self._result(busy=seen.holder)
        self._progress.enter("lease", "acquiring the cluster's lease")
        try:
            await self._lease.acquire(self._ttl(seen), self._progress.waiting)
        except ClusterBusy as error:
            return self._result(busy=error.message)
        return await self._lease.guard(self._mend(), self._progress.enter)

    def _ttl(self, seen: Survey) -> timedelta:
        """At most what all steps may take; the lease must not end while one is at work."""
        request, members = self._request, len(seen.members)
        ttl = request.step_timeout * (2 + members) + request.drain_timeout * members + MARGIN
        if seen.mark is not None and seen.mark.mark.start is not None:
            ttl += _start_limit(seen.mark.mark.start)
        return ttl

    # --- looking

    async def _survey(self) -> Survey:
        request = self._request
        summary = "members, marks, runner pods, and the leases that they name"
        seen = await call.act(JanitorActivities.survey_cluster, Observe(site=request.site), summary)
        found = triage(seen, workflow.now())
        self._found = {(each.kind, each.name): each for each in found}
        self._progress.note(findings_table(found))
        return seen

    def _to_mend(self) -> list[Finding]:
        return [each for each in self._found.values() if each.verdict in JANITOR_MENDS]

    def _result(self, busy: str | None = None) -> JanitorResult:
        found = tuple(self._found.values())
        contents = JANITOR_MENDS | JANITOR_IS_CONTENT
        left_alone = tuple(f"{each.name}: {each.text}" for each in found if each.verdict not in contents)
        for each in left_alone:
            workflow.logger.warning("left alone", extra={"cluster": str(self._request.cluster), "found": each})
        if busy is not None:
            self._progress.fact("nothing mended", f"the cluster is held: {busy}")
        for mended in self._mended:
            self._progress.fact(f"mended `{mended.name}`", mended.text)
        return JanitorResult(
            found=found, mended=tuple(self._mended), left_alone=left_alone, busy=busy, looked_at=workflow.now()
        )

    # --- mending, under the lease

    async def _mend(self) -> JanitorResult:
        self._enter("look again", "no operation can begin meanwhile")
        seen = await self._survey()
        found, marks = self._to_mend(), {member.member.pod: member.mark for member in seen.members}
        await self._remove_runners(seen)
        for each in found:
            if each.kind == "statefulset" and seen.mark is not None:
                await self._each(each, self._start(each, seen.mark.mark))
            elif each.kind == "replica" and (mark := marks[each.name]) is not None:
                await self._each(each, self._resync(each, mark))
        if self._errors:
            raise self._failure()
        return self._result()

    async def _each(self, finding: Finding, work: Coroutine[Any, Any, None]) -> None:
        """One object after another; what cannot be mended does not keep the janitor from the rest."""
        try:
            await work
        except GaleraBackupError as failure:
            workflow.logger.error("not mended", extra={"object": finding.name, "error": failure.message})
            self._errors.append(failure)

    def _failure(self) -> GaleraBackupError:
        if len(self._errors) == 1:
            return self._errors[0]
        return JanitorFailed(". ".join(f"{error.type}: {error.message}" for error in self._errors))

    async def _remove_runners(self, seen: Survey) -> None:
        """First of all: a runner that still works must not meet a replica in sync, or a server on its volume."""
        orphans = [each for each in seen.runners if self._found["runner", each.pod].verdict is Verdict.ABANDONED]
        if not orphans:
            return
        self._enter("runners", "removing runner pods whose lease is not open")
        pods = ", ".join(runner.pod for runner in orphans)
        try:
            for lease in {runner.lease.run_id: runner.lease for runner in orphans}.values():
                await within(self._request.step_timeout, self._remove_runners_of(lease))
        except TimeoutError:
            raise JanitorFailed(
                f"removing runner pods {pods} of {str(self._request.cluster)!r}: expected them to be gone within "
                f"{self._request.step_timeout}. Nothing else was touched; look at their node, and delete them by force "
                "when it is down"
            ) from None
        self._mended += [Mended(name=runner.pod, text="removed") for runner in orphans]

    async def _remove_runners_of(self, lease: LeaseRef) -> None:
        await persist(
            RunnerActivities.remove_runners,
            RemoveRunners(cluster=self._request.cluster, lease=lease),
            f"remove the runner pods of lease run {lease.run_id}",
            self._queue(),
        )

    async def _resync(self, finding: Finding, mark: MarkSeen) -> None:
        """Undo what the mark on a replica stands for. Every step is conditional on that mark."""
        request, pod = self._request, finding.name
        self._enter("resync", f"resyncing {pod}: {finding.text}")
        self._progress.replica(pod)
        undoer = Undoer.janitor(self._lease.ref)
        stake = Desynced(request.site, pod, mark.mark, undoer, request.drain_timeout, on_may_land=True)
        limit = timing.DESYNC_WINDOW + request.drain_timeout + request.step_timeout
        try:
            await within(limit, stake.undo(Ended()))
        except TimeoutError:
            await self._look_why(pod, limit)
            return
        was_desynced = stake.report is not None and stake.report.was_desynced
        since = mark.mark.since if was_desynced else None
        self._mended.append(
            Mended(
                name=pod,
                text="resynced, in service, mark removed" if was_desynced else "mark removed",
                desynced_seconds=round((workflow.now() - since).total_seconds(), 3) if since else None,
                drained=stake.report is None or stake.report.drained,
            )
        )

    async def _look_why(self, pod: str, limit: timedelta) -> None:
        """It took too long: a donor is not held up by us any more; for anything else a person is needed."""
        await self._survey()
        now = self._found["replica", pod]
        if now.verdict is not Verdict.DONOR:
            raise JanitorFailed(
                f"undoing the desync of {pod!r}: expected it in sync and in service within {limit}, it is "
                f"{now.verdict}: {now.text}. The next run tries again; look at the failures of this run's activities"
            )

    async def _start(self, finding: Finding, mark: Mark) -> None:
        """Start a cluster that a restore left at 0, or in part, when its claims allow it; else what is left to do."""
        request, recipe = self._request, mark.start
        assert recipe is not None
        self._enter("start", f"starting {request.cluster}: {finding.text}")
        site = recipe.site.model_copy(
            update={"credentials": request.credentials, "container": request.container, "port": request.port}
        )
        recipe = recipe.model_copy(update={"runner_pod_prefix": names.JANITOR_RUNNER_PREFIX})
        stake, ended = Stopped(site, recipe, mark, Undoer.janitor(self._lease.ref)), Ended()
        limit = _start_limit(recipe)
        try:
            await within(limit, stake.undo(ended))
        except (ClusterLeftStopped, ClusterLeftPartial) as error:
            await self._note_attempt(mark, error)
            raise
        except TimeoutError:
            raise JanitorFailed(
                f"starting StatefulSet {str(request.cluster)!r}: expected all replicas in one cluster within {limit}. "
                "The next run tries again; look at the failures of this run's activities"
            ) from None
        text = "primary label as before, mark removed"
        if ended.claims:
            started = "started" if replicas_on(ended.claims, recipe) else "left at 0 replicas, as it was before"
            text = f"{started}; claims: {describe_claims(ended.claims)}"
        if recipe.strategy != Strategy.IN_PLACE:
            await self._copies(site, recipe).undo(ended)
            if ended.untidy:
                text += f"; copies of the data may be left on {', '.join(ended.untidy)}"
        self._mended.append(Mended(name=finding.name, text=text))

    def _copies(self, site: Site, recipe: StartRecipe) -> Copies:
        """What is kept of them is not removed later: the next restore does that."""
        command = CleanUpCommand.of(recipe)
        return Copies(site, command, self._lease.ref, keeps=recipe.keeps_previous, was_restored=True)

    async def _note_attempt(self, mark: Mark, error: GaleraBackupError) -> None:
        """So that the next runs leave the lease to the restore that has to mend this."""
        tried = mark.model_copy(update={"tried_at": workflow.now(), "tried": error.message})
        try:
            remark = Remark(site=self._request.site, mark=tried)
            await call.act(JanitorActivities.remark_statefulset, remark, "the mark on the StatefulSet")
        except GaleraBackupError as failed:
            workflow.logger.warning("attempt not noted", extra={"error": first_sentence_of(failed)})

    def _queue(self) -> str:
        return names.lease_queue(workflow.info().task_queue)

    def _enter(self, phase: str, waiting_for: str) -> None:
        self._lease.check()
        self._progress.enter(phase, waiting_for)


def _start_limit(recipe: StartRecipe) -> timedelta:
    """For a look at the claims, and a start; where a mixture is finished, for the restore of every claim too."""
    finishes = recipe.strategy != Strategy.STAGED
    return INSPECTION + recipe.ready_timeout + recipe.runner_timeout * len(recipe.claims) * finishes
