"""The stake of a backup: a replica that is out of the cluster's flow control and out of its Services."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow

from workflows.lease.persist import persist
from workflows.lease.stake import Acting, Ended, Undoer

with workflow.unsafe.imports_passed_through():
    from activities.galera import GaleraActivities
    from activities.kubernetes import KubernetesActivities
    from activities.runner import RunnerActivities
    from galera_backup import timing
    from galera_backup.models.activities import RemoveRunners, ReplicaTask, ResyncReport
    from galera_backup.models.lease import DesyncCommand
    from galera_backup.models.mark import Mark, PrimaryMove, ResyncRecipe
    from galera_backup.models.site import Site

OUT_OF_SERVICE_LIMIT = timedelta(minutes=2)
"""From Donor/Desynced to Not Ready and out of the endpoints, at least; readiness probes run every few seconds."""


def out_of_service_limit(unready_after: int | None) -> timedelta:
    """Twice what the pod's probe takes by itself: each of its runs may take some seconds, the endpoints some more."""
    return max(OUT_OF_SERVICE_LIMIT, 2 * timedelta(seconds=unready_after or 0))


class Desynced:
    """One replica, and what is known of how far it was taken out."""

    def __init__(
        self, site: Site, pod: str, mark: Mark, undoer: Undoer, drain_timeout: timedelta, *, on_may_land: bool
    ) -> None:
        self.pod = pod
        self.report: ResyncReport | None = None
        """Once it is undone."""
        self._undoer = undoer
        self._drain_timeout = drain_timeout
        self._since: datetime | None = None
        self._task = ReplicaTask(
            site=site,
            lease=mark.lease,
            pod=pod,
            mark=mark,
            only_if_marked=True,  # until the mark is known to be there: a desync before that is somebody else's
            on_may_land=on_may_land,
        )

    @property
    def phase(self) -> str:
        return "resync"

    @property
    def undoing(self) -> str:
        return f"resyncing {self.pod}"

    @property
    def moved(self) -> PrimaryMove | None:
        """How the primary label was moved."""
        return self._task.mark.moved

    @property
    def seconds(self) -> float:
        """How long it was desynced; 0: it never was."""
        return round((workflow.now() - self._since).total_seconds(), 3) if self._since else 0

    def is_known(self, moved: PrimaryMove | None) -> None:
        """The replica carries the mark, with this plan: what is found without a mark now was desynced by the lease."""
        mark = self._task.mark.model_copy(update={"undo": ResyncRecipe(moved=moved)})
        self._task = self._task.model_copy(update={"mark": mark, "only_if_marked": False})

    async def act(self, acting: Acting, command: DesyncCommand) -> None:
        """Mark it, move the primary label to a successor, desync it, and wait until it is out of service."""
        pod = self.pod
        acting.show(f"desyncing {pod}")
        await acting.remove_orphans()
        self._task = self._task.model_copy(update={"others_in_sync": command.others_in_sync})
        mark = await acting.step(GaleraActivities.mark_replica, self._task, f"mark {pod}")
        self.is_known(mark.moved)
        if mark.moved is not None:
            summary = f"primary label from {pod} to {mark.moved.successor}"
            await acting.step(KubernetesActivities.move_primary, self._task, summary)
        self._since = workflow.now()
        self._task = self._task.model_copy(update={"on_may_land": True})
        report = await acting.step(GaleraActivities.desync, self._task, f"wsrep_desync=ON on {pod}")
        self._task = self._task.model_copy(update={"on_may_land": report.attempt > 1})
        await acting.step(
            KubernetesActivities.wait_out_of_service,
            self._task,
            f"{pod} Not Ready and out of the endpoints",
            limit=out_of_service_limit(command.unready_after),
        )
        acting.show(f"{pod} is desynced")

    async def undo(self, ended: Ended) -> None:
        """Stop what reads the replica, resync it, put it back into the Services, remove the mark."""
        queue, pod = self._undoer.queue, self.pod
        task = self._task.model_copy(update={"drain_until": workflow.now() + self._drain_timeout})
        await persist(KubernetesActivities.revoke_replica, task, f"nothing more is done to {pod} but undo", queue)
        await persist(
            RunnerActivities.remove_runners,
            RemoveRunners(cluster=task.site.cluster, lease=task.lease),
            "no runner pod works on the replica",
            queue,
        )
        if task.on_may_land:
            await workflow.sleep(timing.DESYNC_WINDOW, summary="until no wsrep_desync=ON can come any more")
        report = await persist(GaleraActivities.resync, task, f"drain {pod}, wsrep_desync=OFF, wait for Synced", queue)
        await persist(KubernetesActivities.wait_in_service, task, f"{pod} Ready and in the endpoints", queue)
        if task.mark.moved is not None or task.only_if_marked:
            await persist(KubernetesActivities.move_primary_back, task, f"primary label back to {pod}", queue)
            await persist(KubernetesActivities.wait_in_service, task, f"{pod} in the primary's endpoints", queue)
        await persist(KubernetesActivities.unmark_replica, task, f"remove the lease's mark from {pod}", queue)
        self.report = report
