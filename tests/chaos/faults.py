"""What is broken, and mended again, while an operation stands at a point."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from kubernetes.client import ApiException, V1Eviction, V1ObjectMeta
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from dev.stack import paths, settings, temporal
from tests.chaos.lane import Lane
from tests.chaos.points import Point
from tests.chaos.site import PODS, TARGET, persistent
from tests.support.eventually import eventually

AWAY = 8.0
"""Seconds for which a server misbehaves: longer than any single call's time limit."""
LONG_AWAY = 130.0
"""Seconds for which a worker is away, where that is the fault."""
SCARCE = 60 << 20
"""Bytes left on a data volume: less than half of what staging must leave there, and less than it would take."""


@dataclass
class Run:
    """One operation that stands at a point."""

    lane: Lane
    point: Point
    handle: WorkflowHandle[Any, Any]
    settled: Callable[[], Awaitable[None]]
    """Wait until the operation and its lease are closed."""
    second: Callable[[], Awaitable[str]]
    """Start another operation on the same cluster; the type of its failure, or `succeeded`."""
    notes: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    back_at: float = 0.0
    """When everything that the operation needs was there again."""

    def lease(self) -> WorkflowHandle[Any, Any]:
        """The lease of the cluster."""
        return self.lane.client.get_workflow_handle(self.lane.site.lease_id)

    async def must_fail(self, error: str) -> None:
        """Wait for the end of the operation: it is to fail with an error of this type."""
        try:
            await self.handle.result()
        except WorkflowFailureError as failure:
            seen = str(getattr(failure.cause, "type", failure.cause))
        else:
            seen = "success"
        if seen != error:
            self.violations.append(f"expected {error}, saw {seen}")

    def back(self) -> None:
        """All is there again; go on."""
        self.back_at = time.time()
        self.lane.go()


