"""The operation's side of its cluster's lease: acquire it, send it commands, release it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import (
    ApplicationError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
)

from workflows import _runner, call
from workflows._uncancellable import uncancellable
from workflows.lease.desynced import Desynced
from workflows.lease.lease import GaleraLease
from workflows.lease.stake import Ended, Stake, Undoer
from workflows.lease.stopped import Stopped

with workflow.unsafe.imports_passed_through():
    from activities.temporal import TemporalActivities
    from galera_backup import names
    from galera_backup.errors import ClusterBusy, ClusterNotFormed, GaleraBackupError, LeaseLost, by_name
    from galera_backup.models.activities import LeaseHolder, LeaseName
    from galera_backup.models.common import LeaseRef
    from galera_backup.models.lease import (
        CleanUpCommand,
        CommandName,
        DesyncCommand,
        LeaseReply,
        LeaseRequest,
        LeaseResult,
        RenewCommand,
        StartCommand,
        StopCommand,
    )
    from galera_backup.models.mark import Mark
    from galera_backup.models.site import OperationRequest
    from galera_backup.text import first_sentence_of

T = TypeVar("T")

Lease = workflow.ChildWorkflowHandle[GaleraLease, LeaseResult]

MY_OWN_LIMIT = timedelta(hours=1)
"""How long a reset run waits until the lease of its former run has undone its stakes."""

REPORT_LIMIT = timedelta(seconds=10)
"""From the end of a lease to its owner's knowledge; it takes milliseconds."""


