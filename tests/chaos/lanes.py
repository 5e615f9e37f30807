"""The lanes of a run: each with a healthy cluster and a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

from kubernetes.client import ApiException
from temporalio.client import Client
from temporalio.service import RPCError

from tests.chaos import invariants
from tests.chaos.lane import Lane
from tests.chaos.site import Site

CLUSTER_ATTRIBUTE = "GaleraCluster"
_THREADS = 12
"""Of each lane: for its proxy, and for what looks at its cluster."""


@asynccontextmanager
async def open_lanes(client: Client, count: int, *, keep: bool = False) -> AsyncIterator[list[Lane]]:
    """So many lanes, each with a healthy cluster and a worker. `keep`: leave the clusters there."""
    # The default has four threads more than processors: the looks of some lanes would hold up the proxies of others.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS * count))
    lanes = [Lane(Site(number + 1), client) for number in range(count)]
    try:
        await asyncio.gather(*(fresh(client, lane.site) for lane in lanes))
        await asyncio.gather(*(lane.open() for lane in lanes))
        yield lanes
    finally:
        await asyncio.gather(*(lane.close() for lane in lanes))
        if not keep:
            await asyncio.gather(*(asyncio.to_thread(lane.site.remove) for lane in lanes))


async def fresh(client: Client, site: Site, *, anew: bool = False) -> None:
    """Make the site; anew also when a killed harness has left it in the middle of something."""
    where = f'{CLUSTER_ATTRIBUTE}="{site.cluster}" AND ExecutionStatus="Running"'
    async for run in client.list_workflows(where):
        await client.get_workflow_handle(run.id).terminate("left by a killed harness")
    with suppress(RPCError):  # there is none
        await client.get_workflow_handle(site.lease_id).terminate("left by a killed harness")
    anew = anew or await asyncio.to_thread(_is_broken, site)
    await asyncio.to_thread(site.make_anew if anew else site.make)


def _is_broken(site: Site) -> bool:
    try:
        return bool(invariants.problems(site))
    except ApiException:
        return False  # there is none yet