Strike = Callable[[Run], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """One way to break something. It calls `run.back()` when all is mended."""

    name: str
    strike: Strike
    fits: Callable[[str, Point], bool] = lambda operation, point: True
    """Whether it means anything for this operation at this point."""
    ends: tuple[str, ...] = ()
    """Statuses, beside COMPLETED, in which the operation may end that need no failure with a type."""
    shared: bool = False
    """It strikes all lanes at once."""
    execution_timeout: bool = False
    """The operation gets one that passes while it is held."""
    janitor: bool = False
    """Nobody is left who would undo, and then the time of the janitor's schedule comes."""
    hits_server: bool = False
    """A server starts anew, maybe by a state transfer from another; an operation that failed does not wait for it."""
    slow: bool = False
    """Takes minutes: struck at one point only."""


FAULTS: dict[str, Fault] = {}


def fault(name: str, **options: Any) -> Callable[[Strike], Strike]:
    """Register one."""

    def register(strike: Strike) -> Strike:
        FAULTS[name] = Fault(name, strike, **options)
        return strike

    return register


def _held(operation: str, point: Point) -> bool:
    """An activity is under way as long as the harness wants."""
    return point.stage != "scheduled"


def _starts_runner(operation: str, point: Point) -> bool:
    return point.activity == "run_runner" and point.stage == "started"


def _swaps(operation: str, point: Point) -> bool:
    return _starts_runner(operation, point) and point.job.startswith(("in-", "back-"))


def _stages(operation: str, point: Point) -> bool:
    return _starts_runner(operation, point) and point.job.startswith("stage-")


def _verifies(operation: str, point: Point) -> bool:
    """What is staged, right before the cluster is stopped."""
    return _starts_runner(operation, point) and point.job.startswith("verify-")


def _copies(operation: str, point: Point) -> bool:
    """The runner that reads the replica or writes its data, not one that checks or prunes."""
    return _starts_runner(operation, point) and operation == "backup" and point.seconds < 6


# --- the worker


@fault("worker killed")
async def worker_killed(run: Run) -> None:
    """SIGKILL, and another one at once."""
    run.lane.kill_workers()
    await run.lane.start_worker()
    run.back()


@fault("worker away", slow=True)
async def worker_away(run: Run) -> None:
    """SIGKILL, and nobody for minutes."""
    run.lane.kill_workers()
    await asyncio.sleep(LONG_AWAY)
    await run.lane.start_worker()
    run.back()


@fault("worker terminated")
async def worker_terminated(run: Run) -> None:
    """SIGTERM with its grace period, as in a rolling update, and another one."""
    [old] = run.lane.workers
    old.send_signal(signal.SIGTERM)
    await eventually(lambda: old.poll() is not None, 60, "the worker ends after SIGTERM")
    run.lane.workers.clear()
    await run.lane.start_worker()
    run.back()


@fault("worker frozen")
async def worker_frozen(run: Run) -> None:
    """A zombie: SIGSTOP, another worker does all the work, and then the first one goes on where it stood."""
    [old] = run.lane.workers
    old.send_signal(signal.SIGSTOP)
    try:
        await run.lane.start_worker()
        run.back()
        await run.settled()
    finally:
        old.send_signal(signal.SIGCONT)
    await asyncio.sleep(8)
    with contextlib.suppress(ProcessLookupError):
        old.kill()
    old.wait(10)
    run.lane.workers.remove(old)


@fault("worker's clock", fits=lambda operation, point: point.stage == "started")
async def clock_jump(run: Run) -> None:
    """The next worker's clock is two hours ahead, or behind."""
    run.lane.kill_workers()
    ahead = int(run.point.activity_id) % 2 == 0
    run.notes.append("two hours ahead" if ahead else "two hours behind")
    await run.lane.start_worker(clock="+2h" if ahead else "-2h")
    run.back()


@fault("workflow code changed")
async def code_changed(run: Run) -> None:
    """A deploy that does not fit the histories that run, for a while; then the right one again."""
    await eventually(lambda: _has_begun(run.lease()), 30, "the lease has begun, on the right code", every=0.05)
    run.lane.kill_workers()
    with tempfile.TemporaryDirectory() as folder:
        wrong = changed_checkout(Path(folder))
        await run.lane.start_worker(checkout=wrong)
        run.lane.go()
        await asyncio.sleep(6)
        run.lane.kill_workers()
    await run.lane.start_worker()
    run.back()


def changed_checkout(folder: Path) -> Path:
    """Makes `folder` a checkout in which each workflow has one step more; returns it."""
    for name in ("galera_backup", "workflows", "activities"):
        shutil.copytree(paths.CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests" / "chaos").mkdir(parents=True)
    for name in ("worker.py", "tests/chaos/__init__.py", "tests/chaos/hooks.py"):
        shutil.copy(paths.CHECKOUT / name, folder / name)
    sleep = "await workflow.sleep(0.001)"
    for name, line in (
        ("lease.py", "        reason = await self._hold()\n"),
        ("operation.py", '        self.progress.enter("lease", "acquiring the cluster\'s lease")\n'),
    ):
        file = folder / "workflows" / name
        text = file.read_text()
        assert line in text, f"workflows/{name} has changed: the harness cannot change it any more"
        indent = line[: len(line) - len(line.lstrip())]
        file.write_text(text.replace(line, f"{indent}{sleep}\n{line}"))
    return folder


# --- Temporal


@fault("Temporal killed", shared=True)
async def temporal_killed(run: Run) -> None:
    """The server, with its database on disk."""
    await _part_killed("temporal")
    run.back()


@fault("operation terminated", ends=("TERMINATED",))
async def terminated(run: Run) -> None:
    """`temporal workflow terminate` of the operation."""
    await run.handle.terminate("by the harness")
    run.back()


@fault("operation cancelled", ends=("CANCELED",))
async def cancelled(run: Run) -> None:
    """`temporal workflow cancel` of the operation."""
    await run.handle.cancel()
    await asyncio.sleep(0.5)
    run.back()


@fault("reset to the first task")
async def reset_first(run: Run) -> None:
    """`temporal workflow reset` of the operation to its first workflow task."""
    await _reset(run, first=True)


@fault("reset to the last task")
async def reset_last(run: Run) -> None:
    """`temporal workflow reset` of the operation to its last workflow task."""
    await _reset(run, first=False)


@fault("lease cancelled")
async def lease_cancelled(run: Run) -> None:
    """`temporal workflow cancel` of the lease."""
    await run.lease().cancel()
    await asyncio.sleep(0.5)
    run.back()


@fault("lease terminated")
async def lease_terminated(run: Run) -> None:
    """`temporal workflow terminate` of the lease."""
    await run.lease().terminate("by the harness")
    run.back()


@fault("operation and lease terminated", ends=("TERMINATED",), janitor=True)
async def both_terminated(run: Run) -> None:
    """By hand, so that nobody is left who would undo."""
    await run.handle.terminate("by the harness")
    with contextlib.suppress(RPCError):  # not begun yet
        await run.lease().terminate("by the harness")
    run.back()


@fault("Temporal's database lost", shared=True, slow=True, ends=("LOST",), janitor=True)
async def database_lost(run: Run) -> None:
    """The server comes back with an empty one, and knows no operation and no lease."""

    def lose() -> None:
        for file in temporal.DATABASE.parent.glob(f"{temporal.DATABASE.name}*"):
            file.unlink()

    await _part_killed("temporal", lose)
    run.back()


@fault("execution timeout", ends=("TIMED_OUT",), execution_timeout=True, fits=_held)
async def timed_out(run: Run) -> None:
    """The operation was started with an execution timeout, which passes now."""
    await eventually(lambda: _has_status(run.handle, WorkflowExecutionStatus.TIMED_OUT), 120, "the timeout passes")
    run.back()


@fault("two operations")
async def two_operations(run: Run) -> None:
    """Another one is started on the same cluster: it is refused, and harms nothing."""
    answer = await run.second()
    if answer != "ClusterBusy":
        run.violations.append(f"the second operation was not refused as ClusterBusy but: {answer}")
    run.back()


async def _reset(run: Run, *, first: bool) -> None:
    completed = [
        event.event_id
        async for event in run.handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]
    description = await run.handle.describe()
    await run.lane.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=run.handle.id, run_id=description.run_id),
            reason="by the harness",
            workflow_task_finish_event_id=completed[0 if first else -1],
            request_id=f"chaos-{time.time()}",
        )
    )
    run.back()


