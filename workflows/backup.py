"""GaleraBackup: a full backup of one replica. The phases are those of docs/backup.md."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from temporalio import workflow

from workflows import _runner
from workflows._failures import operation
from workflows.observe import observe
from workflows.operation import Operation, Work
from workflows.preflight import preflight, refuse

with workflow.unsafe.imports_passed_through():
    from galera_backup import names, workflow_types
    from galera_backup.errors import (
        ClusterUnhealthy,
        GaleraBackupError,
        InternalError,
        InvalidInput,
        NotEnoughSpace,
        PruneFailed,
    )
    from galera_backup.models.activities import RunnerTask
    from galera_backup.models.backup import BackupFields, BackupRequest, BackupResult
    from galera_backup.models.cluster import ClusterObservation, MemberObservation
    from galera_backup.models.jobs import BackupJob, CheckJob, PruneJob
    from galera_backup.models.lease import DesyncCommand, LeaseReply
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.preflight import in_spite_of, warnings
    from galera_backup.models.reports import CheckReport, PruneReport
    from galera_backup.rules.health import OTHERS_IN_SYNC, health_problems, is_backed_up_in_service
    from galera_backup.rules.pace import held_too_long, in_service, reading_takes, too_slow
    from galera_backup.rules.preflight.volumes import volume
    from galera_backup.rules.selection import primary_pod, select_replica, serves_alone
    from galera_backup.rules.space import lacking_backup_space
    from galera_backup.show import members_table
    from galera_backup.storage import layout

MARGIN = timedelta(hours=1)
"""What look, desync, resync and prune, and the start of pods, may take beside the runner and the drain, before the
lease ends by itself."""
PRUNE_LIMIT = timedelta(minutes=15)
LOOK_LIMIT = timedelta(minutes=15)


@workflow.defn(name=workflow_types.BACKUP.name)
class GaleraBackup(Operation):
    """Takes one replica out of flow control, copies it, and resyncs it, whatever happens."""

    @workflow.run
    @operation
    async def run(self, request: BackupRequest) -> BackupResult:
        """One backup, from the lease to the end of the lease."""
        work = self._begin(request, workflow_types.BACKUP)
        steps = _Steps(request, work)
        ttl = request.runner_timeout + request.drain_timeout + MARGIN
        with work.progress.shows_end():
            result = await work.under_lease(ttl, steps.run)
        return result.model_copy(update={"phases": work.progress.end("done")})


class _Steps:
    """The phases under the lease."""

    def __init__(self, request: BackupRequest, work: Work) -> None:
        self._request = request
        self._work = work
        self._others_in_sync = 0 if request.allow_unsafe else OTHERS_IN_SYNC
        self._in_service = False
        """The replica goes on serving: there are too few to do without it, or no other one serves."""
        self._unready_after: Mapping[str, int | None] = {}
        self._problems: tuple[str, ...] = ()
        """In spite of which the backup goes on, because the request says so."""
        self._warnings: tuple[str, ...] = ()

    async def run(self) -> BackupResult:
        """Check, select, desync, run, resync, prune."""
        seen = await self._check()
        target = self._select(seen)
        await self._look(seen, target)
        if self._in_service:
            ran = await self._run(seen, target)
            resynced = None
        else:
            await self._desync(target)
            ran = await self._run(seen, target)
            resynced = await self._resync(target)
        manifest = ran.report
        pruned = await self._prune(manifest)
        return BackupResult(
            manifest=manifest,
            path=f"{self._request.backup_root}/{layout.backup(manifest.cluster, manifest.backup_id)}",
            phases=(),
            desynced_seconds=resynced.seconds if resynced is not None else 0,
            drained=resynced is None or resynced.drained,
            pruned=pruned.pruned,
            kept=pruned.kept,
            future=pruned.future,
            runner=ran.log,
            problems=manifest.problems,
            warnings=self._warnings,
        )

    async def _check(self) -> ClusterObservation:
        self._work.enter("check", "asking every pod for its Kubernetes and wsrep status")
        request = self._request
        before = await preflight(request, "backup", self._work.progress)
        self._unready_after = before.unready_after
        seen = before.placed(await observe(request, "Kubernetes and wsrep status of every pod"))
        self._work.progress.note(members_table(seen))
        if is_backed_up_in_service(seen):
            self._stay_in_service()
        problems = health_problems(seen)
        if problems and not request.allow_unsafe:
            raise ClusterUnhealthy(
                f"cluster {str(request.cluster)!r} is not fit for a backup: {'; '.join(problems)}. Nothing was "
                f"changed; mend the cluster and start the backup again\n{members_table(seen)}"
            )
        if problems:
            workflow.logger.warning("unsafe backup", extra={"problems": problems})
        self._problems = (*problems, *in_spite_of(before.found, "backup", request.accept))
        return seen

    def _stay_in_service(self) -> None:
        self._in_service, self._others_in_sync = True, 0

    def _select(self, seen: ClusterObservation) -> MemberObservation:
        self._work.enter("select", "choosing the replica to back up")
        ordinal = self._request.replica
        avoided = primary_pod(seen, self._request.primary_label) if self._in_service else None
        target = select_replica(seen, ordinal, avoided)
        if target is None:
            which = "any replica" if ordinal is None else repr(names.pod(seen.cluster, ordinal))
            raise ClusterUnhealthy(
                f"selecting the replica to back up: expected {which} to be Ready and in sync, none is\n"
                f"{members_table(seen)}"
            )
        if serves_alone(seen, target.pod):
            self._stay_in_service()
        self._work.progress.replica(target.pod)
        return target

    async def _look(self, seen: ClusterObservation, target: MemberObservation) -> None:
        """Phase look: what the backup would lack, and the room for it, while the replica still serves."""
        request, claim = self._request, seen.claim(target.ordinal)
        self._work.enter("look", f"looking at {claim.claim} and at the room on {request.backup_claim}")
        task: RunnerTask[CheckJob] = RunnerTask(
            site=request.site,
            lease=self._work.lease.ref,
            fence="lease",
            pod=self._pod("look"),
            run=workflow.info().run_id,
            job=CheckJob(cluster=request.cluster, layout=claim.layout, before_backup=True),
            data_claim=claim.claim,
            server_volumes=seen.server_volumes,
            replica=target.pod,
            tls=target.pod in seen.tls,
            timeout=LOOK_LIMIT,
        )
        report = (await _runner.run(task, f"pod {task.pod}: what is on {claim.claim}")).report
        found = list(volume(claim, report))
        refuse(found, "backup", request)
        self._problems += in_spite_of(found, "backup", request.accept)
        self._warnings = warnings((*seen.findings, *found), "backup", request.accept)
        lacking = lacking_backup_space(report, request.required_space_ratio, request.backup_claim)
        if lacking is not None:
            raise NotEnoughSpace(
                f"backup of {target.pod!r}: {lacking}. Nothing was changed; enlarge the backup claim, keep fewer "
                "backups, or lower the ratio"
            )
        self._forecast(report, target)

    def _forecast(self, report: CheckReport, target: MemberObservation) -> None:
        """How long it will take, and what clients will see. Error: `InvalidInput`, when it cannot end in time."""
        request, progress, rate = self._request, self._work.progress, self._request.max_mb_per_second
        if self._in_service:
            told = in_service(report, rate, self._unready_after.get(target.pod))
            progress.fact("in service", f"{target.pod} goes on serving while it is read; {told}")
        limit, field = request.lock_wait_timeout, "lock_wait_timeout"
        if self._in_service and request.write_wait_timeout < limit:
            limit, field = request.write_wait_timeout, "write_wait_timeout"
        held = held_too_long(report, rate, limit, field)
        if held is not None:
            progress.fact("large tables", held)
            workflow.logger.warning("the backup may be given up", extra={"reason": held})
        slow = too_slow(report, rate, request.runner_timeout)
        if slow is not None:
            raise InvalidInput(f"{slow}. Nothing was changed; raise one of them")
        takes = reading_takes(report, rate)
        progress.fact("reading the data", f"at least about {takes}; limit {request.runner_timeout}")

    async def _desync(self, target: MemberObservation) -> None:
        self._work.enter("desync", f"taking {target.pod} out of flow control and out of the endpoints")
        command = DesyncCommand(
            pod=target.pod,
            drain_timeout=self._request.drain_timeout,
            others_in_sync=self._others_in_sync,
            unready_after=self._unready_after.get(target.pod),
        )
        await self._work.lease.desync(command)

    async def _run(self, seen: ClusterObservation, target: MemberObservation) -> _runner.Ran[Manifest]:
        request, now = self._request, workflow.now()
        backup_id = names.backup_id(now)
        self._work.enter("run", f"mariadb-backup of {target.pod} on node {target.node}")
        self._work.progress.backup(backup_id)
        claim = seen.claim(target.ordinal)
        job = BackupJob(
            cluster=request.cluster,
            backup_id=backup_id,
            replica=target.pod,
            node=target.node,
            claim=claim.claim,
            claim_uid=claim.uid,
            layout=claim.layout,
            lease_run=self._work.lease.ref.run_id,
            in_service=self._in_service,
            unsafe=bool(self._problems),
            problems=self._problems,
            **{name: getattr(request, name) for name in BackupFields.model_fields},
        )
        pod = self._pod("backup")
        task: RunnerTask[BackupJob] = RunnerTask(
            site=request.site,
            lease=self._work.lease.ref,
            fence="lease" if self._in_service else "desynced",
            pod=pod,
            run=workflow.info().run_id,
            job=job,
            data_claim=claim.claim,
            server_volumes=seen.server_volumes,
            tls=target.pod in seen.tls,
            replica=target.pod,
            timeout=request.runner_timeout,
            others_in_sync=self._others_in_sync,
            give_back_when_degraded=request.give_back_when_degraded,
            lock_wait=request.lock_wait_timeout,
            write_wait=request.write_wait_timeout if self._in_service else None,
        )
        ran = await _runner.run(task, f"pod {pod}: mariadb-backup of {target.pod}")
        if (ran.report.cluster, ran.report.backup_id) != (request.cluster, backup_id):
            raise InternalError(
                f"pod {pod} answered with the manifest of {ran.report.backup_id!r} of {ran.report.cluster}, expected "
                f"{backup_id!r} of {request.cluster}"
            )
        self._work.progress.fact("data", f"{ran.report.data_bytes:,} bytes")
        self._work.progress.fact("stored", f"{ran.report.stored_bytes:,} bytes")
        return ran

    def _pod(self, part: str) -> str:
        return names.runner_pod(names.BACKUP_RUNNER_PREFIX, self._request.cluster, workflow.info().run_id, part)

    async def _resync(self, target: MemberObservation) -> LeaseReply:
        self._work.enter(
            "resync", f"draining {target.pod}, wsrep_desync=OFF, until it is Synced, Ready and in the endpoints"
        )
        return await self._work.lease.resync()

    async def _prune(self, manifest: Manifest) -> PruneReport:
        request = self._request
        self._work.enter("prune", f"keeping {request.backups_to_keep} backups")
        pod = self._pod("prune")
        task: RunnerTask[PruneJob] = RunnerTask(
            site=request.site,
            lease=self._work.lease.ref,
            fence="lease",
            pod=pod,
            run=workflow.info().run_id,
            job=PruneJob(cluster=request.cluster, keep=request.backups_to_keep, own=manifest.backup_id),
            data_claim=None,
            replica=manifest.replica,
            timeout=PRUNE_LIMIT,
        )
        try:
            report = (await _runner.run(task, f"pod {pod}: keep {request.backups_to_keep} backups")).report
        except GaleraBackupError as why:
            raise PruneFailed(
                f"backup {manifest.backup_id!r} is complete and counts, but old backups could not be removed: "
                f"{why.message}"
            ) from why
        if report.future:
            told = f"{', '.join(report.future)}; retention leaves them alone"
            self._work.progress.fact("names from the future", told)
        return report
