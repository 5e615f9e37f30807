"""The stake of every operation that replaces data: a cluster that is stopped, or started in part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from temporalio import workflow

from workflows import call
from workflows.lease import claims
from workflows.lease.persist import persist
from workflows.lease.stake import Acting, Ended, Undoer

with workflow.unsafe.imports_passed_through():
    from activities.galera import GaleraActivities
    from activities.holds import HoldActivities
    from activities.kubernetes import KubernetesActivities
    from activities.runner import RunnerActivities
    from galera_backup import names
    from galera_backup.errors import (
        ClusterLeftStopped,
        ClusterNotFormed,
        GaleraBackupError,
        ScaleFailed,
    )
    from galera_backup.models.activities import FormTask, HoldTask, RemoveRunners, Revoked, ScaleTask
    from galera_backup.models.lease import RenewCommand, StartCommand, StopCommand
    from galera_backup.models.mark import Mark, StartRecipe
    from galera_backup.models.restore import ClaimReport, ClaimState, Strategy
    from galera_backup.models.site import Site
    from galera_backup.rules.claims import (
        are_incomplete,
        are_restored,
        as_found,
        may_start,
        replicas_on,
        serving_in_part,
    )
    from galera_backup.rules.left import left, started_by_others, way_out
    from galera_backup.rules.stop import claims_lost
    from galera_backup.show import describe_claims


_CHANGED, _REJECTED = {"data_may_have_changed": True}, {"restored_failed": True}
"""What a recipe says of the data once it may have changed, and once nobody may start it on the restored data."""


class Stopped:
    """One cluster, how it is started again, and what is known of its data.

    `site`: as whom it is started; `mark`: that of the lease that stopped it.
    """

    def __init__(self, site: Site, recipe: StartRecipe, mark: Mark, undoer: Undoer) -> None:
        self.site = site
        self.recipe = recipe
        self.undoer = undoer
        self.known: tuple[ClaimReport, ...] | None = None
        """What the data claims hold; None: the operation works on them, so the volumes tell."""
        self.first_forms = False
        """Its first server may form the cluster: somebody has looked at its claims, or written them, since the stop."""
        self.started_on: tuple[ClaimReport, ...] = ()
        """The claims with which it was started."""
        self._mark = mark
        self._since: datetime | None = None
        self._failure: GaleraBackupError | None = None
        self._stopping_from = 0
        """Replicas that ran when a stop began which may not have taken all of them."""

    @property
    def phase(self) -> str:
        return "start"

    @property
    def undoing(self) -> str:
        return "starting the cluster"

    @property
    def mark(self) -> Mark:
        """The lease's mark, with the recipe as it is now."""
        return self._mark.model_copy(update={"undo": self.recipe})

    @property
    def seconds(self) -> float:
        """Since it was stopped; 0: it was not."""
        return round((workflow.now() - self._since).total_seconds(), 3) if self._since else 0

    # --- what the lease and its owner both hear of

    def begins_to_stop(self) -> None:
        """For the first time, or once more: its claims are as they were found, or as it was started."""
        if self.known is None:
            self.known = as_found(self.recipe)
        self.first_forms = False
        self._stopping_from = replicas_on(self.known, self.recipe)

    def is_stopped(self) -> None:
        """The operation works on the claims from here on, and may change data."""
        self.known, self._stopping_from = None, 0
        self.recipe = self.recipe.model_copy(update=_CHANGED)

    def is_renewed(self, command: RenewCommand) -> None:
        """From here on nobody starts it on restored data that failed."""
        if command.restored_failed:
            self.recipe = self.recipe.model_copy(update=_REJECTED)

    def begins_to_start(self, command: StartCommand) -> None:
        """The operation says what the claims hold; of the first alone that says little of the others."""
        if not command.first_alone:
            self.known = command.claims
        self.first_forms = self.recipe.strategy == Strategy.STAGED or are_restored(command.claims)

    def has_not_formed(self, command: StartCommand) -> None:
        """On these claims: once it is stopped again, nobody starts it on restored data that failed."""
        if are_restored(command.claims) and not command.first_alone:
            self.is_renewed(RenewCommand(restored_failed=True))

    # --- what the lease alone does

    async def act(self, acting: Acting, command: StopCommand) -> None:
        """Scale to 0 and wait until the pods are gone; each time with a mark that is later than the one before."""
        self._mark, self._since = acting.mark(), workflow.now()
        acting.show("scaling to 0")
        self.begins_to_stop()
        await acting.remove_orphans(late=ScaleFailed)
        recipe = self.recipe.model_copy(update={"stopping_from": self._stopping_from})
        task = self.scaling(0).model_copy(update={"mark": self._mark.model_copy(update={"undo": recipe})})
        await acting.step(KubernetesActivities.scale_down, task, "scale StatefulSet down by one", late=ScaleFailed)
        await acting.step(
            KubernetesActivities.wait_stopped, task, "all pods gone", limit=command.stop_timeout, late=ScaleFailed
        )
        hold = self.holding(self.names_of(self.recipe.ordinals))
        await acting.step(HoldActivities.hold_names, hold, "nobody can start a server", late=ScaleFailed)
        if not self.recipe.data_may_have_changed:
            await self._note(acting, _CHANGED)
        self.is_stopped()
        acting.show("cluster is stopped")

    async def renew(self, acting: Acting, command: RenewCommand) -> None:
        """Before data is renamed once more: somebody may have removed the mark; the restored data may have failed."""
        await self._note(acting, _REJECTED if command.restored_failed else {})
        self.is_renewed(command)

    async def _note(self, acting: Acting, news: Mapping[str, bool]) -> None:
        """In the mark, before the owner goes on. When that fails it changes nothing."""
        mark = self._mark.model_copy(update={"undo": self.recipe.model_copy(update=news)})
        task = self.scaling(0).model_copy(update={"mark": mark})
        summary = "the mark says what is known of the data"
        await acting.step(KubernetesActivities.renew_mark, task, summary, late=ScaleFailed)

    async def start(self, acting: Acting, command: StartCommand) -> None:
        """Start it so that it may be stopped once more, or its first replica alone: it stays a stake, and marked."""
        acting.show(self.undoing)
        self.begins_to_start(command)
        replicas = 1 if command.first_alone else replicas_on(command.claims, self.recipe)
        restored = are_restored(command.claims)
        if not self.first_forms:
            await claims.held(self, 0, None)
        released = self.holding(self._may_run(command.claims, replicas))
        await acting.step(HoldActivities.release_names, released, "servers may be started", late=ScaleFailed)
        summary = f"scale StatefulSet back to {replicas}"
        await acting.step(KubernetesActivities.scale_up, self.scaling(replicas), summary, late=ScaleFailed)
        form = self.forming(replicas, restored=restored, may_fail=restored, alone=command.first_alone, undoing=False)
        summary, limit = f"{replicas} replicas Ready and in one cluster", self.recipe.ready_timeout
        try:
            await acting.step(GaleraActivities.wait_formed, form, summary, limit=limit, late=ClusterNotFormed)
        except ClusterNotFormed:
            self.has_not_formed(command)
            raise
        self.started_on = command.claims
        if command.first_alone:
            acting.show("the first replica serves")

    # --- undoing

    async def undo(self, ended: Ended) -> None:
        """Start the cluster on data that fits together, and wait until it is whole; then it has no mark.

        Errors: `ClusterLeftStopped`, `ClusterLeftPartial`, `ClusterNotFormed`, `LeaseLost`, `ScaleFailed`.
        """
        if self._failure is not None:
            raise self._failure  # it is decided once
        try:
            self.started_on = ended.claims = await self._undo()
        except GaleraBackupError as error:
            ended.claims, self._failure = self.started_on, error
            raise

    async def _undo(self) -> tuple[ClaimReport, ...]:
        """The claims with which it was started; none when the lease did not stop it, or it was started already."""
        recipe, queue = self.recipe, self.undoer.queue
        found = await self.revoke()
        before = found.stopping_from or self._stopping_from
        if 0 < found.replicas < before:
            return await self._end_the_stop(found.replicas, before)
        serving = serving_in_part(recipe, found.replicas, found.held) if found.marked else 0
        if self.known is None and not serving and not found.held and (found.replicas or not found.marked):
            if found.marked and self.undoer.knows is not None:
                raise started_by_others(recipe, found.replicas)
            how = "was not stopped, or was started already"  # nobody looks into its volumes
            await self._wait_formed(found.replicas, how)
            return ()
        if not serving:
            await self.check_kept(found)
        await persist(
            RunnerActivities.remove_runners,
            RemoveRunners(cluster=self.site.cluster, lease=self._mark.lease),
            "no runner pod works on the volumes",
            queue,
        )
        held = await claims.held(self, serving, found)
        replicas = replicas_on(held.claims, recipe)
        if held.why or not may_start(held.claims) or are_incomplete(held.claims[:replicas]):
            raise left(recipe, held.claims, held.serving, held.why)
        await self.release(self._may_run(held.claims, replicas))
        if replicas:
            summary = f"scale StatefulSet back to {replicas}"
            await persist(KubernetesActivities.scale_up, self.scaling(replicas, undoing=True), summary, queue)
        restored = held.claims[0].state == ClaimState.RESTORED
        data = "restored" if restored else "its old"
        how = f"was scaled back to {replicas} on {data} data ({describe_claims(held.claims)})"
        await self._wait_formed(replicas, how, restored=restored)
        return held.claims

    async def check_kept(self, found: Revoked) -> None:
        """No server is started on a new, empty claim. Error: `ClusterLeftStopped`."""
        if found.lost:
            if found.marked:
                await self.hold(first=self.recipe.first_ordinal)
            raise ClusterLeftStopped(claims_lost(self.site.cluster, found.lost))

    async def _end_the_stop(self, replicas: int, before: int) -> tuple[ClaimReport, ...]:
        """Some replicas were stopped, and no claim was touched: the others give them what they miss."""
        task = self.scaling(before, undoing=True)
        await persist(KubernetesActivities.scale_up, task, f"scale StatefulSet back to {before}", self.undoer.queue)
        await self._wait_formed(before, f"was scaled back to {before} when {replicas} were left")
        return self.known or ()

    async def revoke(self) -> Revoked:
        """The lease itself does nothing more to it. One that is stopped and has lost its mark is marked again.

        Where a mark cannot be read this goes on when a person has removed it; not where nothing has to be started.
        """
        summary = "the StatefulSet is scaled back from here on"
        task = self.scaling(0, undoing=True)
        if self.known is not None and may_start(self.known) and not replicas_on(self.known, self.recipe):
            task = task.model_copy(update={"known_by": None})
        return await persist(KubernetesActivities.revoke_statefulset, task, summary, self.undoer.queue)

    async def _wait_formed(self, replicas: int, how: str, *, restored: bool | None = None) -> None:
        """Until all is as before; then remove the mark. `how`: why the cluster runs. Error: `ClusterNotFormed`.

        `restored`: on which data; None: nobody has looked.
        """
        if replicas:
            try:
                await call.wait(
                    GaleraActivities.wait_formed,
                    self.forming(replicas, restored=restored),
                    f"{replicas} replicas Ready and in one cluster",
                    limit=self.recipe.ready_timeout,
                    late=ClusterNotFormed,
                    queue=self.undoer.queue,
                )
            except GaleraBackupError as failure:
                raise ClusterNotFormed(
                    f"StatefulSet {str(self.site.cluster)!r} {how}, but: {failure.message}. Look at the logs of its "
                    f"pods{way_out(self.recipe, restored=restored, first_forms=self.first_forms)}"
                ) from failure
        unmark = self.scaling(replicas, undoing=True)
        await persist(KubernetesActivities.unmark_statefulset, unmark, "remove the lease's mark", self.undoer.queue)

    # --- the names of its replicas

    async def hold(self, *, first: int) -> None:
        """Once more, for who undoes: somebody has removed the pods that held the names from this ordinal on."""
        pods = self.names_of([ordinal for ordinal in self.recipe.ordinals if ordinal >= first])
        task = self.holding(pods, undoing=True)
        await persist(HoldActivities.hold_names, task, "nobody can start a server", self.undoer.queue)

    def _may_run(self, claims: Sequence[ClaimReport], replicas: int) -> tuple[str, ...] | None:
        """Names to release, to start so many replicas on these claims; None: all that are held."""
        some = len(claims) < len(self.recipe.claims) or are_incomplete(claims)
        return self.names_of(self.recipe.ordinals[:replicas]) if some else None

    async def release(self, pods: tuple[str, ...] | None) -> None:
        """Now that the claims fit together; None: all names that are held."""
        task = self.holding(pods, undoing=True)
        await persist(HoldActivities.release_names, task, "servers may be started", self.undoer.queue)

    def names_of(self, ordinals: Sequence[int]) -> tuple[str, ...]:
        return tuple(names.pod(self.site.cluster, ordinal) for ordinal in ordinals)

    def holding(self, pods: tuple[str, ...] | None, *, undoing: bool = False) -> HoldTask:
        return HoldTask(site=self.site, mark=self._mark, pods=pods, undoing=undoing)

    # --- tasks

    def scaling(self, replicas: int, *, undoing: bool = False) -> ScaleTask:
        """For every step on the StatefulSet; only scaling up looks at `replicas`."""
        return ScaleTask(
            site=self.site,
            mark=self.mark,
            replicas=replicas,
            known_by=self.undoer.knows,
            undoing=undoing,
        )

    def forming(
        self,
        replicas: int,
        *,
        restored: bool | None,
        may_fail: bool = False,
        alone: bool = False,
        undoing: bool = True,
    ) -> FormTask:
        """What to wait for once it is scaled back, on restored or on its old data; None: on one of them.

        The first replica gets the primary label when it is alone, and keeps it. `may_fail`: other data can be started
        instead.
        """
        first = names.pod(self.site.cluster, self.recipe.first_ordinal)
        was_alone = self.recipe.strategy == Strategy.ROLLING and self.recipe.data_may_have_changed
        by_itself = (replicas == 1 or was_alone) and self.recipe.primary_pod is not None
        return FormTask(
            site=self.site,
            lease=self._mark.lease,
            replicas=replicas,
            alone=alone,
            primary_pod=first if by_itself else self.recipe.primary_pod,
            first_role=self.recipe.first_role,
            uuids=self._uuids(restored),
            stop=self.holding(None, undoing=undoing).owner,
            may_fail=may_fail,
        )

    def _uuids(self, restored: bool | None) -> tuple[str, ...]:
        """Of the groups that it may be; empty: any, as one of them is not known."""
        of_restored, of_previous = self.recipe.uuid, self.recipe.previous_uuid
        wanted = (of_restored, of_previous) if restored is None else (of_restored if restored else of_previous,)
        return tuple(uuid for uuid in wanted if uuid is not None) if None not in wanted else ()
