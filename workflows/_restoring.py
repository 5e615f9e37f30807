"""What every strategy of a restore does: look, check, stop, and say how it ended."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable

from temporalio import workflow

from workflows import _clone, _runner
from workflows._observing import until_all_answer
from workflows._outage import CHECK_LIMIT, Outage, size_of
from workflows._progress import ProgressReport
from workflows._questions import Questions
from workflows.lease.held import LeaseHeld

with workflow.unsafe.imports_passed_through():
    from galera_backup import names
    from galera_backup.errors import InternalError, NotEnoughSpace, RestoreFailed
    from galera_backup.models.clone import Clone
    from galera_backup.models.cluster import ClaimObservation, ClusterObservation
    from galera_backup.models.jobs import CheckJob, CheckReport
    from galera_backup.models.lease import StopOrder
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.plan import ClaimPlan, RestorePlan
    from galera_backup.models.restore import ClaimState, RestoreRequest, RestoreResult
    from galera_backup.rules.formed import all_answer, not_restored
    from galera_backup.rules.plan import changed_since, expected_outage

REPLICAS_AT_MOST = 9
"""For the lease's time to live, which is decided before the cluster is looked at."""


class Restoring(Outage[RestoreResult]):
    """One restore, and how far it is."""

    _NAME = "restore"
    _DONE = ClaimState.RESTORED
    _WAY_BACK = "The cluster runs on the restored data. To go back, start a restore of an older backup"
    _WAY_OUT: str
    """What to do when there is no room."""

    def __init__(
        self, request: RestoreRequest, lease: LeaseHeld, progress: ProgressReport, questions: Questions
    ) -> None:
        super().__init__(request, lease, progress)
        self._request: RestoreRequest = request
        self._questions = questions
        self._clone: Clone | None = None
        self._approved_by: str | None = None

    # --- before the outage

    async def _plan(self) -> tuple[ClusterObservation, StopOrder]:
        request = self._request
        self._restore_id = names.timestamp(workflow.now()).lower()
        self._enter("plan", "looking at the StatefulSet and its claims")
        self._progress.backup(request.backup_id)
        seen = await self._observe()
        self._clone = _clone.identity(request)
        order = self._order(seen, request.strategy).model_copy(
            update={
                "backup_id": request.backup_id,
                "clone": self._clone,
                "keep_previous_for": request.keep_previous_for,
            }
        )
        if self._clone is not None:
            await self._check_apart(self._clone)
        return seen, order

    async def _check_apart(self, clone: Clone) -> None:
        self._enter("apart", f"seeing that it is not, and will not be, in the group of {clone.source}")
        self._progress.fact("source", f"`{clone.source}`: {await _clone.check_apart(self._request, clone)}")
        self._progress.fact("identity of the clone", f"`{clone.uuid}`")

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
        claims: list[ClaimPlan] = []
        found: list[str | None] = []
        for claim in seen.claims:
            report = await self._check_claim(claim, seen, with_backup=manifest is None)
            if manifest is None:
                manifest = _manifest_of(report)
                found.append(self._lacking_on_backup_volume(report, manifest.data_bytes // 1024))
            found.append(self._lacking(report, manifest.data_bytes // 1024, claim.claim))
            claims.append(ClaimPlan(claim=claim.claim, free_kb=report.data_free_kb, total_kb=report.data_total_kb))
        if manifest is None:
            raise InternalError("the StatefulSet has no data claims")
        obstacles = tuple(each for each in found if each)
        self._show_plan(seen, manifest, tuple(claims), obstacles)
        if obstacles:
            raise NotEnoughSpace(
                f"restoring {manifest.backup_id!r} into {str(self._request.cluster)!r}: {'; '.join(obstacles)}. "
                f"Nothing was changed and the database is up; {self._WAY_OUT}"
            )
        await self._ask_for_approval()
        return manifest

    def _show_plan(
        self,
        seen: ClusterObservation,
        manifest: Manifest,
        claims: tuple[ClaimPlan, ...],
        obstacles: tuple[str, ...],
    ) -> None:
        strategy, data_bytes = self._request.strategy, manifest.data_bytes
        replicas = size_of(seen, self._request)
        outage = expected_outage(strategy, data_bytes, replicas)
        self._questions.plan = RestorePlan(
            cluster=seen.cluster,
            source=self._request.source,
            strategy=strategy,
            backup_id=manifest.backup_id,
            position=manifest.position,
            server_version=manifest.server_version,
            data_bytes=data_bytes,
            replicas=replicas,
            claims=claims,
            obstacles=obstacles,
            expected_outage_seconds=outage,
        )
        self._progress.fact("backup's position", f"`{manifest.position}`, MariaDB {manifest.server_version}")
        self._progress.fact("data", f"{data_bytes:,} bytes")
        self._progress.fact("strategy", f"{strategy}, for {replicas} replicas; outage of about {outage:.0f} s")
        free = ", ".join(f"`{each.claim}` {each.free_kb:,} of {each.total_kb:,}" for each in claims)
        self._progress.fact("KB free", free)

    async def _ask_for_approval(self) -> None:
        if not self._request.require_approval:
            return
        self._enter("approve", "the plan waits for the update approve or reject; nothing was changed")
        answer = await self._questions.approval(self._request.approval_timeout)
        self._approved_by = answer.who
        self._progress.fact("approved by", f"{answer.who}: {answer.why}")

    async def _check_plan(self, planned: ClusterObservation) -> None:
        """Right before the cut: the cluster is the one of the plan. Errors: `RestoreFailed`, `ClusterUnhealthy`."""
        changed = changed_since(planned, await self._observe())
        if changed is not None:
            raise RestoreFailed(
                f"{changed}, unlike when the restore was planned. The cluster was not touched; start the restore again"
            )
        if self._clone is not None:
            await _clone.check_apart(self._request, self._clone)

    @abstractmethod
    def _lacking(self, report: CheckReport, data_kb: int, claim: str) -> str | None:
        """Why there is no room on a data volume, or None."""

    @abstractmethod
    def _lacking_on_backup_volume(self, report: CheckReport, data_kb: int) -> str | None:
        """Why there is no room on the backup volume, or None."""

    async def _check_claim(self, claim: ClaimObservation, seen: ClusterObservation, with_backup: bool) -> CheckReport:
        backup_id = self._request.backup_id if with_backup else None
        job = CheckJob(cluster=self._request.cluster, clone=self._clone, backup_id=backup_id)
        task = self._task(f"check-{claim.ordinal}", job, claim, seen, CHECK_LIMIT)
        summary = f"verify {backup_id}, room on {claim.claim}" if with_backup else f"room on {claim.claim}"
        return (await _runner.run(task, summary)).report

    # --- after the start

    async def _prove(self, manifest: Manifest, replicas: int) -> None:
        """Error: `RestoreFailed`, when what has started is not the restored cluster, or a clone is not alone."""
        self._enter("prove", "looking whether the cluster is the restored one")
        uuid = self._clone.uuid if self._clone is not None else manifest.position.uuid
        seen = await until_all_answer(self._observe, all_answer)
        wrong = not_restored(seen, uuid)
        if wrong is not None:
            raise RestoreFailed(wrong)
        if self._clone is not None:
            await _clone.check_alone(self._request, self._clone, replicas)


def _manifest_of(report: CheckReport) -> Manifest:
    if report.manifest is None:
        raise InternalError("the check of the backup answered without its manifest")
    return report.manifest
