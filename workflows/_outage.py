"""What every operation does that stops a cluster: orders to the lease, pods on its volumes, and how it ended."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar

from temporalio import workflow

from workflows import _runner
from workflows._observing import observe
from workflows._operation import Operation
from workflows._progress import ProgressReport
from workflows._runner import JobT
from workflows.lease import undo
from workflows.lease.held import LeaseHeld

with workflow.unsafe.imports_passed_through():
    from galera_backup import names
    from galera_backup.errors import GaleraBackupError, InvalidInput, RestoreFailed
    from galera_backup.models.activities import RunnerTask
    from galera_backup.models.cluster import ClaimObservation, ClusterObservation
    from galera_backup.models.jobs import SwapJob
    from galera_backup.models.lease import LeaseEvent, Mark, OperationName, StartOrder, StopOrder
    from galera_backup.models.restore import ClaimReport, ClaimState, OutageRequest, Strategy
    from galera_backup.rules.selection import primary_pod
    from galera_backup.show import describe_claims, members_table

R = TypeVar("R")
T = TypeVar("T")

CHECK_LIMIT = timedelta(hours=2)
"""For reading the whole backup once, to verify its checksum."""
SWAP_LIMIT = timedelta(minutes=30)
"""For some renames; most of it is for a node that has to attach a volume."""
MARGIN = timedelta(minutes=30)
"""What looking and checking may take beside the runners, the stop and the start, before the lease ends by itself."""


class Outage(ABC, Generic[R]):
    """One such operation, and how far it is."""

    _NAME: OperationName
    _DONE: ClaimState
    """Of a claim that has what the operation is for."""
    _WAY_BACK: str
    """From there."""

    def __init__(self, request: OutageRequest, lease: LeaseHeld, progress: ProgressReport) -> None:
        self._request = request
        self._lease = lease
        self._progress = progress
        self._restore_id = ""
        """From the moment at which the lease was there, so that no other restore of this cluster has it."""
        self._is_stopped = False
        self._stopping: StopOrder | None = None
        self._started_on: tuple[ClaimReport, ...] | None = None

    @abstractmethod
    def ttl(self) -> timedelta:
        """The longest that the lease may be needed."""

    @abstractmethod
    async def run(self) -> R:
        """From the plan to the start of the cluster."""

    # --- before the outage

    async def _observe(self) -> ClusterObservation:
        request = self._request
        seen = await observe(request, "the StatefulSet, its pods and its data claims", request.replicas)
        self._progress.note(members_table(seen))
        return seen

    def _task(
        self, name: str, job: JobT, claim: ClaimObservation, seen: ClusterObservation, timeout: timedelta
    ) -> RunnerTask[JobT]:
        """A pod beside the live replica."""
        member = seen.members[claim.ordinal]
        return self._stopped_task(name, job, claim, timeout).model_copy(
            update={"fence": "lease", "replica": member.pod if member.node else None}
        )

    def _order(self, seen: ClusterObservation, strategy: Strategy) -> StopOrder:
        request = self._request
        return StopOrder(
            site=request.site,
            strategy=strategy,
            replicas_before=seen.replicas,
            replicas=size_of(seen, request),
            restore_id=self._restore_id,
            claims=tuple(claim.claim for claim in seen.claims),
            runner_pod_prefix=request.runner_pod_prefix,
            primary_pod=primary_pod(seen, request.primary_label) or seen.primary_before,
            stop_timeout=request.stop_timeout,
            runner_timeout=request.runner_timeout,
            ready_timeout=request.ready_timeout,
        )

    # --- the outage

    def _stopped_task(self, name: str, job: JobT, claim: ClaimObservation, timeout: timedelta) -> RunnerTask[JobT]:
        """A pod on the volume of a stopped replica."""
        request = self._request
        return RunnerTask(
            site=request.site,
            lease=self._lease.ref,
            fence="stopped",
            pod=f"{request.runner_pod_prefix}-{self._restore_id}-{name}",
            job=job,
            data_claim=claim.claim,
            timeout=timeout,
        )

    async def _stop(self, order: StopOrder) -> None:
        self._enter("stop", f"scaling {self._request.cluster} to 0: the database is not available from now on")
        self._stopping = order
        await self._lease.order("stop", order)
        self._is_stopped = True

    async def _swap(self, claims: Sequence[ClaimObservation], direction: Literal["in", "back"]) -> None:
        await each(claims, lambda claim: self._swap_claim(claim, direction))

    async def _swap_claim(self, claim: ClaimObservation, direction: Literal["in", "back"]) -> None:
        job = SwapJob(cluster=self._request.cluster, restore_id=self._restore_id, direction=direction)
        data = "the restored data in" if direction == "in" else "the old data back"
        task = self._stopped_task(f"{direction}-{claim.ordinal}", job, claim, SWAP_LIMIT)
        await _runner.run(task, f"rename {data} on {claim.claim}")

    async def _start(
        self, claims: Sequence[ClaimObservation], state: ClaimState, *, may_stop_again: bool = False
    ) -> LeaseEvent:
        self._started_on = tuple(ClaimReport(claim=claim.claim, ordinal=claim.ordinal, state=state) for claim in claims)
        self._is_stopped = False
        return await self._lease.order("start", StartOrder(claims=self._started_on, may_stop_again=may_stop_again))

    # --- when it fails

    async def start_without_lease(self) -> None:
        """The second line: the lease was killed, so this run starts what carries the lease's mark."""
        if self._stopping is None:
            return
        request, ref = self._request, self._lease.ref
        stopped = undo.Stopped(
            site=request.site,
            mark=Mark(lease=ref, owner=workflow.info().workflow_id, until=workflow.now()),
            order=self._stopping,
        )
        self._progress.enter("start", "the lease was killed: starting the cluster from here")
        claims = None if self._is_stopped else self._started_on or undo.as_found(self._stopping)
        await undo.bring_up(stopped, claims, names.lease_queue(workflow.info().task_queue))

    def cancelled_too_late(self) -> RestoreFailed | None:
        """What "cancelled" would hide: that the database is down, or that its data was replaced all the same."""
        if self._lease.failure is not None:
            return RestoreFailed(f"the {self._NAME} was cancelled. {self._lease.failure.message}")
        claims = self._lease.result.claims if self._lease.result is not None else ()
        if any(claim.state == self._DONE for claim in claims):
            return RestoreFailed(
                f"the {self._NAME} was cancelled when claims were changed already, so it was finished: "
                f"{describe_claims(claims)}. {self._WAY_BACK}"
            )
        return None

    def failure(self, error: Exception) -> Exception:
        """The error that the run ends with: after the stop it says what became of the cluster and each claim."""
        if self._stopping is None or not isinstance(error, GaleraBackupError):
            return error
        if self._lease.failure is not None:
            state = self._lease.failure.message
            if state == error.message:
                return RestoreFailed(state)
        elif self._lease.result is not None and self._lease.result.claims:
            claims = describe_claims(self._lease.result.claims)
            state = f"The cluster was started again; claims: {claims}"
        else:
            state = "See the lease for the state of the cluster"
        return RestoreFailed(f"{error.message}. {state}")

    def _enter(self, phase: str, waiting_for: str) -> None:
        self._lease.check()
        self._progress.enter(phase, waiting_for)


