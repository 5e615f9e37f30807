"""The runner pods that work on data volumes for a restore: they differ in what must hold before a pod starts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from temporalio import workflow

from workflows._runner import JobT

with workflow.unsafe.imports_passed_through():
    from galera_backup import names
    from galera_backup.models.activities import RunnerTask
    from galera_backup.models.common import LeaseRef, SecretRef
    from galera_backup.models.mark import StartRecipe
    from galera_backup.models.runner import DataJob
    from galera_backup.models.site import Site

Fence = Literal["none", "lease", "stopped", "undo"]


@dataclass(frozen=True)
class Pods:
    """Builds the tasks of the pods that work for one restore, under one lease."""

    site: Site
    lease: LeaseRef | None
    """None: they only read."""
    prefix: str
    recipe: StartRecipe | None = None
    """Of the operation: where the data is on each claim. None: for pods that need not know."""

    def beside(
        self,
        name: str,
        job: JobT,
        timeout: timedelta,
        *,
        claim: str,
        replica: str | None,
        accounts: tuple[SecretRef, ...] = (),
    ) -> RunnerTask[JobT]:
        """On the data volume of a replica that serves, on its node; `replica` None: it does not run."""
        fence: Fence = "lease" if self.lease else "none"
        return self._task(name, job, timeout, fence=fence, claim=claim, replica=replica, accounts=accounts)

    def on_backup_volume(
        self, name: str, job: JobT, timeout: timedelta, accounts: tuple[SecretRef, ...] = ()
    ) -> RunnerTask[JobT]:
        """Without a data volume."""
        return self._task(name, job, timeout, fence="lease", claim=None, accounts=accounts)

    def stopped(
        self, name: str, job: JobT, timeout: timedelta, *, claim: str, first: int = 0, begins: bool = False
    ) -> RunnerTask[JobT]:
        """On the data volume of a replica that this lease stopped; replicas below ordinal `first` may serve.

        `begins`: it is the first to change data.
        """
        task = self._task(name, job, timeout, fence="stopped", claim=claim, stopped_from=first)
        return task.model_copy(update={"begins": begins})

    def undoing(self, name: str, job: JobT, timeout: timedelta, *, claim: str, first: int = 0) -> RunnerTask[JobT]:
        """As `stopped`, when the lease may be closed and is being undone."""
        return self._task(name, job, timeout, fence="undo", claim=claim, stopped_from=first)

    def _task(
        self,
        name: str,
        job: JobT,
        timeout: timedelta,
        *,
        fence: Fence,
        claim: str | None,
        replica: str | None = None,
        stopped_from: int = 0,
        accounts: tuple[SecretRef, ...] = (),
    ) -> RunnerTask[JobT]:
        recipe = self.recipe
        if recipe is not None and claim is not None and isinstance(job, DataJob):
            job = job.model_copy(update={"layout": recipe.layout(claim)})
        return RunnerTask(
            site=self.site,
            lease=self.lease,
            fence=fence,
            stopped_from=stopped_from,
            pod=names.runner_pod(self.prefix, self.site.cluster, workflow.info().run_id, name),
            run=workflow.info().run_id,
            job=job,
            accounts=accounts,
            data_claim=claim,
            replica=replica,
            prefer_node=recipe.node(claim) if recipe is not None and claim is not None and replica is None else "",
            server_volumes=recipe.server_volumes if recipe is not None else (),
            timeout=timeout,
        )
