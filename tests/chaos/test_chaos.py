"""A part of `dev/chaos --all` on the stack of dev/up; the product's source chooses which one."""

from __future__ import annotations

import asyncio

import pytest

from dev.stack import cli, images, lifecycle, processes, settings
from dev.tools import source
from galera_backup.temporal.connect import TemporalAddress, connect
from tests.chaos import plan, report
from tests.chaos.campaign import Campaign
from tests.chaos.engine import Engine
from tests.chaos.lanes import open_lanes
from tests.chaos.record import Record

LANES = 4


@pytest.mark.integration
@pytest.mark.timeout(2400)
async def test_a_part_of_all_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = [name for name in lifecycle.PARTS if processes.running(name) is None]
    assert not dead, f"the stack is not up ({', '.join(dead)}): start it with dev/up, or use dev/test"
    for name, value in cli.environment().items():
        monkeypatch.setenv(name, value)
    images.ensure_loaded(images.agent())
    shard = plan.shard_of(source.product(), plan.SHARDS)
    print(f"this part again: dev/chaos --shard {shard}/{plan.SHARDS}")
    client = await connect(TemporalAddress(settings.TEMPORAL_ADDRESS, "default"))
    seen: list[Record] = []
    async with open_lanes(client, LANES) as lanes:
        engine = Engine(lanes)
        await asyncio.gather(*(engine.first_backup(lane) for lane in lanes))
        points = await engine.baseline()
        cases = plan.whole_plan(points)
        assert not plan.uncovered(cases, points)
        chosen = plan.subset(cases, shard, plan.SHARDS)
        await Campaign(engine, seen.append).run(chosen)
    print(report.table(seen))
    assert len(seen) == len(chosen) > 5
    assert not report.violations(seen), report.violations(seen)
