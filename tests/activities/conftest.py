"""The bench on which activities are tried."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest_asyncio
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities._fence import Fence
from activities.galera import GaleraActivities
from activities.holds import HoldActivities
from activities.kubernetes import KubernetesActivities
from activities.prove import ProveActivities
from activities.runner import RunnerActivities
from galera_backup.kube.gateway import KubeGateway
from galera_backup.mysql.gateway import MysqlGateway
from tests.fakes.bench import Bench, Leases
from tests.fakes.gateways import FakeKube, FakeMysql, Worlds
from tests.fakes.stage import shortened_pauses
from tests.fakes.world import World, fresh_cluster


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    world = World(fresh_cluster())
    worlds = Worlds()
    worlds.add(world)
    kube, mysql, leases = cast(KubeGateway, FakeKube(worlds)), cast(MysqlGateway, FakeMysql(worlds)), Leases()
    fence = Fence(cast(Client, leases), kube)
    env = ActivityEnvironment()
    env.info = replace(env.info, started_time=datetime.now(UTC))
    beats: list[tuple[Any, ...]] = []
    env.on_heartbeat = lambda *details: beats.append(details)
    with shortened_pauses():
        yield Bench(
            world,
            leases,
            GaleraActivities(kube, mysql, fence),
            KubernetesActivities(kube, fence),
            RunnerActivities(kube, mysql, fence, "agent:1"),
            HoldActivities(kube, fence, "agent:1"),
            ProveActivities(kube, mysql),
            env,
            beats,
        )
