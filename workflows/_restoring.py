"""What every strategy of a restore does: look, check, stop, and say how it ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows import _options, _runner, _undo
from workflows._failures import typed
from workflows._holder import LeaseHeld
from workflows._progress import ProgressReport

with workflow.unsafe.imports_passed_through():
    from activities.galera import GaleraActivities
    from galera_backup import names, rules
    from galera_backup.errors import GaleraBackupError, InternalError, InvalidInput, NotEnoughSpace, RestoreFailed
    from galera_backup.models.activities import Observe, RunnerOutcome, RunnerTask
    from galera_backup.models.cluster import ClaimObservation, ClusterObservation
    from galera_backup.models.lease import Mark, StopOrder
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.restore import ClaimReport, ClaimState, RestoreRequest, RestoreResult
    from galera_backup.models.runner import CheckJob, CheckReport, RunnerJob

MARGIN = timedelta(minutes=30)
"""What looking and checking may take beside the runners, the stop and the start, before the lease ends by itself."""
REPLICAS_AT_MOST = 9
"""For the lease's time to live, which is decided before the cluster is looked at."""
CHECK_LIMIT = timedelta(hours=2)
"""For reading the whole backup once, to verify its checksum."""


class Restoring(ABC):
    """One restore, and how far it is."""

    def __init__(self, request: RestoreRequest, lease: LeaseHeld, progress: ProgressReport) -> None:
        self._request = request
        self._lease = lease
        self._progress = progress
        self._restore_id = ""
        """From the moment at which the lease was there, so that no other restore of this cluster has it."""
        self._is_stopped = False
        self._stopping: StopOrder | None = None
        self._started_on: tuple[ClaimReport, ...] | None = None

    @staticmethod
    @abstractmethod
    def ttl(request: RestoreRequest) -> timedelta:
        """The longest that the lease may be needed."""

    @abstractmethod
    async def run(self) -> RestoreResult:
        """From the plan to the start of the cluster."""

    # --- before the outage

    async def _plan(self) -> tuple[ClusterObservation, StopOrder]:
        request = self._request
        self._restore_id = names.timestamp(workflow.now()).lower()
        self._enter("plan", "looking at the StatefulSet and its claims")
        self._progress.backup(request.backup_id)
        seen = await self._observe()
        order = StopOrder(
            strategy=request.strategy,
            replicas_before=seen.replicas,
            replicas=_size(seen, request),
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
        return seen, order

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

    async def _check(
        self, seen: ClusterObservation, beforehand: Callable[[], Awaitable[None]] | None = None
    ) -> Manifest:
        """The backup is there, complete and whole, it fits the server's version, and there is room for it.

        `beforehand`: what takes less time than reading a backup.
        """
        self._enter("check", f"verifying {self._request.backup_id} and the room on every volume; the database is up")
        if beforehand is not None:
            await beforehand()
        manifest: Manifest | None = None
        lacking: list[str | None] = []
        for claim in seen.claims:
            report = await self._check_claim(claim, seen, with_backup=manifest is None)
            if manifest is None:
                manifest = _manifest_of(report)
                lacking.append(self._lacking_on_backup_volume(report, manifest.data_bytes // 1024))
            lacking.append(self._lacking(report, manifest.data_bytes // 1024, claim.claim))
        if manifest is None:
            raise InternalError("the StatefulSet has no data claims")
        problems = [each for each in lacking if each]
        if problems:
            raise NotEnoughSpace(
                f"restoring {manifest.backup_id!r} into {str(self._request.cluster)!r}: {'; '.join(problems)}. "
                f"Nothing was changed and the database is up; {self._WAY_OUT}"
            )
        self._progress.fact("backup's position", f"`{manifest.position}`")
        self._progress.fact("data", f"{manifest.data_bytes:,} bytes")
        return manifest

    _WAY_OUT: str
    """What to do when there is no room."""

    @abstractmethod
    def _lacking(self, report: CheckReport, data_kb: int, claim: str) -> str | None:
        """Why there is no room on a data volume, or None."""

    @abstractmethod
    def _lacking_on_backup_volume(self, report: CheckReport, data_kb: int) -> str | None:
        """Why there is no room on the backup volume, or None."""

    async def _check_claim(self, claim: ClaimObservation, seen: ClusterObservation, with_backup: bool) -> CheckReport:
        backup_id = self._request.backup_id if with_backup else None
        job = CheckJob(cluster=self._request.cluster, backup_id=backup_id)
        task = self._task(f"check-{claim.ordinal}", job, claim, seen, CHECK_LIMIT)
        summary = f"verify {backup_id}, room on {claim.claim}" if with_backup else f"room on {claim.claim}"
        return _checked(await _runner.run(task, summary))

    def _task(
        self, name: str, job: RunnerJob, claim: ClaimObservation, seen: ClusterObservation, timeout: timedelta
    ) -> RunnerTask:
        """A pod beside the live replica."""
        member = seen.members[claim.ordinal]
        return self._stopped_task(name, job, claim, timeout).model_copy(
            update={"fence": "lease", "replica": member.pod if member.node else None}
        )

    # --- the outage

    def _stopped_task(self, name: str, job: RunnerJob, claim: ClaimObservation, timeout: timedelta) -> RunnerTask:
        """A pod on the volume of a stopped replica."""
        request = self._request
        return RunnerTask(
            cluster=request.cluster,
            lease=self._lease.ref,
            fence="stopped",
            pod=f"{request.runner_pod_prefix}-{self._restore_id}-{name}",
            job=job,
            container=request.container,
            credentials=request.credentials,
            backup_claim=request.backup_claim,
            data_claim=claim.claim,
            run_as_user=request.run_as_user,
            timeout=timeout,
        )

    async def _stop(self, order: StopOrder) -> None:
        self._enter("stop", f"scaling {self._request.cluster} to 0: the database is not available from now on")
        self._stopping = order
        await self._lease.order("stop", order)
        self._is_stopped = True

    # --- when it fails

    async def start_without_lease(self) -> None:
        """The second line: the lease was killed, so this run starts what carries the lease's mark."""
        if self._stopping is None:
            return
        request, ref = self._request, self._lease.ref
        stopped = _undo.Stopped(
            cluster=request.cluster,
            mark=Mark(lease=ref, owner=workflow.info().workflow_id, until=workflow.now()),
            order=self._stopping,
            credentials=request.credentials,
            container=request.container,
        )
        self._progress.enter("start", "the lease was killed: starting the cluster from here")
        claims = None if self._is_stopped else self._started_on or _undo.untouched(stopped)
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
        if self._stopping is None or not isinstance(error, GaleraBackupError):
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


def _checked(outcome: RunnerOutcome) -> CheckReport:
    if outcome.result.check is None:
        raise InternalError(f"runner pod {outcome.log.pod!r} answered without a report")
    return outcome.result.check
