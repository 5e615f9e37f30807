"""Faults of a runner pod, its programs and its volume."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from kubernetes.client import V1Eviction, V1ObjectMeta

from tests.chaos.fault import Run, copies, fault, starts_runner
from tests.chaos.site import persistent
from tests.support.eventually import eventually
from tests.support.runners import is_pod


@contextlib.asynccontextmanager
async def runner_of(run: Run) -> AsyncIterator[Any]:
    """The runner pod of the activity that is let go now, as soon as it is there."""
    site = run.lane.site
    before = {pod.metadata.uid for pod in await asyncio.to_thread(site.runners)}
    job = run.point.job or ".*"  # the jobs of the other claims start at the same time
    run.lane.go()

    def new() -> Any:
        fresh = [pod for pod in site.runners() if pod.metadata.uid not in before and is_pod(pod.metadata.name, job)]
        return fresh[0] if fresh else None

    yield await eventually(lambda: asyncio.to_thread(new), 60, "a runner pod", every=0.05)


@fault("runner pod deleted", fits=starts_runner)
async def runner_deleted(run: Run) -> None:
    """`kubectl delete pod` of the runner."""
    site = run.lane.site
    async with runner_of(run) as pod, _until_runs(run, pod):
        persistent(lambda: site.core.delete_namespaced_pod(pod.metadata.name, site.namespace))
    run.back()


@fault("runner pod evicted", fits=starts_runner)
async def runner_evicted(run: Run) -> None:
    """The eviction API, as `kubectl drain` uses it."""
    site = run.lane.site
    async with runner_of(run) as pod, _until_runs(run, pod):
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


@fault("mariadb-backup killed", fits=copies)
async def tool_killed(run: Run) -> None:
    """In the middle of its stream."""
    pid = await catch(run, "mariadb-backup")
    os.kill(pid, signal.SIGKILL)
    run.back()


@fault("agent killed", fits=copies)
async def agent_killed(run: Run) -> None:
    """While mariadb-backup streams."""
    tool = await catch(run, "mariadb-backup")
    agent = await asyncio.to_thread(run.lane.site.runner_pid, "python3")
    if agent is None:
        raise AssertionError("no agent runs beside mariadb-backup")
    os.kill(agent, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(tool, signal.SIGCONT)
    run.back()


@fault("image missing", fits=copies, slow=True)
async def image_missing(run: Run) -> None:
    """The worker was given an image that nobody has."""
    run.lane.kill_workers()
    await run.lane.start_worker(agent="docker.io/galera-backup/agent:nobody-has-this")
    run.lane.go()
    await run.settled()
    run.lane.kill_workers()
    await run.lane.start_worker()
    run.back()


@fault("backup volume full", fits=copies)
async def volume_full(run: Run) -> None:
    """It fills up in the middle of the stream, after the check for space."""
    pid = await catch(run, "mariadb-backup")
    with ballast(run.lane.site.backup_mount, leave=65536):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        run.back()
        await run.settled()


@contextlib.contextmanager
def ballast(volume: Path, leave: int) -> Iterator[None]:
    file = volume / "ballast"
    try:
        with file.open("wb") as opened:
            os.posix_fallocate(opened.fileno(), 0, shutil.disk_usage(volume).free - leave)
        yield
    finally:
        file.unlink(missing_ok=True)


async def catch(run: Run, program: str) -> int:
    """Let the activity go, and stop the tool as soon as it runs."""
    run.lane.go()
    return await stopped(run, program)


async def stopped(run: Run, program: str, pod: str | None = None) -> int:
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
