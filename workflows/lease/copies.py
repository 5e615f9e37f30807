"""The stake of a restore that copies the data: staged on the data volumes, or unpacked on the backup volume."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import WorkflowAlreadyStartedError

from workflows import _runner
from workflows.lease.stake import Acting, Ended
from workflows.pods import Pods

with workflow.unsafe.imports_passed_through():
    from galera_backup import names, workflow_types
    from galera_backup.errors import GaleraBackupError, RestoreFailed
    from galera_backup.models.activities import RunnerTask
    from galera_backup.models.common import LeaseRef
    from galera_backup.models.jobs import DiscardJob, TidyJob
    from galera_backup.models.lease import CleanUpCommand
    from galera_backup.models.restore import Strategy, TidyRequest
    from galera_backup.models.runner import AnyJob
    from galera_backup.models.site import Site
    from galera_backup.rules.claims import are_restored

TIDY_LIMIT = timedelta(hours=1)
"""For removing the files of one data directory."""
LONGEST_WAIT = timedelta(days=7)
"""For the cluster, before what a restore has kept is removed."""


class Copies:
    """The copies that restores of one strategy have made; pods remove them under the lease `by`, which must be open.

    `keeps`: the previous data stays when the cluster is started on restored data. `was_restored`: it runs on restored
    data where nobody has started it.
    """

    def __init__(self, site: Site, command: CleanUpCommand, by: LeaseRef, *, keeps: bool, was_restored: bool) -> None:
        self._site = site
        self._command = command
        self._by = by
        self._pods = Pods(site, by, command.runner_pod_prefix)
        self._keeps = keeps
        self._was_restored = was_restored

    @property
    def phase(self) -> str:
        return "tidy"

    @property
    def undoing(self) -> str:
        return "removing copies of the data"

    @staticmethod
    def of(acting: Acting, command: CleanUpCommand) -> Copies:
        """Those of the lease's owner."""
        keeps = bool(command.keep_previous_for) or command.is_rollback
        return Copies(acting.site, command, acting.ref, keeps=keeps, was_restored=command.is_rollback)

    async def act(self, acting: Acting) -> None:
        """Remove what earlier restores left, so that there is room for this one's. Error: `RestoreFailed`."""
        acting.show("removing what earlier restores left")
        await acting.remove_orphans(late=RestoreFailed)
        untidy = await self._remove(keep=self._command.restore_id)
        if untidy:
            raise RestoreFailed(
                f"removing what earlier restores left on {', '.join(untidy)}: expected it to be gone. Look at the "
                "failures of the lease's activities. The cluster was not touched; start the restore again"
            )
        acting.show("held")

    async def undo(self, ended: Ended) -> None:
        """Remove what this restore left, but what is to be kept. It never fails: nothing depends on it but room."""
        await _runner.remove_all(self._site.cluster, self._by)  # a pod that still makes a copy
        restored = are_restored(ended.claims) if ended.claims else self._was_restored
        keep = self._command.restore_id if self._keeps and restored else None
        ended.untidy = await self._remove(keep)
        if keep is not None and self._command.keep_previous_for:
            ended.kept_until = workflow.now() + self._command.keep_previous_for
            await self._remove_later(ended)

    async def _remove(self, keep: str | None) -> tuple[str, ...]:
        """All but what this restore left; returns the claims on which that failed."""
        cluster, command = self._site.cluster, self._command
        if command.strategy == Strategy.ROLLING:
            claim = self._site.backup_claim
            task = self._pods.on_backup_volume("discard", DiscardJob(cluster=cluster, keep=keep), TIDY_LIMIT)
            return () if await _is_removed(task, claim) else (claim,)
        claims = [(command.first_ordinal + number, claim) for number, claim in enumerate(command.claims)]
        done = await asyncio.gather(*[self._remove_on(ordinal, claim, keep) for ordinal, claim in claims])
        return tuple(claim for (_, claim), removed in zip(claims, done, strict=True) if not removed)

    async def _remove_on(self, ordinal: int, claim: str, keep: str | None) -> bool:
        job, replica = TidyJob(cluster=self._site.cluster, keep=keep), names.pod(self._site.cluster, ordinal)
        return await _is_removed(
            self._pods.beside(f"tidy-{ordinal}", job, TIDY_LIMIT, claim=claim, replica=replica), claim
        )

    async def _remove_later(self, ended: Ended) -> None:
        """A workflow that outlives lease and restore removes what is kept, when its time is over."""
        site, restore_id = self._site, self._command.restore_id
        assert ended.kept_until is not None
        task = TidyRequest(
            **dict(site),
            wait_for_cluster=LONGEST_WAIT,
            runner_pod_prefix=self._command.runner_pod_prefix,
            restore_id=restore_id,
            until=ended.kept_until,
        )
        with contextlib.suppress(WorkflowAlreadyStartedError):  # by a lease of this restore that was reset
            await workflow.start_child_workflow(
                workflow_types.TIDY.name,
                task,
                id=names.tidy_id(site.cluster, restore_id),
                task_queue=names.operation_queue(workflow.info().task_queue),
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                static_summary=f"data of {site.cluster} before restore {restore_id}: removed when it is time",
            )


async def _is_removed(task: RunnerTask[AnyJob], claim: str) -> bool:
    try:
        await _runner.run(task, f"no copies of the data on {claim}")
    except GaleraBackupError as error:
        workflow.logger.error("copies of the data may be left", extra={"claim": claim, "error": str(error)})
        return False
    return True
