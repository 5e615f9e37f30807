"""GaleraCatalog: which complete backups a cluster has."""

from __future__ import annotations

from temporalio import workflow

from workflows import _runner
from workflows._failures import operation

with workflow.unsafe.imports_passed_through():
    from galera_backup import names, workflow_types
    from galera_backup.models.activities import RunnerTask
    from galera_backup.models.catalog import Catalog, CatalogRequest
    from galera_backup.models.jobs import ListJob
    from galera_backup.temporal.attributes import CLUSTER

LIST_RUNNER_PREFIX = "mariadb-phy-backup-list"


@workflow.defn(name=workflow_types.CATALOG.name)
class GaleraCatalog:
    """Reads the manifests on the backup volume."""

    @workflow.run
    @operation
    async def run(self, request: CatalogRequest) -> Catalog:
        """The newest backups before `before`, at most `limit`, oldest first."""
        workflow.upsert_search_attributes([CLUSTER.value_set(str(request.cluster))])
        run = workflow.info().run_id
        pod = names.runner_pod(LIST_RUNNER_PREFIX, request.cluster, run, "list")
        task: RunnerTask[ListJob] = RunnerTask(
            site=request.site,
            lease=None,
            fence="none",
            pod=pod,
            run=run,
            job=ListJob(cluster=request.source or request.cluster, before=request.before, limit=request.limit),
            data_claim=None,
            timeout=request.timeout,
        )
        ran = await _runner.run(task, f"pod {pod}: list the backups")
        return Catalog(backups=ran.listed, next=ran.report.next)