async def _has_begun(handle: WorkflowHandle[Any, Any]) -> bool:
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    return any([event.event_type == completed async for event in handle.fetch_history_events()])


async def _has_status(handle: WorkflowHandle[Any, Any], status: WorkflowExecutionStatus) -> bool:
    return (await handle.describe()).status == status


# --- the API server


@fault("API server killed", shared=True)
async def api_killed(run: Run) -> None:
    """Killed and started again."""
    await _part_killed("kube-apiserver")
    run.back()


@fault("API server: 429")
async def api_429(run: Run) -> None:
    """Every request is answered 429 for some seconds."""
    await _api(run, "429")


@fault("API server: 500")
async def api_500(run: Run) -> None:
    """Every request is answered 500 for some seconds."""
    await _api(run, "500")


@fault("API server hangs")
async def api_hangs(run: Run) -> None:
    """No request is answered for some seconds."""
    await _api(run, "hang")


@fault("API server's answers lost")
async def api_drops(run: Run) -> None:
    """Every request has its effect, and its answer is lost."""
    await _api(run, "drop")


async def _api(run: Run, mode: Any) -> None:
    proxy = run.lane.api
    before = proxy.refused
    proxy.mode = mode
    run.lane.go()
    await asyncio.sleep(AWAY)
    proxy.mode = "pass"
    run.notes.append(f"{proxy.refused - before} requests met it")
    run.back()


