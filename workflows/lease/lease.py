"""GaleraLease: the lock of a cluster, and the owner of everything that must be undone on it.

One fixed workflow id for each cluster, so at most one is open. It alone desyncs and resyncs a replica, and stops and
starts the cluster; its owner, the operation, asks by signals. It ends when the owner releases it, when it is
cancelled, when the owner is closed in whatever way (the server then cancels it), or when its time to live is over, and
in each case only after its stakes are undone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Literal

from temporalio import workflow

from workflows import _runner
from workflows._uncancellable import uncancellable
from workflows.lease.copies import Copies
from workflows.lease.desynced import Desynced
from workflows.lease.stake import Acting, Ended, Stake, Undoer
from workflows.lease.stopped import Stopped

with workflow.unsafe.imports_passed_through():
    from galera_backup import timing, workflow_types
    from galera_backup.errors import GaleraBackupError, InternalError
    from galera_backup.models.lease import (
        CleanUpCommand,
        CommandName,
        DesyncCommand,
        LeaseReply,
        LeaseRequest,
        LeaseResult,
        LeaseStatus,
        RenewCommand,
        StartCommand,
        StopCommand,
    )
    from galera_backup.temporal.attributes import CLUSTER, PHASE, REPLICA
    from galera_backup.text import first_sentence_of


Values = dict[str, Any]
"""What a reply says beside that the command is carried out."""


@workflow.defn(name=workflow_types.LEASE.name)
class GaleraLease:
    """Keeps no failure from the owner, and never gives up undoing."""

    @workflow.init
    def __init__(self, request: LeaseRequest) -> None:
        self._request = request
        self._until = workflow.now() + request.ttl
        self._reason: str | None = None
        """Why the lease ends; None: it is held."""
        self._released = False
        self._commands: deque[Callable[[], Awaitable[None]]] = deque()
        self._at_work: asyncio.Task[None] | None = None
        self._phase = "held"
        self._acting = Acting(request, self._until, lambda: self._reason, self._show)
        self._stakes: list[Stake] = []
        """In the list before their first effect, because a failed activity may have had it."""
        self._ended = Ended()

    @workflow.run
    async def run(self, request: LeaseRequest) -> LeaseResult:
        """Hold, then undo. Fails only when the cluster had to be left stopped or did not form again."""
        workflow.upsert_search_attributes([CLUSTER.value_set(str(request.site.cluster))])
        self._show("held")
        reason = await self._hold()
        failure = await uncancellable(self._end())
        self._show("closed")
        if failure is not None:
            raise failure
        ended = self._ended
        return LeaseResult(reason=reason, claims=ended.claims, untidy=ended.untidy, kept_until=ended.kept_until)

    # --- the commands of the owner; a signal handler must not raise, it would fail the lease

    @workflow.signal
    def desync(self, command: DesyncCommand) -> None:
        """Take a replica out of flow control and out of the Services."""
        self._enqueue("desync", lambda: self._desync(command))

    @workflow.signal
    def resync(self) -> None:
        """Undo that, and go on holding the cluster."""
        self._enqueue("resync", self._resync)

    @workflow.signal
    def clean_up(self, command: CleanUpCommand) -> None:
        """Remove what earlier restores staged or unpacked, and at the end of the lease what this one will."""
        self._enqueue("clean_up", lambda: self._clean_up(command))

    @workflow.signal
    def stop(self, command: StopCommand) -> None:
        """Scale the StatefulSet to 0, and note that the owner may change data."""
        self._enqueue("stop", lambda: self._stop(command))

    @workflow.signal
    def renew(self, command: RenewCommand) -> None:
        """Write the mark again: the owner goes on to rename data."""
        self._enqueue("renew", lambda: self._renew(command))

    @workflow.signal
    def start(self, command: StartCommand) -> None:
        """Scale the StatefulSet back."""
        self._enqueue("start", lambda: self._start(command))

    @workflow.signal
    def release(self, owner: str) -> None:
        """The operation is over. From anybody but the owner it means nothing."""
        if owner == self._request.owner:
            self._released = True
            self._reason = self._reason or "released by its owner"

    @workflow.query
    def status(self) -> LeaseStatus:
        """Who holds the cluster, for what, and until when."""
        request, desynced = self._request, self._desynced()
        return LeaseStatus(
            cluster=request.site.cluster,
            operation=request.operation,
            owner=request.owner,
            phase=self._phase,
            replica=desynced[-1].pod if desynced else None,
            reason=self._reason,
            until=self._until,
        )

    # --- what the commands do with the stakes

    async def _desync(self, command: DesyncCommand) -> Values:
        workflow.upsert_search_attributes([REPLICA.value_set(command.pod)])
        site, mark = self._request.site, self._acting.mark()
        stake = Desynced(site, command.pod, mark, Undoer.lease_itself(), command.drain_timeout, on_may_land=False)
        self._stakes.append(stake)
        await stake.act(self._acting, command)
        return {"moved": stake.moved}

    async def _resync(self) -> Values:
        values: Values = {}
        for stake in reversed(self._desynced()):
            self._show(stake.undoing)
            await stake.undo(self._ended)
            self._stakes.remove(stake)
            values = {"seconds": stake.seconds, "drained": stake.report is None or stake.report.drained}
            self._show(f"{stake.pod} is in sync")
        return values

    def _desynced(self) -> list[Desynced]:
        return [stake for stake in self._stakes if isinstance(stake, Desynced)]

    async def _clean_up(self, command: CleanUpCommand) -> Values:
        stake = Copies.of(self._acting, command)
        await stake.act(self._acting)
        self._stakes.append(stake)  # only now: the owner makes no copy before the reply
        return {}

    async def _stop(self, command: StopCommand) -> Values:
        stake = self._stopped()
        if stake is None:
            stake = Stopped(self._request.site, command.recipe, self._acting.mark(), Undoer.lease_itself())
            self._stakes.append(stake)
        await stake.act(self._acting, command)
        return {}

    async def _renew(self, command: RenewCommand) -> Values:
        stake = self._stopped()
        if stake is None:
            raise InternalError("renew: expected a cluster that this lease has stopped")
        await stake.renew(self._acting, command)
        return {}

    async def _start(self, command: StartCommand) -> Values:
        stake = self._stopped()
        if stake is None:
            return {}
        if command.first_alone or command.may_stop_again:
            await stake.start(self._acting, command)
            return {"seconds": stake.seconds}
        self._show(stake.undoing)
        stake.begins_to_start(command)
        await stake.undo(self._ended)
        self._stakes.remove(stake)
        return {"seconds": stake.seconds}

    def _stopped(self) -> Stopped | None:
        return next((stake for stake in self._stakes if isinstance(stake, Stopped)), None)

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
                if self._commands and self._at_work is None and self._reason is None:
                    # A task of its own: a cancel ends the holding, not the command that is being carried out.
                    self._at_work = asyncio.ensure_future(self._commands.popleft()())
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
        return bool(self._commands)

    async def _end(self) -> GaleraBackupError | None:
        """Undo what is not undone yet; after the command at work, so that its effect cannot come later.

        Returns why a stake cannot be undone. Those before it are then not undone either: they may rest on it, as the
        copies of the data do, which may be needed to start the cluster.
        """
        workflow.logger.info("lease ends", extra={"reason": self._reason})
        if self._at_work is not None:
            await self._at_work
        await self._stop_owner()
        failure = None
        while self._stakes and failure is None:
            stake = self._stakes[-1]
            self._show(stake.undoing)
            try:
                await stake.undo(self._ended)
                self._stakes.remove(stake)
            except GaleraBackupError as error:
                failure = error
        await _runner.remove_all(self._request.site.cluster, self._acting.ref)
        return failure

    async def _stop_owner(self) -> None:
        """Let the owner end its work before that is undone: then it releases the lease.

        An owner that is closed, or does not react, is not waited for.
        """
        if self._released:
            return
        owner = workflow.get_external_workflow_handle(self._request.owner)
        try:
            await owner.signal("lease_reply", self._reply("end", message=self._reason))
            await workflow.wait_condition(
                lambda: self._released, timeout=timing.OWNER_LIMIT, timeout_summary="the owner ends its work"
            )
        except Exception as error:
            workflow.logger.warning("owner not waited for", extra={"error": first_sentence_of(error)})

    # --- commands and replies

    def _enqueue(self, name: CommandName, work: Callable[[], Awaitable[Values]]) -> None:
        self._commands.append(lambda: self._carry_out(name, work))

    async def _carry_out(self, name: CommandName, work: Callable[[], Awaitable[Values]]) -> None:
        try:
            reply = self._reply(name, **await work())
        except GaleraBackupError as error:
            reply = self._reply(name, error_type=error.type, message=error.message)
        owner = workflow.get_external_workflow_handle(self._request.owner)  # by id: it may have been reset
        try:
            await owner.signal("lease_reply", reply)
        except Exception as error:  # it is closed: its end cancels this lease
            workflow.logger.warning("owner not reachable", extra={"error": first_sentence_of(error)})

    def _reply(self, name: CommandName | Literal["end"], **values: Any) -> LeaseReply:
        return LeaseReply.model_validate({"lease_run": self._acting.ref.run_id, "command": name, **values})

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