class OutageOperation(Operation):
    """Base of the workflows that stop a cluster."""

    async def _conduct(self, outage: Outage[R], lease: LeaseHeld, progress: ProgressReport) -> R:
        """From the lease to its end; progress and failure say how it ended."""
        self._progress, self._lease = progress, lease
        try:
            # First of all: a run that was reset has a lease already, and failing without it would leave that open.
            progress.enter("lease", "acquiring the cluster's lease")
            await lease.acquire(outage.ttl(), progress.waiting)
            return await lease.guard(outage.run(), second_line=outage.start_without_lease)
        except asyncio.CancelledError as error:
            if (told := outage.cancelled_too_late()) is not None:
                progress.fail(told)
                raise told from error
            progress.end("cancelled")
            raise
        except Exception as error:
            failure = outage.failure(error)
            progress.fail(failure)
            if failure is error:
                raise
            raise failure from error


def size_of(seen: ClusterObservation, request: OutageRequest) -> int:
    """Replicas of the cluster when it is started again. Error: `InvalidInput`."""
    if seen.unfinished is not None:
        raise InvalidInput(
            f"cluster: StatefulSet {str(request.cluster)!r} runs with {seen.replicas} of {seen.unfinished} replicas, "
            "as a rolling restore left it, and the claims of the others hold other data; expected one that is whole. "
            "Run the janitor, which finishes that restore; or scale the StatefulSet to 0 and start this again with "
            f"'replicas': {seen.unfinished}"
        )
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


async def each(
    claims: Sequence[ClaimObservation], work: Callable[[ClaimObservation], Coroutine[Any, Any, T]]
) -> list[T]:
    """For all claims at once. After the first failure, or a cancel, the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(work(claim)) for claim in claims]
    try:
        await workflow.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    except asyncio.CancelledError:
        await _stop(tasks)
        raise
    await _stop(tasks)
    failed = [task for task in tasks if not task.cancelled() and task.exception() is not None]
    if failed:
        failed[0].result()
    return [task.result() for task in tasks]


async def _stop(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await workflow.wait(tasks)
