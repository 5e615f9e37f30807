"""The command line against a real Temporal server, with stand-ins for the workflows."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from galera_backup import names
from galera_backup.errors import ClusterBusy, InternalError, InvalidInput, JanitorFailed
from galera_backup.models.backup import BackupRequest, BackupResult
from galera_backup.models.catalog import Catalog, CatalogRequest
from galera_backup.models.clone import Clone
from galera_backup.models.common import ClusterRef, PhaseTime, PrimaryLabel, SecretRef
from galera_backup.models.janitor import Finding, JanitorRequest, JanitorResult, Mended, Verdict
from galera_backup.models.jobs import RunnerLog
from galera_backup.models.lease import LeaseStatus
from galera_backup.models.manifest import GaleraPosition, LogSequenceNumbers, Manifest
from galera_backup.models.passwords import PasswordReport
from galera_backup.models.plan import Answer, Decision
from galera_backup.models.progress import Progress
from galera_backup.models.proof import CheckSeen, CheckTables, Proof, SqlCheck, TablesReport
from galera_backup.models.restore import RestoreRequest, RestoreResult, RollbackRequest, RollbackResult, Strategy
from galera_backup.temporal.attributes import CLUSTER
from tests.support.eventually import assert_eventually

with workflow.unsafe.imports_passed_through():  # the stand-ins are loaded in the sandbox with this module
    from rich.console import Console

    from starters import cli
    from starters import janitor as janitor_command
    from starters import list as list_command
    from starters import restore as restore_command
    from starters._options import BackupOptions, LabelMover, PlaceOptions
    from starters._proof import ProofOptions
    from starters._request import request
    from starters._restore_options import RestoreOptions

AT = datetime(2026, 11, 22, 1, tzinfo=UTC)
ID = "20261122T010000Z-full"
RESTORE_ID = "20261122t020000z"
MANY = [
    f"20{year}{month:02}{day:02}T010000Z-full"
    for year in range(19, 27)
    for month in range(1, 13)
    for day in range(1, 27)
]


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


@workflow.defn(name="GaleraJanitor")
class Janitor:
    @workflow.run
    async def run(self, request: JanitorRequest) -> JanitorResult:
        if request.cluster.namespace == "broken":
            raise JanitorFailed("bringing 'db-2' back: expected it in sync")
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


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def queue(temporal_env: WorkflowEnvironment) -> AsyncIterator[str]:
    name = f"starters-{uuid.uuid4()}"
    async with Worker(
        temporal_env.client, task_queue=name, workflows=[Backup, Restore, Rollback, ListBackups, Janitor, Lease]
    ):
        yield name


class Cli:
    """Runs commands as the console script does, in a thread of this process."""

    def __init__(self, environment: WorkflowEnvironment, queue: str, capture: pytest.CaptureFixture[str]) -> None:
        self.address = environment.client.service_client.config.target_host
        self.queue, self._capture = queue, capture
        self.err = ""

    async def __call__(self, *arguments: str, queue: str | None = None) -> tuple[int, str]:
        """Exit code and stdout; stderr is in `err`."""
        self._capture.readouterr()
        where = ["--temporal-address", self.address, "--task-queue", queue or self.queue]
        code = await asyncio.to_thread(cli.run, [*arguments, *where])
        captured = self._capture.readouterr()
        self.err = captured.err
        return code, captured.out

    async def hear(self, text: str) -> str:
        """Stderr of a command that is still running, up to and including `text`."""
        heard = ""
        async with asyncio.timeout(20):
            while text not in heard:
                heard += self._capture.readouterr().err
                await asyncio.sleep(0.1)
        return heard

    async def json(self, *arguments: str, queue: str | None = None) -> tuple[int, Any]:
        code, out = await self(*arguments, "--json", queue=queue)
        return code, json.loads(out)


@pytest.fixture
def run(temporal_env: WorkflowEnvironment, queue: str, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(temporal_env, queue, capsys)


# --- backup


async def test_backup_waits_and_prints_the_result(run: Cli) -> None:
    code, out = await run("backup", "slow/db")
    assert code == 0
    assert ID in out
    assert "512.0 MiB of 3.0 GiB data" in out
    assert "started galera-backup/slow/db/" in run.err
    assert "http://localhost:8233/namespaces/default/workflows/galera-backup%2Fslow%2Fdb%2F" in run.err
    assert "lease done in 0.4s" in run.err
    assert "check: a look at every replica" in run.err


async def test_backup_as_json_is_the_result_alone(run: Cli) -> None:
    code, document = await run.json("backup", "good/db", "--keep", "3", "--workflow-id", f"by-hand-{uuid.uuid4()}")
    assert code == 0
    assert BackupResult.model_validate(document).kept == 3


async def test_a_run_has_summary_details_and_search_attribute(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    code, out = await run("backup", "summary/db", "--no-wait")
    assert code == 0
    described = await temporal_env.client.get_workflow_handle(out.strip()).describe()
    assert described.typed_search_attributes.get(CLUSTER) == "summary/db"
    assert await described.static_summary() == "Backup **summary/db**"
    assert "cancel it" in (await described.static_details() or "")
    assert not described.raw_description.execution_config.workflow_execution_timeout.ToSeconds()
    assert not described.raw_description.execution_config.workflow_run_timeout.ToSeconds()


@pytest.mark.parametrize(("namespace", "code", "kind"), [("busy", 4, "ClusterBusy"), ("broken", 1, "InternalError")])
async def test_a_failed_run_has_its_exit_code(run: Cli, namespace: str, code: int, kind: str) -> None:
    got, document = await run.json("backup", f"{namespace}/db")
    assert got == code == document["error"]["exit_code"]
    assert document["error"]["type"] == kind
    assert document["error"]["workflow_id"].startswith(f"galera-backup/{namespace}/db/")
    assert kind in run.err


@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_a_cancelled_or_terminated_run_exits_5(run: Cli, temporal_env: WorkflowEnvironment, how: str) -> None:
    workflow_id = f"end-{uuid.uuid4()}"
    waiting = asyncio.create_task(run("backup", "endless/db", "--workflow-id", workflow_id))
    handle = temporal_env.client.get_workflow_handle(workflow_id)
    await assert_eventually(lambda: is_running(handle), seconds=15)
    await (handle.cancel() if how == "cancel" else handle.terminate())
    assert (await waiting)[0] == 5


async def is_running(handle: Any) -> bool:
    try:
        return bool((await handle.describe()).status == WorkflowExecutionStatus.RUNNING)
    except RPCError:
        return False


async def test_an_id_that_is_in_use_is_busy(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    workflow_id = f"twice-{uuid.uuid4()}"
    assert (await run("backup", "endless/db", "--workflow-id", workflow_id, "--no-wait"))[0] == 0
    code, document = await run.json("backup", "endless/db", "--workflow-id", workflow_id)
    assert code == 4
    assert workflow_id in document["error"]["message"]
    await temporal_env.client.get_workflow_handle(workflow_id).terminate()


async def test_all_wrong_options_come_at_once_and_nothing_is_started(run: Cli) -> None:
    code, document = await run.json("backup", "Bad", "--keep", "x", "--drain-timeout", "soon", "--space-ratio", "0")
    assert code == 2
    for option in ("NAMESPACE/STATEFULSET", "--keep", "--drain-timeout", "--space-ratio"):
        assert f"{option}: " in document["error"]["message"]
    assert "started" not in run.err


async def test_what_the_parser_refuses_is_json_too(run: Cli) -> None:
    code, document = await run.json("backup", "--no-such-option")
    assert code == 2
    assert document["error"]["type"] == "InvalidInput"


async def test_temporal_that_is_not_there_exits_3(capsys: pytest.CaptureFixture[str]) -> None:
    code = await asyncio.to_thread(cli.run, ["backup", "a/b", "--temporal-address", "localhost:1", "--json"])
    assert code == 3
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "TemporalUnavailable"


async def test_a_missing_worker_is_told_while_waiting(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    workflow_id = f"alone-{uuid.uuid4()}"
    waiting = asyncio.create_task(run("backup", "good/db", "--workflow-id", workflow_id, queue=f"nobody-{workflow_id}"))
    said = await run.hear("no worker polls task queue 'nobody-")
    await asyncio.sleep(3)  # three more looks
    assert not waiting.done()
    await temporal_env.client.get_workflow_handle(workflow_id).terminate()
    await waiting
    assert "still waiting" in said
    assert "no worker polls" not in run.err


async def test_a_list_without_a_worker_gives_up(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_command, "PATIENCE", timedelta(seconds=1))
    code, document = await run.json("list", "good/db", queue=f"nobody-{uuid.uuid4()}")
    assert code == 3
    assert document["error"]["type"] == "WorkerMissing"


async def test_ctrl_c_leaves_the_run_alone(temporal_env: WorkflowEnvironment, queue: str) -> None:
    workflow_id = f"ctrl-c-{uuid.uuid4()}"
    address = temporal_env.client.service_client.config.target_host
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "galera_backup", "backup", "endless/db", "--workflow-id", workflow_id),
        *("--temporal-address", address, "--task-queue", queue),
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job inherits "ignore"
    )
    handle = temporal_env.client.get_workflow_handle(workflow_id)
    assert process.stderr is not None
    told = await asyncio.wait_for(process.stderr.readline(), 60)
    assert told.decode().strip() == f"started {workflow_id}"
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130
    assert f"temporal workflow cancel --workflow-id {workflow_id}" in err.decode()
    assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
    await handle.terminate()


# --- restore


async def test_restore(run: Cli) -> None:
    code, document = await run.json("restore", "good/db", ID, "--confirm", "good/db")
    assert code == 0
    assert document["outage_seconds"] == 61


async def test_restore_tells_what_was_proved(run: Cli) -> None:
    options = ("--confirm", "good/db", "--check", "SELECT 1 => 1", "--check", "SELECT 2=>2")
    code, out = await run("restore", "good/db", ID, *options)
    assert code == 0
    assert "SELECT 1: 1; SELECT 2: 2" in out
    assert "7 whole of 9 seen (the time was over)" in out
    assert "1 as in the Secrets; set: 'nova'@'%'" in out


async def test_restore_without_a_terminal_needs_the_confirmation(run: Cli) -> None:
    code, document = await run.json("restore", "good/db", ID)
    assert code == 2
    assert "--confirm good/db" in document["error"]["message"]


@pytest.mark.parametrize(("typed", "code"), [("good/db", 0), ("good/dv", 2), ("", 2)])
async def test_restore_on_a_terminal_asks_for_the_cluster(
    temporal_env: WorkflowEnvironment, queue: str, typed: str, code: int
) -> None:
    terminal, its_other_end = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "galera_backup", "restore", "good/db", ID, "--task-queue", queue),
        *("--temporal-address", temporal_env.client.service_client.config.target_host),
        stdin=its_other_end,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    os.write(terminal, f"{typed}\n".encode())
    out, err = await asyncio.wait_for(process.communicate(), 20)
    os.close(terminal)
    os.close(its_other_end)
    assert process.returncode == code, err
    assert "This will stop good/db" in err.decode()
    assert ("1m1s" in out.decode()) == (code == 0)


async def test_an_empty_confirmation_is_none(run: Cli) -> None:
    code, document = await run.json("restore", "good/db", ID, "--confirm", "")
    assert code == 2
    assert "--confirm: " in document["error"]["message"]


async def test_restore_of_another_cluster_is_refused(run: Cli) -> None:
    code, document = await run.json("restore", "good/db", "latest", "--confirm", "good/other")
    assert code == 2
    assert "BACKUP_ID: " in document["error"]["message"]
    assert "--confirm: " in document["error"]["message"]
    assert "'good/db'" in document["error"]["message"]


# --- from options to a request


def test_options_that_were_not_typed_keep_the_models_default() -> None:
    order = request(BackupRequest, "a/b", BackupOptions().fields() | PlaceOptions().fields())
    assert order == BackupRequest(cluster=ClusterRef(namespace="a", statefulset="b"))


def test_every_option_reaches_its_field() -> None:
    what = BackupOptions("1", "2", "1.5", True, "3h", "4m", False, "80")
    places = PlaceOptions("s", "u", "p", "claim", "db", "999", LabelMover.CONTROLLER, "role", "leader", "away")
    order = request(BackupRequest, "a/b", what.fields() | places.fields() | {"wait_for_cluster": "5m"})
    assert order == BackupRequest(
        cluster=ClusterRef(namespace="a", statefulset="b"),
        replica=1,
        backups_to_keep=2,
        required_space_ratio=1.5,
        allow_unsafe=True,
        give_back_when_degraded=False,
        runner_timeout=timedelta(hours=3),
        drain_timeout=timedelta(minutes=4),
        max_mb_per_second=80,
        credentials=SecretRef(secret="s", user_key="u", password_key="p"),
        backup_claim="claim",
        container="db",
        run_as_user=999,
        primary_label=PrimaryLabel(key="role", primary="leader", backup="away", moved_by="controller"),
        wait_for_cluster=timedelta(minutes=5),
    )
    assert set(BackupRequest.model_fields) == order.model_fields_set  # a new field needs an option


def test_no_primary_label() -> None:
    fields = PlaceOptions(primary_label_moved_by=LabelMover.NONE).fields()
    assert request(BackupRequest, "a/b", fields).primary_label is None


def test_every_field_of_a_restore_has_an_option() -> None:
    how = RestoreOptions(*("3", "1h", "2m", "3m", "prefix"), Strategy.STAGED, "1h", True, "1d", "ask", "1h")
    proof = ProofOptions(
        check=["SELECT '=>' => 3", "SELECT NULL => NULL"],
        check_secret="reader",
        check_timeout="2m",
        check_tables=CheckTables.ALL,
        check_tables_timeout="1h",
        account=["nova:user:word"],
        reset_passwords=True,
    )
    places = PlaceOptions("s", "u", "p", "claim", "db", "999", LabelMover.CONTROLLER, "role", "leader", "away")
    typed = {"backup_id": ID, "source": "c/d", "confirm": "a/b", "wait_for_cluster": "1m"}
    order = request(RestoreRequest, "a/b", how.fields() | proof.fields() | places.fields() | typed)
    assert set(RestoreRequest.model_fields) == order.model_fields_set
    expected = (SqlCheck(query="SELECT '=>'", expected="3"), SqlCheck(query="SELECT NULL", expected=None))
    assert order.checks == expected
    assert order.check_credentials == SecretRef(secret="reader")
    assert order.accounts == (SecretRef(secret="nova", user_key="user", password_key="word"),)
    assert ProofOptions().fields() == {}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (ProofOptions(check=["SELECT 1 = 1"]), "--check: expected 'QUERY => VALUE', got 'SELECT 1 = 1'"),
        (ProofOptions(check=["=> 1"]), "--check: "),
        (ProofOptions(account=["nova:user"]), "--account: expected SECRET or"),
        (ProofOptions(check_secret="Not_A_Name"), "--check-secret: "),
        (ProofOptions(check_timeout="2h"), "--check-timeout: "),
    ],
)
def test_wrong_proof_options(options: ProofOptions, expected: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(expected)):
        request(RestoreRequest, "a/b", options.fields() | {"backup_id": ID, "confirm": "a/b"})


def test_clone_is_told_by_its_own_name() -> None:
    source, target = ClusterRef(namespace="a", statefulset="b"), ClusterRef(namespace="c", statefulset="d")
    result = RestoreResult(
        restore_id=RESTORE_ID,
        manifest=manifest(source),
        claims=(),
        replicas=3,
        phases=(),
        outage_seconds=61,
        clone=Clone(source=source, uuid="aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"),
        kept_until=AT,
    )
    console = Console(width=200)
    with console.capture() as captured:
        console.print(restore_command.shown(result, target))
    told = captured.get()
    assert "c/d, 3 replicas, Ready" in told
    assert f"galera-backup rollback c/d {RESTORE_ID}" in told
    assert re.search(r"clone of +a/b at ", told)


async def test_rollback(run: Cli) -> None:
    code, document = await run.json("rollback", "good/db", RESTORE_ID, "--confirm", "good/db")
    assert code == 0
    assert document["restore_id"] == RESTORE_ID
    code, document = await run.json("rollback", "good/db", ID)
    assert code == 2
    assert "--confirm good/db" in document["error"]["message"]


async def test_answers_reach_a_restore_that_waits(run: Cli, temporal_env: WorkflowEnvironment, queue: str) -> None:
    order = RestoreRequest.model_validate(
        {"cluster": {"namespace": "asks", "statefulset": "db"}, "backup_id": ID, "confirm": "asks/db"}
    )
    handle = await temporal_env.client.start_workflow(
        "GaleraRestore", order, id=f"asks-{queue}", task_queue=queue, result_type=RestoreResult
    )
    code, document = await run.json("decide", handle.id, "keep", "--why", "no")
    assert code == 2
    assert "nobody asks" in document["error"]["message"]
    code, document = await run.json("decide", handle.id, "perhaps", "--why", "no")
    assert code == 2
    assert "choice: " in document["error"]["message"]
    code, document = await run.json("approve", handle.id, "--why", "announced", "--who", "ada")
    assert (code, document) == (0, {"who": "ada", "why": "announced"})
    assert (await handle.result()).approved_by == "ada"
    code, document = await run.json("reject", "no such run", "--why", "x")
    assert code == 1
    assert document["error"]["type"] == "NotFound"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("db", "--source: expected for example openstack/mariadb-server, got 'db'"),
        ("a/b", "--source: "),
        ("a/B", "--source: "),
    ],
)
def test_source_that_is_wrong(source: str, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        request(RestoreRequest, "a/b", {"backup_id": ID, "confirm": "a/b", "source": source})
    assert text in caught.value.message


# --- list, status, search attributes


async def test_list(run: Cli) -> None:
    code, out = await run("list", "good/db")
    assert code == 0
    for cell in (ID, "512.0 MiB", "3.0 GiB", "db-2", "6b2b4b9e-0000-11f0-8b1c-0242ac110002:42", "1m30s"):
        assert cell in out
    assert (await run("list", "empty/db"))[1].strip() == "no backups"


async def test_list_shows_every_page(run: Cli) -> None:
    code, document = await run.json("list", "many/db")
    assert code == 0
    assert [each["backup_id"] for each in document["backups"]] == MANY
    assert document["next"] is None


async def test_status_of_a_free_cluster(run: Cli) -> None:
    code, out = await run("status", "nothing/db")
    assert code == 0
    assert "nothing/db: free" in out
    assert "no operations yet" in out


async def test_status_tells_holder_progress_and_last_operations(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    client = temporal_env.client
    lease = await client.start_workflow(
        "GaleraLease", id=names.lease_id(ClusterRef(namespace="held", statefulset="db")), task_queue=run.queue
    )
    assert (await run("backup", "broken/db"))[0] == 1
    document: dict[str, Any] = {}
    async with asyncio.timeout(15):  # visibility follows the run a moment later
        while not document.get("operations"):
            _, document = await run.json("status", "broken/db")
    assert document["operations"][0]["error"]["type"] == "InternalError"
    assert document["worker"] is True
    code, out = await run("status", "held/db")
    assert code == 0
    assert "held by galera-backup/held/db/now (backup: desynced)" in out
    assert "db-2" in out
    await lease.terminate()


async def test_search_attributes(run: Cli) -> None:
    code, document = await run.json("search-attributes")
    assert (code, document) == (0, {"registered": []})


# --- janitor


async def test_janitor_prints_what_it_found_and_mended(run: Cli) -> None:
    code, out = await run("janitor", "good/db")
    assert code == 0
    assert "started galera-janitor/good/db/" in run.err
    for text in ("db-2", "abandoned", "resynced, after 1m30s desynced, rejoined before it caught up", "db-1: a donor"):
        assert text in out
    code, document = await run.json("janitor", "good/db", "--workflow-id", f"by-hand-{uuid.uuid4()}")
    assert JanitorResult.model_validate(document).mended[0].desynced_seconds == 90


async def test_janitor_of_a_cluster_that_is_held(run: Cli) -> None:
    code, out = await run("janitor", "held/db")
    assert code == 0
    assert "the cluster is held, so nothing was mended: galera-backup/held/db/now" in out


async def test_janitor_that_could_not_mend_fails(run: Cli) -> None:
    code, document = await run.json("janitor", "broken/db")
    assert code == 1
    assert document["error"]["type"] == "JanitorFailed"


async def test_janitor_without_waiting(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    code, document = await run.json("janitor", "good/nowait", "--no-wait")
    assert code == 0
    handle = temporal_env.client.get_workflow_handle(document["workflow_id"], run_id=document["run_id"])
    assert (await handle.describe()).typed_search_attributes.get(CLUSTER) == "good/nowait"


def test_every_field_of_a_janitor_has_an_option() -> None:
    servers = janitor_command.ServerOptions("s", "u", "p", "db", LabelMover.CONTROLLER, "role", "leader", "away")
    limits = {"drain_timeout": "1m", "step_timeout": "2m"}
    order = request(JanitorRequest, "a/b", servers.fields() | limits)
    assert order.credentials == SecretRef(secret="s", user_key="u", password_key="p")
    assert order.step_timeout == timedelta(minutes=2)
    assert set(JanitorRequest.model_fields) == order.model_fields_set


async def test_janitor_with_wrong_options(run: Cli) -> None:
    code, document = await run.json("janitor", "Bad", "--step-timeout", "0s")
    assert code == 2
    assert "NAMESPACE/STATEFULSET: " in document["error"]["message"]
    assert "--step-timeout: " in document["error"]["message"]


# --- schedule


async def test_schedule_from_set_to_delete(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    cluster = f"good/db-{uuid.uuid4().hex[:8]}"
    code, document = await run.json("schedule", "set", cluster, "--keep", "5", "--time-zone", "Europe/Berlin")
    assert code == 0
    assert run.err.startswith("created")
    assert document["paused"] is False
    assert document["time_zone"] == "Europe/Berlin"
    assert document["request"]["backups_to_keep"] == 5
    assert document["request"]["wait_for_cluster"] == "PT30M"
    assert datetime.fromisoformat(document["next_runs"][0]).hour in {23, 0}  # 01:00 in Berlin

    described = await temporal_env.client.get_schedule_handle(f"galera-backup/{cluster}").describe()
    assert described.schedule.policy.catchup_window == timedelta(hours=1)
    assert described.schedule.policy.overlap.name == "SKIP"
    assert not described.schedule.policy.pause_on_failure
    assert described.typed_search_attributes.get(CLUSTER) == cluster

    code, document = await run.json("schedule", "pause", cluster, "--note", "moving house")
    assert document["paused"] is True

    code, document = await run.json("schedule", "set", cluster, "--at", "04:15", "--jitter", "10m")
    assert run.err.startswith("updated")
    assert document["paused"] is True
    assert document["note"] == "moving house"
    assert document["jitter"] == "10m"
    assert document["request"]["backups_to_keep"] == 10

    code, document = await run.json("schedule", "trigger", cluster)
    assert code == 0
    async with asyncio.timeout(15):
        while not document["recent_runs"]:
            _, document = await run.json("schedule", "show", cluster)
    [scheduled] = document["recent_runs"]
    assert scheduled.startswith(f"galera-backup/{cluster}-")
    handle = temporal_env.client.get_workflow_handle_for(Backup.run, scheduled)
    assert (await handle.result()).kept == 10
    started = await handle.describe()
    assert started.typed_search_attributes.get(CLUSTER) == cluster
    assert await started.static_summary() == f"Scheduled backup **{cluster}**"

    code, document = await run.json("schedule", "resume", cluster)
    assert document["paused"] is False
    code, out = await run("schedule", "show", cluster)
    assert "active" in out
    assert await run.json("schedule", "delete", cluster) == (0, {"deleted": True})
    assert await run.json("schedule", "delete", cluster) == (0, {"deleted": False})
    code, document = await run.json("schedule", "show", cluster)
    assert code == 1
    assert "galera-backup schedule set" in document["error"]["message"]


async def test_janitor_has_a_schedule_of_its_own(run: Cli, temporal_env: WorkflowEnvironment) -> None:
    cluster = f"good/db-{uuid.uuid4().hex[:8]}"
    typed = ("--secret", "other", "--drain-timeout", "3m", "--run-as-user", "999")
    code, document = await run.json("schedule", "set", cluster, *typed)
    assert code == 0
    janitor = document["janitor"]
    assert janitor["schedule_id"] == f"galera-janitor/{cluster}"
    assert janitor["every"] == "5m"
    assert janitor["request"]["credentials"]["secret"] == "other"
    assert janitor["request"]["drain_timeout"] == "PT3M"
    handle = temporal_env.client.get_schedule_handle(f"galera-janitor/{cluster}")
    described = await handle.describe()
    assert described.schedule.policy.catchup_window == timedelta(minutes=5)
    assert described.schedule.policy.overlap.name == "SKIP"
    assert described.typed_search_attributes.get(CLUSTER) == cluster

    _, document = await run.json("schedule", "pause", cluster)
    assert (document["paused"], document["janitor"]["paused"]) == (True, False)
    await handle.pause(note="by hand")
    _, document = await run.json("schedule", "set", cluster, "--janitor-every", "10m")
    assert (document["janitor"]["every"], document["janitor"]["paused"]) == ("10m", True)
    _, out = await run("schedule", "show", cluster)
    assert "paused; every 10m" in out
    await handle.unpause()
    await handle.trigger()
    async with asyncio.timeout(15):
        while not document["janitor"]["recent_runs"]:
            _, document = await run.json("schedule", "show", cluster)
    [scheduled] = document["janitor"]["recent_runs"]
    assert scheduled.startswith(f"galera-janitor/{cluster}-")
    result = await temporal_env.client.get_workflow_handle_for(Janitor.run, scheduled).result()
    assert result.mended

    _, out = await run("status", cluster)
    assert "every 10m, next 20" in out
    for _ in range(2):
        _, document = await run.json("schedule", "set", cluster, "--janitor-every", "0s")
        assert document["janitor"] is None
    assert "none" in (await run("schedule", "show", cluster))[1]
    assert (await run("schedule", "set", cluster))[0] == 0
    assert await run.json("schedule", "delete", cluster) == (0, {"deleted": True})
    with pytest.raises(RPCError, match="not found"):
        await handle.describe()


async def test_a_janitors_schedule_without_one_for_backups_is_shown_and_deleted(
    run: Cli, temporal_env: WorkflowEnvironment
) -> None:
    cluster = f"good/db-{uuid.uuid4().hex[:8]}"
    assert (await run("schedule", "set", cluster))[0] == 0
    await temporal_env.client.get_schedule_handle(f"galera-backup/{cluster}").delete()
    _, document = await run.json("status", cluster)
    assert document["schedule"] is None
    assert document["janitor"]["every"] == "5m"
    assert await run.json("schedule", "delete", cluster) == (0, {"deleted": True})
    assert await run.json("schedule", "delete", cluster) == (0, {"deleted": False})


async def test_status_shows_the_schedule(run: Cli) -> None:
    cluster = f"good/db-{uuid.uuid4().hex[:8]}"
    assert (await run("schedule", "set", cluster, "--cron", "30 2 * * sun"))[0] == 0
    _, out = await run("status", cluster)
    assert "02:30:00Z" in out
    await run("schedule", "delete", cluster)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--at", "25:00"),
        ("--at", "01:00", "--cron", "0 1 * * *"),
        ("--cron", "every night"),
        ("--cron", "99 1 * * *"),
        ("--time-zone", "Mars/Olympus"),
        ("--jitter", "some"),
        ("--keep", "0"),
        ("--janitor-every", "often"),
        ("--janitor-every", "5s"),
    ],
)
async def test_a_wrong_schedule_is_wrong_usage(run: Cli, wrong: tuple[str, ...]) -> None:
    code, document = await run.json("schedule", "set", "good/wrong", *wrong)
    assert code == 2
    assert document["error"]["type"] == "InvalidInput"


# --- help


@pytest.mark.parametrize(
    "command",
    [
        ["backup"],
        ["restore"],
        ["list"],
        ["janitor"],
        ["status"],
        ["search-attributes"],
        *(["schedule", each] for each in ("set", "show", "pause", "resume", "trigger", "delete")),
    ],
    ids=" ".join,
)
def test_help_has_units_defaults_and_exit_codes(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setenv("TERM", "dumb")
    assert cli.run([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Exit codes: 0 success; 1 the operation failed; 2 wrong usage" in text
    options = [line for line in text.splitlines() if "--" in line]
    without_default = {"--help", "--json", "--no-wait"}
    for line in options:
        if not any(flag in line for flag in without_default):
            assert "default" in line, line
        if "DURATION" in line:
            assert "30m, 6h, PT30M or seconds" in line


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == "0.1.0"
