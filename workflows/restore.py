"""GaleraRestore, strategy in_place: the document's order, with every doubt settled before the database stops."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows import _options, _runner, _undo
from workflows._failures import operation, typed
from workflows._holder import LeaseHeld
from workflows._operation import Operation
from workflows._progress import ProgressReport

with workflow.unsafe.imports_passed_through():
    from activities.galera import GaleraActivities
    from galera_backup import names, rules
    from galera_backup.errors import GaleraBackupError, InternalError, InvalidInput, NotEnoughSpace, RestoreFailed
    from galera_backup.models.activities import Observe, RunnerTask
    from galera_backup.models.cluster import ClaimObservation, ClusterObservation
    from galera_backup.models.lease import LeaseEvent, Mark, StartOrder, StopOrder
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.restore import ClaimReport, ClaimRestore, ClaimState, RestoreRequest, RestoreResult
    from galera_backup.models.runner import CheckJob, CheckReport, RestoreJob

MARGIN = timedelta(minutes=30)
"""What looking and checking may take beside the runners, the stop and the start, before the lease ends by itself."""
REPLICAS_AT_MOST = 9
"""For the lease's time to live, which is decided before the cluster is looked at."""
CHECK_LIMIT = timedelta(hours=2)
"""For reading the whole backup once, to verify its checksum."""


@workflow.defn(name="GaleraRestore")
class GaleraRestore(Operation):
    """Stops a cluster, replaces the data of every replica by a backup, starts it again."""

    @workflow.run
    @operation
    async def run(self, request: RestoreRequest) -> RestoreResult:
        """One restore, from the plan to the end of the lease."""
        self._progress = progress = ProgressReport("restore", request.cluster)
        self._lease = lease = LeaseHeld(request, "restore")
        steps = _Steps(request, lease, progress)
        try:
            # First of all: a run that was reset has a lease already, and failing without it would leave that open.
            progress.enter("lease", "acquiring the cluster's lease")
            runners = request.runner_timeout * (request.replicas or REPLICAS_AT_MOST) * _runner.ATTEMPTS
            ttl = CHECK_LIMIT + request.stop_timeout + runners + request.ready_timeout + MARGIN
            await lease.acquire(ttl, progress.waiting)
            result = await lease.guard(steps.run(), second_line=steps.start_without_lease)
        except asyncio.CancelledError as error:
            if (told := steps.cancelled_too_late()) is not None:
                progress.fail(told)
                raise told from error
            progress.end("cancelled")
            raise
        except BaseException as error:
            failure = steps.failure(error)
            progress.fail(failure)
            if failure is error:
                raise
            raise failure from error
        return result.model_copy(update={"phases": progress.end("done")})


