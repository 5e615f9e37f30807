"""A part of `dev/chaos --all`, the same each time, on the stack of dev/up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dev.stack import cli, images, lifecycle, processes, settings
from galera_backup.temporal.connect import TemporalAddress, connect
from tests.chaos import plan, report
from tests.chaos.campaign import Campaign
from tests.chaos.engine import Engine, open_lanes

LANES = 3
SHARD, OF = 0, 30


@pytest.mark.integration
@pytest.mark.timeout(2400)
async def test_a_part_of_all_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = [name for name in lifecycle.PARTS if processes.running(name) is None]
    assert not dead, f"the stack is not up ({', '.join(dead)}): start it with dev/up, or use dev/test"
    for name, value in cli.environment().items():
        monkeypatch.setenv(name, value)
    images.ensure_loaded(images.agent())
    records = tmp_path / "records.jsonl"
    client = await connect(TemporalAddress(settings.TEMPORAL_ADDRESS, "default"))
    async with open_lanes(client, LANES) as lanes:
        engine = Engine(lanes)
        await asyncio.gather(*(engine.first_backup(lane) for lane in lanes))
        points = await engine.baseline(lanes[0])
        cases = plan.whole_plan(points)
        assert not plan.uncovered(cases, points)
        chosen = plan.subset(cases, SHARD, OF)
        seen = await Campaign(engine, lambda record: report.append(records, record)).run(chosen)
    print(report.table(seen))
    assert len(seen) == len(chosen) > 20
    assert not report.violations(seen), report.violations(seen)
