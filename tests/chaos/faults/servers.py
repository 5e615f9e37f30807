"""Faults of the API server, of MariaDB, of the replica and of the node."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any

from kubernetes.client import ApiException

from dev.stack import settings
from tests.chaos.fault import AWAY, Run, fault, part_killed
from tests.chaos.site import TARGET, persistent

# --- the API server


@fault("API server killed", shared=True)
async def api_killed(run: Run) -> None:
    """Killed and started again."""
    await part_killed("kube-apiserver")
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