async def _part_killed(name: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    for command in (["down", "--only", name, "--kill"], ["up", "--only", name]):
        if command[0] == "up":
            meanwhile()
        process = await asyncio.create_subprocess_exec(
            paths.DEV / command[0], *command[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if await process.wait():
            raise AssertionError(f"dev/{' '.join(command)} failed")


# --- MariaDB


@fault("MariaDB refuses")
async def database_refuses(run: Run) -> None:
    """No connection of the worker is accepted for some seconds."""
    await _database(run, "refuse")


@fault("MariaDB hangs")
async def database_hangs(run: Run) -> None:
    """Connections are accepted and never answered."""
    run.lane.database.mode = "hang"
    await _database(run, str(run.lane.database.port))


@fault("MariaDB drops")
async def database_drops(run: Run) -> None:
    """Connections are lost after a statement was sent: it has its effect, and no answer."""
    run.lane.database.mode = "drop"
    await _database(run, str(run.lane.database.port))


async def _database(run: Run, way: str) -> None:
    run.lane.database_way(way)
    run.lane.go()
    await asyncio.sleep(AWAY)
    run.lane.database_way(None)
    run.back()


# --- the replica


@fault("target pod deleted", hits_server=True)
async def target_deleted(run: Run) -> None:
    """`kubectl delete pod` of the replica that is backed up."""
    site = run.lane.site
    with contextlib.suppress(ApiException):  # 404: a restore has stopped the cluster
        persistent(lambda: site.core.delete_namespaced_pod(TARGET, site.namespace))
    run.back()


@fault("target killed for memory", hits_server=True)
async def target_killed(run: Run) -> None:
    """mariadbd of the replica gets the SIGKILL of the out-of-memory killer."""
    pid = await asyncio.to_thread(run.lane.site.server_pid, TARGET)
    if pid is None:
        run.notes.append("the cluster is stopped")
    else:
        os.kill(pid, signal.SIGKILL)
    run.back()


@fault("node cordoned", shared=True)
async def cordoned(run: Run) -> None:
    """No pod can be scheduled for some seconds."""
    core = run.lane.site.core
    persistent(lambda: core.patch_node(settings.NODE_NAME, {"spec": {"unschedulable": True}}))
    try:
        run.lane.go()
        await asyncio.sleep(AWAY)
    finally:
        persistent(lambda: core.patch_node(settings.NODE_NAME, {"spec": {"unschedulable": None}}))
    run.back()


# --- the runner


@contextlib.asynccontextmanager
async def _runner(run: Run) -> AsyncIterator[Any]:
    """The runner pod of the activity that is let go now, as soon as it is there."""
    site = run.lane.site
    before = {pod.metadata.uid for pod in await asyncio.to_thread(site.runners)}
    suffix = f"z-{run.point.job}" if run.point.job else ""  # the jobs of the other claims start at the same time
    run.lane.go()

    def new() -> Any:
        fresh = [pod for pod in site.runners() if pod.metadata.uid not in before and pod.metadata.name.endswith(suffix)]
        return fresh[0] if fresh else None

    yield await eventually(lambda: asyncio.to_thread(new), 60, "a runner pod", every=0.05)


@fault("runner pod deleted", fits=_starts_runner)
async def runner_deleted(run: Run) -> None:
    """`kubectl delete pod` of the runner."""
    site = run.lane.site
    async with _runner(run) as pod, _until_runs(run, pod):
        persistent(lambda: site.core.delete_namespaced_pod(pod.metadata.name, site.namespace))
    run.back()


@fault("runner pod evicted", fits=_starts_runner)
async def runner_evicted(run: Run) -> None:
    """The eviction API, as `kubectl drain` uses it."""
    site = run.lane.site
    async with _runner(run) as pod, _until_runs(run, pod):
        eviction = V1Eviction(metadata=V1ObjectMeta(name=pod.metadata.name, namespace=site.namespace))
        persistent(lambda: site.core.create_namespaced_pod_eviction(pod.metadata.name, site.namespace, body=eviction))
    run.back()


@contextlib.asynccontextmanager
async def _until_runs(run: Run, pod: Any) -> AsyncIterator[None]:
    """The pod has an address, or has ended already."""
    site = run.lane.site

    def runs() -> bool:
        found = site.pod(pod.metadata.name)
        return found is None or bool(found.status.pod_ip)

    await eventually(lambda: asyncio.to_thread(runs), 60, "the runner pod runs", every=0.05)
    yield


@fault("mariadb-backup killed", fits=_copies)
async def tool_killed(run: Run) -> None:
    """In the middle of its stream."""
    pid = await _catch(run, "mariadb-backup")
    os.kill(pid, signal.SIGKILL)
    run.back()


@fault("agent killed", fits=_copies)
async def agent_killed(run: Run) -> None:
    """While mariadb-backup streams."""
    tool = await _catch(run, "mariadb-backup")
    agent = await asyncio.to_thread(run.lane.site.runner_pid, "python3")
    if agent is None:
        raise AssertionError("no agent runs beside mariadb-backup")
    os.kill(agent, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(tool, signal.SIGCONT)
    run.back()


@fault("image missing", fits=_copies, slow=True)
async def image_missing(run: Run) -> None:
    """The worker was given an image that nobody has."""
    run.lane.kill_workers()
    await run.lane.start_worker(agent="docker.io/galera-backup/agent:nobody-has-this")
    run.lane.go()
    await run.settled()
    run.lane.kill_workers()
    await run.lane.start_worker()
    run.back()


@fault("backup volume full", fits=_copies)
async def volume_full(run: Run) -> None:
    """It fills up in the middle of the stream, after the check for space."""
    pid = await _catch(run, "mariadb-backup")
    with _ballast(run.lane.site.backup_mount, leave=65536):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        run.back()
        await run.settled()


# --- what a restore has staged


@fault("swap killed", fits=_swaps)
async def swap_killed(run: Run) -> None:
    """The runner between two of its renames; another one goes on."""
    async with _runner(run) as pod:
        await _kill_swap(run, pod.metadata.name, _some_rename(run))
    run.back()


@fault("swap killed each time", fits=_swaps)
async def swap_killed_each_time(run: Run) -> None:
    """One claim of three fails for good."""
    async with _runner(run) as pod:
        await _kill_swap(run, pod.metadata.name, _some_rename(run))
        await _kill_swap(run, f"{pod.metadata.name}-2", 2)
    run.back()


@fault("swap killed, both terminated", ends=("TERMINATED",), janitor=True, fits=_swaps)
async def swap_and_both_terminated(run: Run) -> None:
    """The runner between two of its renames, with nobody left who would go on, or back."""
    async with _runner(run) as pod:
        await _kill_swap(run, pod.metadata.name, _some_rename(run))
        await run.handle.terminate("by the harness")
        await run.lease().terminate("by the harness")
    run.back()


def _some_rename(run: Run) -> int:
    """Of the more than 20 that a swap of the harness's data makes, another one for each point."""
    return 2 + int(run.point.activity_id) * 5 % 17


async def _kill_swap(run: Run, pod: str, before: int) -> None:
    """SIGKILL as its main thread enters so many-th call of rename(2), that call not done: the journal's count, too."""
    site = run.lane.site
    pid = await eventually(lambda: asyncio.to_thread(site.pid_in, pod, "python3"), 60, f"{pod} runs", every=0.05)
    os.kill(pid, signal.SIGSTOP)  # until strace is there
    calls = "?rename,?renameat,?renameat2"
    with tempfile.NamedTemporaryFile("r") as trace:
        tracer = await asyncio.create_subprocess_exec(
            *("strace", "-p", str(pid), "-o", trace.name),
            *("-e", f"trace={calls}", "-e", f"inject={calls}:signal=KILL:when={before}"),
            stderr=subprocess.PIPE,
        )
        assert tracer.stderr is not None
        said = await asyncio.wait_for(tracer.stderr.readline(), 60)
        os.kill(pid, signal.SIGCONT)
        assert b"attached" in said, said
        await asyncio.wait_for(tracer.wait(), 60)
        seen = trace.read()
    assert "killed by SIGKILL" in seen, f"{pod} made no {before} renames:\n{seen}"
    run.notes.append(f"{pod.rpartition('z-')[2]}: killed before rename {before}")


@fault("staged data lost", fits=_verifies, hits_server=True)
async def staged_lost(run: Run) -> None:
    """A replica loses its state, and a state transfer wipes its data directory."""
    site = run.lane.site
    data = site.data_mounts[PODS.index(TARGET)]
    pid = await asyncio.to_thread(site.server_pid, TARGET)
    assert pid is not None, f"{TARGET} does not run"
    os.kill(pid, signal.SIGKILL)
    (data / "grastate.dat").unlink()
    await eventually(lambda: not (data / ".galera-backup").exists(), 60, "the state transfer has wiped what was staged")
    await eventually(lambda: asyncio.to_thread(site.is_ready, TARGET), 90, f"{TARGET} is Ready again")
    run.back()
    await run.must_fail("RestoreFailed")


@fault("data volume full", fits=_stages)
async def data_volume_full(run: Run) -> None:
    """Something else fills it while it is unpacked to: what is left is for the server."""
    async with _runner(run) as pod:
        pid = await _stopped(run, "mbstream", pod.metadata.name)
    volume = run.lane.site.data_mounts[run.point.ordinal]
    with _ballast(volume, leave=SCARCE):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        run.back()
        least = shutil.disk_usage(volume).free
        settled = asyncio.ensure_future(run.settled())
        while not settled.done():
            least = min(least, shutil.disk_usage(volume).free)
            await asyncio.wait([settled], timeout=0.05)
        settled.result()
    await run.must_fail("NotEnoughSpace")
    run.notes.append(f"at least {least >> 20} MiB stayed free")
    if least < SCARCE / 2:
        run.violations.append(f"{least >> 20} MiB were left for the server of {SCARCE >> 20} MiB")


@contextlib.contextmanager
def _ballast(volume: Path, leave: int) -> Iterator[None]:
    file = volume / "ballast"
    try:
        with file.open("wb") as opened:
            os.posix_fallocate(opened.fileno(), 0, shutil.disk_usage(volume).free - leave)
        yield
    finally:
        file.unlink(missing_ok=True)


async def _catch(run: Run, program: str) -> int:
    """Let the activity go, and stop the tool as soon as it runs."""
    run.lane.go()
    return await _stopped(run, program)


async def _stopped(run: Run, program: str, pod: str | None = None) -> int:
    """Stop the tool as soon as it runs, in whichever runner pod or in this one."""
    site = run.lane.site

    def look() -> int | None:
        pid = site.runner_pid(program) if pod is None else site.pid_in(pod, program)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                return pid
        return None

    return int(await eventually(lambda: asyncio.to_thread(look), 60, f"{program} runs", every=0.01))


EXECUTION_MARGIN = timedelta(seconds=10)
"""Beyond the time at which the point was reached without a fault."""
