"""GaleraLease: the lock of a cluster, and the owner of everything that must be undone on it.

One fixed workflow id for each cluster, so at most one is open. It alone desyncs and resyncs a replica, and stops and
starts the cluster; its owner, the operation, asks by signals. It ends when the owner releases it, when it is
cancelled, when the owner is closed in whatever way (the server then cancels it), or when its time to live is over, and
in each case only after what it did is undone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from temporalio import workflow
from temporalio.exceptions import WorkflowAlreadyStartedError

from workflows import _runner, call
from workflows._uncancellable import uncancellable
from workflows.lease import undo

with workflow.unsafe.imports_passed_through():
    from activities.galera import GaleraActivities
    from activities.kubernetes import KubernetesActivities
    from activities.runner import RunnerActivities
    from galera_backup import names
    from galera_backup.errors import (
        ClusterNotFormed,
        DesyncFailed,
        GaleraBackupError,
        LeaseLost,
        RestoreFailed,
        ScaleFailed,
    )
    from galera_backup.models.activities import RemoveRunners, ReplicaTask
    from galera_backup.models.common import LeaseRef
    from galera_backup.models.lease import (
        DesyncOrder,
        LeaseEvent,
        LeaseRequest,
        LeaseResult,
        LeaseStatus,
        Mark,
        OrderKind,
        StartOrder,
        StopOrder,
    )
    from galera_backup.models.restore import ClaimReport, TidyRequest
    from galera_backup.rules.claims import are_restored, replicas_on, restore_to_keep
    from galera_backup.temporal.attributes import CLUSTER, PHASE, REPLICA
    from galera_backup.text import first_sentence_of

A = TypeVar("A")
R = TypeVar("R")

OWNER_LIMIT = timedelta(minutes=2)
"""For an owner to stop its runner when the lease ends before it is released; its activities hear of it within 10 s."""
LONGEST_WAIT = timedelta(days=7)
"""For the cluster, before what a restore has kept is removed."""
OUT_OF_SERVICE_LIMIT = timedelta(minutes=2)
"""From Donor/Desynced to Not Ready and out of the endpoints; readiness probes run every few seconds."""


@workflow.defn(name="GaleraLease")
class GaleraLease:
    """Keeps no failure from the owner, and never gives up undoing."""

    @workflow.init
    def __init__(self, request: LeaseRequest) -> None:
        self._request = request
        self._until = workflow.now() + request.ttl
        self._orders: deque[Callable[[], Awaitable[None]]] = deque()
        self._at_work: asyncio.Task[None] | None = None
        self._reason: str | None = None
        self._released = False
        self._phase = "held"
        # What is to be undone; set before its effect, because a failed activity may have had it.
        self._replica: ReplicaTask | None = None
        self._drain_timeout = timedelta(0)
        self._desynced_at: datetime | None = None
        self._stopped: undo.Stopped | None = None
        self._stopped_at: datetime | None = None
        self._known: tuple[ClaimReport, ...] | None = None
        """What the data claims of a stopped cluster hold; None: the owner works on them."""
        self._claims: tuple[ClaimReport, ...] = ()
        self._staging: StopOrder | None = None
        self._untidy: tuple[str, ...] = ()
        self._kept_until: datetime | None = None
        self._unsettled: GaleraBackupError | None = None

    @workflow.run
    async def run(self, request: LeaseRequest) -> LeaseResult:
        """Hold, then settle. Fails only when the cluster had to be left stopped or did not form again."""
        workflow.upsert_search_attributes([CLUSTER.value_set(str(request.site.cluster))])
        self._show("held")
        reason = await self._hold()
        await uncancellable(self._settle())
        self._show("closed")
        if self._unsettled is not None:
            raise self._unsettled
        return LeaseResult(reason=reason, claims=self._claims, untidy=self._untidy, kept_until=self._kept_until)

    # --- what the owner asks for; a signal handler must not raise, it would fail the lease

    @workflow.signal
    def desync(self, order: DesyncOrder) -> None:
        """Take a replica out of flow control and out of the Services."""
        self._orders.append(lambda: self._answer("desync", self._desync(order)))

    @workflow.signal
    def resync(self) -> None:
        """Bring the replica back, and go on holding the cluster."""
        self._orders.append(lambda: self._answer("resync", self._resync()))

    @workflow.signal
    def stage(self, order: StopOrder) -> None:
        """Remove what earlier restores staged or unpacked, and at the end of the lease what this one will."""
        self._orders.append(lambda: self._answer("stage", self._stage(order)))

    @workflow.signal
    def stop(self, order: StopOrder) -> None:
        """Scale the StatefulSet to 0."""
        self._orders.append(lambda: self._answer("stop", self._stop(order)))

    @workflow.signal
    def start(self, order: StartOrder) -> None:
        """Scale the StatefulSet back."""
        self._orders.append(lambda: self._answer("start", self._start(order)))

    @workflow.signal
    def release(self, owner: str) -> None:
        """The operation is over. From anybody but the owner it means nothing."""
        if owner == self._request.owner:
            self._released = True
            self._reason = self._reason or "released by its owner"

    @workflow.query
    def status(self) -> LeaseStatus:
        """Who holds the cluster, for what, and until when."""
        request = self._request
        return LeaseStatus(
            cluster=request.site.cluster,
            operation=request.operation,
            owner=request.owner,
            phase=self._phase,
            replica=self._replica.pod if self._replica else None,
            reason=self._reason,
            until=self._until,
        )

    # --- holding

    async def _hold(self) -> str:
        try:
            while self._reason is None:
                left = max(self._until - workflow.now(), timedelta(milliseconds=1))
                await workflow.wait_condition(
                    self._is_wanted, timeout=left, timeout_summary="time to live of the lease"
                )
                if self._at_work is not None and self._at_work.done():
                    self._at_work.result()  # a bug must suspend the lease, not be lost with its task
                    self._at_work = None
                if self._orders and self._at_work is None and self._reason is None:
                    # A task of its own: a cancel ends the holding, not the order that is being carried out.
                    self._at_work = asyncio.ensure_future(self._orders.popleft()())
        except TimeoutError:
            self._reason = f"its time to live of {self._request.ttl} is over"
        except asyncio.CancelledError:
            self._reason = "its owner is closed, or it was cancelled"
        return self._reason or ""

    def _is_wanted(self) -> bool:
        if self._reason is not None:
            return True
        if self._at_work is not None:
            return self._at_work.done()
        return bool(self._orders)

    async def _settle(self) -> None:
        """Undo what is not undone yet; after the order at work, so that its effect cannot come later."""
        workflow.logger.info("lease ends", extra={"reason": self._reason})
        if self._at_work is not None:
            await self._at_work
        await self._stop_owner()
        await self._resync()
        if self._stopped is not None:
            with contextlib.suppress(GaleraBackupError):  # kept, for the end of the run
                await self._start(None)
        await _runner.remove_all(self._request.site.cluster, self._ref())
        await self._tidy()

    async def _stop_owner(self) -> None:
        """Let the owner end its work before that is undone: it answers with a release.

        An owner that is closed, or does not answer, is not waited for.
        """
        if self._released:
            return
        owner = workflow.get_external_workflow_handle(self._request.owner)
        try:
            await owner.signal("lease_event", self._event("end", message=self._reason))
            await workflow.wait_condition(
                lambda: self._released, timeout=OWNER_LIMIT, timeout_summary="the owner ends its work"
            )
        except Exception as error:
            workflow.logger.warning("owner not waited for", extra={"error": first_sentence_of(error)})

    async def _answer(self, order: OrderKind, work: Awaitable[LeaseEvent]) -> None:
        try:
            event = await work
        except GaleraBackupError as error:
            event = self._event(order, error_type=error.type, message=error.message)
        owner = workflow.get_external_workflow_handle(self._request.owner)  # by id: it may have been reset
        try:
            await owner.signal("lease_event", event)
        except Exception as error:  # it is closed: its end cancels this lease
            workflow.logger.warning("owner not reachable", extra={"error": first_sentence_of(error)})

    def _event(self, order: OrderKind | Literal["end"], **values: object) -> LeaseEvent:
        return LeaseEvent.model_validate({"lease_run": workflow.info().run_id, "order": order, **values})

    # --- backup: out of sync and back

    async def _desync(self, order: DesyncOrder) -> LeaseEvent:
        task = self._replica_task(order)
        self._replica, self._drain_timeout = task, order.drain_timeout
        self._show(f"desyncing {order.pod}")
        workflow.upsert_search_attributes([REPLICA.value_set(order.pod)])
        await self._remove_strangers()
        mark = await self._step(GaleraActivities.mark_replica, task, f"mark {order.pod}")
        self._replica = task = task.model_copy(update={"mark": mark, "only_if_marked": False})
        if mark.handover is not None:
            summary = f"primary label from {order.pod} to {mark.handover.heir}"
            await self._step(KubernetesActivities.hand_over_primary, task, summary)
        self._desynced_at = workflow.now()
        self._replica = task.model_copy(update={"on_may_land": True})
        report = await self._step(GaleraActivities.desync, task, f"wsrep_desync=ON on {order.pod}")
        self._replica = task.model_copy(update={"on_may_land": report.attempt > 1})
        await self._step(
            KubernetesActivities.wait_out_of_service,
            task,
            f"{order.pod} Not Ready and out of the endpoints",
            limit=OUT_OF_SERVICE_LIMIT,
        )
        self._show(f"{order.pod} is desynced")
        return self._event("desync")

    def _replica_task(self, order: DesyncOrder) -> ReplicaTask:
        return ReplicaTask(
            site=self._request.site,
            lease=self._ref(),
            pod=order.pod,
            mark=self._mark(),
            only_if_marked=True,  # until the mark is known to be there: a desync before that is somebody else's
            others_in_sync=order.others_in_sync,
            on_may_land=False,
        )

    async def _resync(self) -> LeaseEvent:
        if self._replica is None:
            return self._event("resync")
        self._show(f"bringing {self._replica.pod} back")
        drain_until = workflow.now() + self._drain_timeout
        report = await undo.bring_back(
            self._replica.model_copy(update={"drain_until": drain_until}), workflow.info().task_queue
        )
        self._show(f"{self._replica.pod} is in sync")
        self._replica = None
        seconds = (workflow.now() - self._desynced_at).total_seconds() if self._desynced_at else 0
        return self._event("resync", seconds=round(seconds, 3), drained=report.drained)

    # --- restore: staged, stopped and back

    async def _stage(self, order: StopOrder) -> LeaseEvent:
        self._show("removing what earlier restores left")
        await self._remove_strangers(late=RestoreFailed)
        untidy = await undo.tidy(self._stopped_by(order), self._ref(), keep=order.restore_id)
        if untidy:
            raise RestoreFailed(
                f"removing what earlier restores left on {', '.join(untidy)}: expected it to be gone. Look at the "
                "failures of the lease's activities. The cluster was not touched; start the restore again"
            )
        self._staging = order
        self._show("held")
        return self._event("stage")

    async def _tidy(self) -> None:
        """Nothing depends on it but room on the volumes; not where a volume may still be needed to start."""
        order = self._staging
        if order is None or self._unsettled is not None:
            return
        self._show("removing copies of the data")
        keep = restore_to_keep(order, self._claims or undo.as_found(order))
        self._untidy = await undo.tidy(self._stopped_by(order), self._ref(), keep=keep)
        if keep is not None and not order.undoes:
            await self._discard_later(order)

    async def _discard_later(self, order: StopOrder) -> None:
        """A workflow that outlives lease and restore removes what is kept, when its time is over."""
        site = self._request.site
        self._kept_until = workflow.now() + order.keep_previous_for
        task = TidyRequest(
            **dict(site),
            wait_for_cluster=LONGEST_WAIT,
            runner_pod_prefix=order.runner_pod_prefix,
            restore_id=order.restore_id,
            until=self._kept_until,
        )
        with contextlib.suppress(WorkflowAlreadyStartedError):  # by a lease of this restore that was reset
            await workflow.start_child_workflow(
                "GaleraTidy",
                task,
                id=names.tidy_id(site.cluster, order.restore_id),
                task_queue=names.operation_queue(workflow.info().task_queue),
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                static_summary=f"data of {site.cluster} before restore {order.restore_id}: removed when it is time",
            )

    def _stopped_by(self, order: StopOrder) -> undo.Stopped:
        mark = self._mark().model_copy(update={"replicas_before": order.replicas_before, "order": order})
        return undo.Stopped(site=self._request.site, mark=mark, order=order)

    async def _stop(self, order: StopOrder) -> LeaseEvent:
        self._stopped = self._stopped_by(order)
        self._stopped_at = workflow.now()
        self._show("scaling to 0")
        if self._known is None:
            self._known = undo.as_found(order)
        await self._remove_strangers(late=ScaleFailed)
        task = self._stopped.scale(0)
        await self._step(KubernetesActivities.scale_down, task, "scale StatefulSet to 0", late=ScaleFailed)
        await self._step(
            KubernetesActivities.wait_stopped, task, "all pods gone", limit=order.stop_timeout, late=ScaleFailed
        )
        self._known = None
        self._show("cluster is stopped")
        return self._event("stop")

    async def _start(self, order: StartOrder | None) -> LeaseEvent:
        stopped = self._stopped
        if stopped is None:
            return self._event("start")
        self._show("starting the cluster")
        if order is not None and order.first_alone:
            await self._try_to_start(stopped, order.claims, replicas=1)
            self._show("the first replica serves")
            return self._started()
        if order is not None:
            self._known = order.claims
        if order is not None and order.may_stop_again:
            await self._try_to_start(stopped, order.claims, replicas_on(order.claims, stopped.order))
            return self._started()
        self._stopped = None  # whatever comes of it, it is decided once
        claims = self._known
        try:
            self._claims = await undo.bring_up(stopped, claims, workflow.info().task_queue)
        except GaleraBackupError as error:
            self._unsettled = error
            raise
        return self._started()

    async def _try_to_start(self, stopped: undo.Stopped, claims: tuple[ClaimReport, ...], replicas: int) -> None:
        """Steps that can fail, and be followed by others; the end of the lease puts the rest in order."""
        restored = are_restored(claims)
        scale = stopped.scale(replicas)
        await self._step(
            KubernetesActivities.scale_up, scale, f"scale StatefulSet back to {replicas}", late=ScaleFailed
        )
        await self._step(
            GaleraActivities.wait_formed,
            stopped.form(replicas, restored=restored, may_fail=restored),
            f"{replicas} replicas Ready and in one cluster",
            limit=stopped.order.ready_timeout,
            late=ClusterNotFormed,
        )
        self._claims = claims

    def _started(self) -> LeaseEvent:
        seconds = (workflow.now() - self._stopped_at).total_seconds() if self._stopped_at else 0
        return self._event("start", seconds=round(seconds, 3))

    # --- common

    async def _remove_strangers(self, late: type[GaleraBackupError] = DesyncFailed) -> None:
        """A lease that was killed together with its owner leaves runner pods; nobody works beside ours."""
        task = RemoveRunners(cluster=self._request.site.cluster, lease=self._ref())
        summary = "no runner pod of an earlier lease is left"
        await self._step(RunnerActivities.remove_strangers, task, summary, late=late)

    async def _step(
        self,
        activity: Callable[[Any, A], Awaitable[R]],
        argument: A,
        summary: str,
        *,
        limit: timedelta | None = None,
        late: type[GaleraBackupError] = DesyncFailed,
    ) -> R:
        """One step of an order. When the lease has to end meanwhile, the attempt that runs is the last one.

        Its end is awaited all the same: what undoes an effect must come after it.
        """
        if limit is None:
            step = asyncio.ensure_future(call.act(activity, argument, summary, late=late))
        else:
            step = asyncio.ensure_future(call.wait(activity, argument, summary, limit=limit, late=late))
        await workflow.wait_condition(lambda: step.done() or self._reason is not None)
        if not step.done():
            step.cancel()
        try:
            return await step
        except asyncio.CancelledError as error:
            raise LeaseLost(
                f"{summary}: not done, because the lease ends: {self._reason}. What it did is undone; start the "
                "operation anew"
            ) from error

    def _mark(self) -> Mark:
        info, now = workflow.info(), workflow.now()
        return Mark(
            lease=self._ref(), owner=self._request.owner, until=self._until, namespace=info.namespace, since=now
        )

    def _ref(self) -> LeaseRef:
        return LeaseRef(workflow_id=workflow.info().workflow_id, run_id=workflow.info().run_id)

    def _show(self, phase: str) -> None:
        self._phase = phase
        request = self._request
        workflow.upsert_search_attributes([PHASE.value_set(phase)])
        workflow.set_current_details(
            f"### Lease of `{request.site.cluster}`: {phase}\n\n"
            f"- held for: {request.operation} `{request.owner}`\n"
            f"- until: {self._until:%Y-%m-%d %H:%M:%S}Z at the latest\n"
            + (f"- ends because: {self._reason}\n" if self._reason else "")
        )
