"""Workflows that stand in for the real ones; a test loads them into the sandbox with this module."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from temporalio import workflow

from galera_backup.errors import ClusterBusy, InternalError, InvalidInput, JanitorFailed
from galera_backup.models import preflight
from galera_backup.models.backup import BackupRequest, BackupResult
from galera_backup.models.catalog import Catalog, CatalogRequest
from galera_backup.models.check import CheckRequest, CheckResult
from galera_backup.models.common import ClusterRef, PhaseTime
from galera_backup.models.janitor import Finding, JanitorRequest, JanitorResult, Mended, Verdict
from galera_backup.models.lease import LeaseStatus
from galera_backup.models.manifest import GaleraPosition, LogSequenceNumbers, Manifest
from galera_backup.models.passwords import PasswordReport
from galera_backup.models.plan import Answer, Decision
from galera_backup.models.preflight import Effect, Severity
from galera_backup.models.progress import Progress
from galera_backup.models.proof import CheckSeen, Proof, TablesReport
from galera_backup.models.restore import (
    RestoreRequest,
    RestoreResult,
    RollbackRequest,
    RollbackResult,
    Strategy,
    TidyRequest,
)
from galera_backup.models.runner import RunnerLog

AT = datetime(2026, 11, 22, 1, tzinfo=UTC)
ID = "20261122T010000Z-full"
RESTORE_ID = "20261122t020000z"
MANY = [
    f"20{year}{month:02}{day:02}T010000Z-full"
    for year in range(19, 27)
    for month in range(1, 13)
    for day in range(1, 27)
]
"""Ids of more backups than a page holds."""


def manifest(cluster: ClusterRef) -> Manifest:
    return Manifest(
        stream="backup.mbs.zst",
        backup_id=ID,
        cluster=cluster,
        replica=f"{cluster.statefulset}-2",
        node="node-1",
        claim="data-2",
        claim_uid="uid",
        lease_run="run",
        position=GaleraPosition(uuid="6b2b4b9e-0000-11f0-8b1c-0242ac110002", seqno=42),
        lsn=LogSequenceNumbers(from_lsn=0, to_lsn=1, last_lsn=1),
        server_version="10.11.6",
        tool_version="10.11.6",
        data_bytes=3 * 2**30,
        stream_bytes=2**30,
        stored_bytes=2**29,
        sha256="0" * 64,
        started_at=AT,
        finished_at=AT + timedelta(seconds=90),
    )


LOG = RunnerLog(pod="runner", node="node-1", exit_code=0, tail="")


@workflow.defn(name="GaleraBackup")
class Backup:
    """Stands in for the real one; the namespace of the cluster says how it ends."""

    @workflow.init
    def __init__(self, request: BackupRequest) -> None:
        self._request, self._phase = request, "check"

    @workflow.query
    def progress(self) -> Progress:
        return Progress(
            operation="backup",
            cluster=self._request.cluster,
            phase=self._phase,
            waiting_for="a look at every replica",
            since=AT,
            finished=(PhaseTime(phase="lease", seconds=0.4),),
        )

    @workflow.run
    async def run(self, request: BackupRequest) -> BackupResult:
        match request.cluster.namespace:
            case "busy":
                raise ClusterBusy("held by 'galera-backup/other'")
            case "broken":
                raise InternalError("mariadb-backup fell over")
            case "slow":
                await workflow.sleep(2)
            case "endless":
                await workflow.wait_condition(lambda: False)
        return BackupResult(
            manifest=manifest(request.cluster),
            path="/var/backup/x",
            phases=(PhaseTime(phase="lease", seconds=0.4),),
            desynced_seconds=12,
            drained=True,
            pruned=(),
            kept=request.backups_to_keep,
            runner=LOG,
        )


@workflow.defn(name="GaleraRollback")
class Rollback:
    @workflow.run
    async def run(self, request: RollbackRequest) -> RollbackResult:
        return RollbackResult(restore_id=request.restore_id, replicas=3, phases=(), outage_seconds=12)


@workflow.defn(name="GaleraRestore")
class Restore:
    def __init__(self) -> None:
        self._approved_by: str | None = None

    @workflow.update
    async def approve(self, answer: Answer) -> None:
        self._approved_by = answer.who

    @workflow.update
    async def decide(self, decision: Decision) -> None:
        pass

    @decide.validator
    def _may_decide(self, decision: Decision) -> None:
        raise InvalidInput("nobody asks")

    @workflow.run
    async def run(self, request: RestoreRequest) -> RestoreResult:
        if request.cluster.namespace == "asks":
            await workflow.wait_condition(lambda: self._approved_by is not None)
        proof = Proof(
            checks=tuple(CheckSeen(query=each.query, seen=each.expected) for each in request.checks),
            tables=TablesReport(asked=request.check_tables, checked=7, seen=9, note="the time was over"),
            passwords=PasswordReport(same=1, reset=("'nova'@'%'",)),
        )
        return RestoreResult(
            restore_id=RESTORE_ID,
            manifest=manifest(request.cluster),
            claims=(),
            replicas=3,
            phases=(),
            outage_seconds=61,
            approved_by=self._approved_by,
            proof=proof,
        )


def page(request: CatalogRequest) -> Catalog:
    older = [each for each in MANY if request.before is None or each < request.before]
    ids, whole = older[-request.limit :], manifest(request.cluster)
    backups = tuple(whole.model_copy(update={"backup_id": each}) for each in ids)
    return Catalog(backups=backups, next=ids[0] if len(ids) < len(older) else None)


@workflow.defn(name="GaleraCatalog")
class ListBackups:
    @workflow.run
    async def run(self, request: CatalogRequest) -> Catalog:
        if request.cluster.namespace == "many":
            return page(request)
        return Catalog(backups=() if request.cluster.namespace == "empty" else (manifest(request.cluster),))


@workflow.defn(name="GaleraCheck")
class Check:
    @workflow.run
    async def run(self, request: CheckRequest) -> CheckResult:
        """`in place` would be refused, the other strategies warned."""
        effect = Effect.REFUSES if request.strategy == Strategy.IN_PLACE else Effect.WARNS
        found = preflight.Finding(
            kind="a-kind",
            severity=Severity(backup=Effect.NONE, restore=effect),
            about=f"strategy {request.strategy}",
            saw="expected another one",
            remedy="Choose another one",
        )
        return CheckResult(cluster=request.cluster, findings=(found,))


@workflow.defn(name="GaleraJanitor")
class Janitor:
    @workflow.run
    async def run(self, request: JanitorRequest) -> JanitorResult:
        if request.cluster.namespace == "broken":
            raise JanitorFailed("undoing the desync of 'db-2': expected it in sync")
        if request.cluster.namespace == "held":
            return JanitorResult(found=(), mended=(), left_alone=(), busy="galera-backup/held/db/now", looked_at=AT)
        found = Finding(kind="replica", name="db-2", verdict=Verdict.ABANDONED, text="desynced by 'w'")
        mended = Mended(name="db-2", text="resynced", desynced_seconds=90, drained=False)
        return JanitorResult(found=(found,), mended=(mended,), left_alone=("db-1: a donor",), looked_at=AT)


@workflow.defn(name="GaleraLease")
class Lease:
    def __init__(self) -> None:
        self._over = False

    @workflow.query
    def status(self) -> LeaseStatus:
        return LeaseStatus(
            cluster=ClusterRef(namespace="held", statefulset="db"),
            operation="backup",
            owner="galera-backup/held/db/now",
            phase="desynced",
            replica="db-2",
            reason=None,
            until=AT,
        )

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self._over)


@workflow.defn(name="GaleraTidy")
class Tidy:
    @workflow.run
    async def run(self, request: TidyRequest) -> None:
        await workflow.wait_condition(lambda: False)