class LeaseHeld:
    """The lease of one operation, from its start as a child workflow to its end."""

    def __init__(self, request: OperationRequest, operation: str) -> None:
        self._request = request
        self._operation = operation
        self._lease: Lease | None = None
        self._replies: dict[tuple[str, str], LeaseReply] = {}
        self._stakes: list[Stake] = []
        """As the lease has them, for the case that it is terminated; in the list before the command is sent."""
        self._ending = False
        self.result: LeaseResult | None = None
        """How the lease ended, once it has."""
        self.failure: GaleraBackupError | None = None
        """Why the lease, or this operation for it, could not undo what it did, once it has ended."""
        self.goes_back_after: GaleraBackupError | None = None
        """Why the operation undoes something itself, before its end: no later failure hides that."""

    @property
    def ref(self) -> LeaseRef:
        """The run of the lease that this operation holds."""
        assert self._lease is not None
        assert self._lease.first_execution_run_id is not None
        return LeaseRef(workflow_id=self._lease.id, run_id=self._lease.first_execution_run_id)

    def on_reply(self, reply: LeaseReply) -> None:
        """For the operation's signal `lease_reply`. Kept by lease run: a reset replays the replies of an old one."""
        self._replies[reply.lease_run, reply.command] = reply

    # --- acquiring it

    async def acquire(self, ttl: timedelta, waiting: Callable[[str], None]) -> None:
        """Start the lease, or wait for it as long as the request allows; `waiting` is told who holds it.

        Error: `ClusterBusy`, naming the holder.
        """
        deadline = workflow.now() + self._request.wait_for_cluster
        while True:
            try:
                self._lease = await self._start(ttl)
                return
            except WorkflowAlreadyStartedError:
                holder = await self._holder()
            if holder.owner is None:
                await workflow.sleep(1, summary="the lease has just been let go")
                continue
            mine = holder.owner == workflow.info().workflow_id
            if mine:
                await self._release_former()
            left = MY_OWN_LIMIT if mine else deadline - workflow.now()
            since = f"since {holder.since:%Y-%m-%d %H:%M:%S}Z" if holder.since else ""
            if left <= timedelta(0):
                raise ClusterBusy(
                    f"cluster {str(self._request.cluster)!r} is held by {holder.owner!r} {since}: expected it to be "
                    f"free within {self._request.wait_for_cluster}. Start this again later, or set 'wait_for_cluster'"
                )
            waiting(f"waiting for {holder.owner}, which holds the cluster {since}")
            await self._wait_for_end(left)

    async def _start(self, ttl: timedelta) -> Lease:
        request = self._request
        return await workflow.start_child_workflow(
            GaleraLease.run,
            LeaseRequest(
                site=request.site,
                operation=self._operation,
                owner=workflow.info().workflow_id,
                ttl=ttl,
            ),
            id=names.lease_id(request.cluster),
            task_queue=names.lease_queue(workflow.info().task_queue),
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
            cancellation_type=workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            static_summary=f"lease of {request.cluster}: lock, and owner of what must be undone",
        )

    async def _holder(self) -> LeaseHolder:
        return await call.act(TemporalActivities.lease_holder, self._name(), "who holds the cluster?")

    async def _wait_for_end(self, limit: timedelta) -> None:
        try:
            await call.wait(
                TemporalActivities.wait_until_closed,
                self._name(),
                "the cluster is busy: waiting for the end of its lease",
                limit=limit,
            )
        except GaleraBackupError as error:
            workflow.logger.info("the lease is still held", extra={"error": first_sentence_of(error)})

    async def _release_former(self) -> None:
        """This run was reset: the lease of its former run serves nobody."""
        former = workflow.get_external_workflow_handle_for(GaleraLease.run, names.lease_id(self._request.cluster))
        try:
            await former.signal(GaleraLease.release, workflow.info().workflow_id)
        except ApplicationError as error:
            workflow.logger.info("the former lease has ended", extra={"error": first_sentence_of(error)})

    def _name(self) -> LeaseName:
        return LeaseName(workflow_id=names.lease_id(self._request.cluster))

    # --- under it

    async def guard(self, body: Coroutine[Any, Any, T], enter: Callable[[str, str], None]) -> T:
        """Run the operation's body under the lease; whatever ends it, all is undone when this returns.

        `enter` shows phase and text of what this operation has to undo by itself, because the lease was terminated.
        Error: what failed first; its message says too why something could not be undone.
        """
        try:
            result = await self._guard(body, enter)
        except asyncio.CancelledError as error:
            first = self.goes_back_after or self.failure
            if first is None:
                raise
            raise self._told(type(first)(f"the {self._operation} was cancelled")) from error
        except GaleraBackupError as error:
            told = self._told(error)
            if told is error:
                raise
            raise told from error
        if self.failure is not None:
            done = f"all steps of the {self._operation} were done, but what its lease had changed could not be undone"
            raise type(self.failure)(f"{done}: {self.failure.message}") from self.failure
        return result

    async def _guard(self, body: Coroutine[Any, Any, T], enter: Callable[[str, str], None]) -> T:
        assert self._lease is not None
        task = asyncio.ensure_future(body)
        ends = asyncio.ensure_future(workflow.wait_condition(lambda: self._end_reply() is not None))
        lost: str | None = None
        try:
            await workflow.wait([task, self._lease, ends], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                lost = self._end_of_lease()
        finally:
            ends.cancel()
            await uncancellable(self._end(task, enter))
        if lost is None:
            return task.result()
        undone = "" if self.failure else ". What it had changed was undone; start the operation again"
        raise LeaseLost(
            f"the lease of cluster {str(self._request.cluster)!r} ended while the operation needed it: {lost}{undone}"
        )

    def _told(self, last: GaleraBackupError) -> GaleraBackupError:
        """The failure of the operation: why it undid something already, what ended it, and why its undo failed."""
        first, failure, message = self.goes_back_after, self.failure, last.message
        if first is not None and first.message not in message:
            message = f"{first.message}. While that was undone: {message}"
        if failure is not None and failure.message not in message:
            message = f"{message}. {failure.message}"
        return last if message == last.message else type(last)(message, *last.details)

    async def desync(self, command: DesyncCommand) -> None:
        """Have a replica taken out of flow control and out of the Services. Errors: `DesyncFailed`, `LeaseLost`."""
        stake = Desynced(
            self._request.site,
            command.pod,
            self._mark(),
            Undoer.owner(),
            command.drain_timeout,
            on_may_land=True,  # a terminated lease may have had an attempt under way
        )
        self._stakes.append(stake)
        reply = await self._send("desync", command)
        stake.is_known(reply.moved)

    async def resync(self) -> LeaseReply:
        """Have that undone, and go on holding the cluster."""
        reply = await self._send("resync")
        self._stakes = [stake for stake in self._stakes if not isinstance(stake, Desynced)]
        return reply

    async def clean_up(self, command: CleanUpCommand) -> None:
        """Have removed what earlier restores left, and at the end of the lease what this one leaves.

        Nobody does the latter when the lease is terminated: the next restore does. Error: `RestoreFailed`.
        """
        await self._send("clean_up", command)

    async def stop(self, command: StopCommand) -> None:
        """Have the cluster stopped; its pods are gone when this returns, and runner pods may change data.

        Errors: `ScaleFailed`, `LeaseLost`.
        """
        stake = self._stopped()
        if stake is None:
            stake = Stopped(self._request.site, command.recipe, self._mark(), Undoer.owner())
            self._stakes.append(stake)
        stake.begins_to_stop()
        await self._send("stop", command)
        stake.is_stopped()

    async def renew(self, command: RenewCommand) -> None:
        """Have the mark written again, before data is renamed once more. Error: `ScaleFailed`."""
        if (stake := self._stopped()) is not None:
            stake.is_renewed(command)
        await self._send("renew", command)

    async def start(self, command: StartCommand) -> LeaseReply:
        """Have the cluster started. Errors: `ClusterNotFormed`, `ScaleFailed`, `LeaseLost`."""
        stake = self._stopped()
        if stake is None:
            return await self._send("start", command)
        stake.begins_to_start(command)
        try:
            return await self._send("start", command)
        except ClusterNotFormed:
            stake.has_not_formed(command)
            raise

    def _stopped(self) -> Stopped | None:
        return next((stake for stake in self._stakes if isinstance(stake, Stopped)), None)

    def _mark(self) -> Mark:
        return Mark(
            lease=self.ref,
            owner=workflow.info().workflow_id,
            until=workflow.now(),
            namespace=workflow.info().namespace,
        )

    async def _send(self, name: CommandName, argument: Any = None) -> LeaseReply:
        """Send a command and wait for the reply. Raises the error that the lease reports."""
        arguments = [] if argument is None else [argument]
        key = (self.ref.run_id, name)
        self._replies.pop(key, None)  # to a command of this name before
        try:
            await self._handle().signal(name, args=arguments)
        except ApplicationError as error:
            raise LeaseLost(
                f"sending {name!r} to the lease of cluster {str(self._request.cluster)!r}: it has ended. "
                "What it had changed is undone; start the operation again"
            ) from error
        # A cancel that comes while the signal is in flight is swallowed, and a lease that ends replies to nothing.
        await workflow.wait_condition(lambda: key in self._replies or self._ending)
        if key not in self._replies:
            self.check()
        reply = self._replies[key]
        if reply.error_type is not None:
            raise by_name(reply.error_type)(reply.message)
        return reply

    def check(self) -> None:
        """Between two steps: a cancel can be lost when the step it hit ends normally all the same."""
        if self._ending or workflow.cancellation_reason() is not None:
            raise asyncio.CancelledError("the operation is ending")

    def _handle(self) -> workflow.ExternalWorkflowHandle[Any]:
        # By id: after a reset of the operation the server refuses signals to a child.
        return workflow.get_external_workflow_handle(self.ref.workflow_id, run_id=self.ref.run_id)

    # --- releasing it

    async def _end(self, body: asyncio.Task[T], enter: Callable[[str, str], None]) -> None:
        assert self._lease is not None
        self._ending = True
        if not body.done():
            body.cancel()
            await workflow.wait([body])  # no runner works on the replica when it is resynced
            if not body.cancelled():
                body.exception()  # of a body that was told to stop: what ended the operation is the error that counts
        if not self._lease.done():
            try:
                await self._handle().signal("release", workflow.info().workflow_id)
            except ApplicationError as error:
                workflow.logger.info("the lease has ended by itself", extra={"error": first_sentence_of(error)})
                if not await self._is_reported():
                    await self._undo(enter)
                    return
        try:
            self.result = await self._lease
        except ChildWorkflowError as error:
            if isinstance(error.cause, ApplicationError):
                self.failure = by_name(error.cause.type or "")(error.cause.message)
                return
            workflow.logger.error("lease terminated, undoing from here", extra={"error": first_sentence_of(error)})
            await self._undo(enter)

    async def _undo(self, enter: Callable[[str, str], None]) -> None:
        """Undo without the lease what it would have undone; `failure` is that of a stake that cannot be undone."""
        ended = Ended()
        try:
            for stake in reversed(self._stakes):
                enter(stake.phase, f"the lease was terminated: {stake.undoing} from here")
                await stake.undo(ended)
        except GaleraBackupError as error:
            workflow.logger.error("not undone by the owner either", extra={"error": error.message})
            self.failure = error
            return
        finally:
            await _runner.remove_all(self._request.cluster, self.ref)
        reason = "it was terminated, and undone by its owner"
        self.result = LeaseResult(reason=reason, claims=ended.claims, untidy=ended.untidy)

    async def _is_reported(self) -> bool:
        """Whether the server tells this run of its lease's end.

        After a reset it never does when the lease had ended before (temporalio/temporal#10639).
        """
        assert self._lease is not None
        try:
            await workflow.wait_condition(self._lease.done, timeout=REPORT_LIMIT, timeout_summary="end of the lease")
        except TimeoutError:
            return False
        return True

    def _end_reply(self) -> LeaseReply | None:
        """The lease's word that it ends although nobody released it."""
        return self._replies.get((self.ref.run_id, "end"))

    def _end_of_lease(self) -> str:
        assert self._lease is not None
        reply = self._end_reply()
        if reply is not None:
            return reply.message
        error = self._lease.exception()
        return first_sentence_of(error.__cause__ or error) if error else self._lease.result().reason