class _Steps:
    """The phases of one restore."""

    def __init__(self, request: RestoreRequest, lease: LeaseHeld, progress: ProgressReport) -> None:
        self._request = request
        self._lease = lease
        self._progress = progress
        self._restore_id = ""
        """From the moment at which the lease was there, so that no other restore of this cluster has it."""
        self._is_stopped = False
        self._stop: StopOrder | None = None

    async def run(self) -> RestoreResult:
        """Plan, check, stop, restore each claim in turn, start."""
        self._restore_id = names.timestamp(workflow.now()).lower()
        self._enter("plan", "looking at the StatefulSet and its claims")
        self._progress.backup(self._request.backup_id)
        seen = await self._observe()
        replicas = _size(seen, self._request)
        manifest = await self._check(seen)
        await self._stop_cluster(seen, replicas)
        claims = [await self._restore(claim, manifest, len(seen.claims)) for claim in seen.claims]
        started = await self._start_cluster(seen)
        return RestoreResult(
            manifest=manifest, claims=tuple(claims), replicas=replicas, phases=(), outage_seconds=started.seconds
        )

    async def _observe(self) -> ClusterObservation:
        request = self._request
        seen = await workflow.execute_activity_method(
            GaleraActivities.observe_cluster,
            Observe(
                cluster=request.cluster,
                credentials=request.credentials,
                container=request.container,
                primary_label=request.primary_label,
                replicas=request.replicas,
            ),
            summary="the StatefulSet, its pods and its data claims",
            **_options.act(),
        )
        self._progress.note(rules.table(seen))
        return seen

    # --- before the outage

    async def _check(self, seen: ClusterObservation) -> Manifest:
        """The backup is there, complete and whole, it fits the server's version, and there is room for it."""
        self._enter("check", f"verifying {self._request.backup_id} and the room on every volume; the database is up")
        manifest: Manifest | None = None
        lacking: list[str] = []
        for claim in seen.claims:
            report = await self._check_claim(claim, seen, with_backup=manifest is None)
            if manifest is None:
                manifest = _manifest_of(report)
                lacking += _lines(rules.lacking_unpack_space(report, _kb(manifest), self._request.backup_claim))
            lacking += _lines(rules.lacking_space(report, _kb(manifest), claim.claim))
        if manifest is None:
            raise InternalError("the StatefulSet has no data claims")
        if lacking:
            raise NotEnoughSpace(
                f"restoring {manifest.backup_id!r} into {str(self._request.cluster)!r}: {'; '.join(lacking)}. "
                "Nothing was changed and the database is up; make room, or enlarge the claims"
            )
        self._progress.fact("backup's position", f"`{manifest.position}`")
        self._progress.fact("data", f"{manifest.data_bytes:,} bytes")
        return manifest

    async def _check_claim(self, claim: ClaimObservation, seen: ClusterObservation, with_backup: bool) -> CheckReport:
        request, member = self._request, seen.members[claim.ordinal]
        job = CheckJob(cluster=request.cluster, backup_id=request.backup_id if with_backup else None)
        task = RunnerTask(
            cluster=request.cluster,
            lease=self._lease.ref,
            fence="lease",
            pod=self._pod(f"check-{claim.ordinal}"),
            job=job,
            container=request.container,
            credentials=request.credentials,
            backup_claim=request.backup_claim,
            data_claim=claim.claim,
            replica=member.pod if member.node else None,
            run_as_user=request.run_as_user,
            timeout=CHECK_LIMIT,
        )
        summary = f"verify {request.backup_id}, room on {claim.claim}" if with_backup else f"room on {claim.claim}"
        outcome = await _runner.run(task, summary)
        if outcome.result.check is None:
            raise InternalError(f"runner pod {outcome.log.pod!r} answered without a report")
        return outcome.result.check

    # --- the outage

    async def _stop_cluster(self, seen: ClusterObservation, replicas: int) -> None:
        request = self._request
        self._enter("stop", f"scaling {request.cluster} to 0: the database is not available from now on")
        self._stop = StopOrder(
            replicas_before=seen.replicas,
            replicas=replicas,
            restore_id=self._restore_id,
            backup_id=request.backup_id,
            claims=tuple(claim.claim for claim in seen.claims),
            backup_claim=request.backup_claim,
            run_as_user=request.run_as_user,
            runner_pod_prefix=request.runner_pod_prefix,
            primary_label=request.primary_label,
            primary_pod=rules.primary_pod(seen, request.primary_label) or seen.primary_before,
            stop_timeout=request.stop_timeout,
            runner_timeout=request.runner_timeout,
            ready_timeout=request.ready_timeout,
        )
        await self._lease.order("stop", self._stop)
        self._is_stopped = True

    async def _restore(self, claim: ClaimObservation, manifest: Manifest, claims: int) -> ClaimRestore:
        request, first = self._request, claim.ordinal == 0
        what = "unpack, prepare and restore" if first else "restore"
        self._enter(f"restore-{claim.ordinal}", f"{what} {manifest.backup_id} to {claim.claim}")
        job = RestoreJob(
            cluster=request.cluster,
            backup_id=manifest.backup_id,
            restore_id=self._restore_id,
            ordinal=claim.ordinal,
            last=claim.ordinal == claims - 1,
            safe_to_bootstrap=first,
        )
        task = RunnerTask(
            cluster=request.cluster,
            lease=self._lease.ref,
            fence="stopped",
            pod=self._pod(str(claim.ordinal)),
            job=job,
            container=request.container,
            credentials=request.credentials,
            backup_claim=request.backup_claim,
            data_claim=claim.claim,
            run_as_user=request.run_as_user,
            timeout=request.runner_timeout,
        )
        outcome = await _runner.run(task, f"{what} {claim.claim}")
        if outcome.result.restore is None:
            raise InternalError(f"runner pod {outcome.log.pod!r} answered without a report")
        return ClaimRestore(claim=claim.claim, report=outcome.result.restore, runner=outcome.log)

    async def _start_cluster(self, seen: ClusterObservation) -> LeaseEvent:
        self._enter("start", f"scaling {seen.cluster} back, until all replicas are Ready and in one cluster")
        restored = tuple(
            ClaimReport(claim=claim.claim, ordinal=claim.ordinal, state=ClaimState.RESTORED) for claim in seen.claims
        )
        return await self._lease.order("start", StartOrder(claims=restored))

    # --- when it fails

    async def start_without_lease(self) -> None:
        """The second line: the lease was killed, so this run starts what carries the lease's mark."""
        if self._stop is None:
            return
        request, ref = self._request, self._lease.ref
        stopped = _undo.Stopped(
            cluster=request.cluster,
            mark=Mark(lease=ref, owner=workflow.info().workflow_id, until=workflow.now()),
            order=self._stop,
            credentials=request.credentials,
            container=request.container,
        )
        self._progress.enter("start", "the lease was killed: starting the cluster from here")
        claims = None if self._is_stopped else _undo.untouched(stopped)
        await _undo.bring_up(stopped, claims, names.lease_queue(workflow.info().task_queue))

    def cancelled_too_late(self) -> RestoreFailed | None:
        """What "cancelled" would hide: that the database is down, or that its data was replaced all the same."""
        if self._lease.failure is not None:
            return RestoreFailed(f"the restore was cancelled. {self._lease.failure.message}")
        claims = self._lease.result.claims if self._lease.result is not None else ()
        if any(claim.state == ClaimState.RESTORED for claim in claims):
            return RestoreFailed(
                "the restore was cancelled when claims were restored already, so it was finished: the cluster runs on "
                f"the restored data ({rules.describe(claims)}). To go back, start a restore of an older backup"
            )
        return None

    def failure(self, error: BaseException) -> BaseException:
        """The error that the run ends with: after the stop it says what became of the cluster and each claim."""
        if isinstance(error, ActivityError) and not is_cancelled_exception(error):
            error = typed(error)
        if self._stop is None or not isinstance(error, GaleraBackupError):
            return error
        if self._lease.failure is not None:
            state = self._lease.failure.message
            if state == error.message:
                return RestoreFailed(state)
        elif self._lease.result is not None and self._lease.result.claims:
            claims = rules.describe(self._lease.result.claims)
            state = f"The cluster was started again; claims: {claims}"
        else:
            state = "See the lease for the state of the cluster"
        return RestoreFailed(f"{error.message}. {state}")

    def _pod(self, suffix: str) -> str:
        return f"{self._request.runner_pod_prefix}-{self._restore_id}-{suffix}"

    def _enter(self, phase: str, waiting_for: str) -> None:
        self._lease.check()
        self._progress.enter(phase, waiting_for)


def _size(seen: ClusterObservation, request: RestoreRequest) -> int:
    if seen.replicas == 0 and request.replicas is None:
        raise InvalidInput(
            f"replicas: StatefulSet {str(request.cluster)!r} is at 0 replicas; expected the size that the restored "
            "cluster shall have. Set 'replicas' in the request"
        )
    if seen.replicas and request.replicas not in (None, seen.replicas):
        raise InvalidInput(
            f"replicas: expected {seen.replicas}, as StatefulSet {str(request.cluster)!r} says, got "
            f"{request.replicas}. Leave it out, or scale the StatefulSet first"
        )
    return seen.replicas or request.replicas or 0


def _manifest_of(report: CheckReport) -> Manifest:
    if report.manifest is None:
        raise InternalError("the check of the backup answered without its manifest")
    return report.manifest


def _kb(manifest: Manifest) -> int:
    return manifest.data_bytes // 1024


def _lines(problem: str | None) -> list[str]:
    return [problem] if problem else []
