"""The plan of chaos, and the part of it that is the turn of a source; with the points of recorded histories."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from temporalio.client import WorkflowHistory

from dev.tools.proofs import Proof
from tests.chaos import plan, report
from tests.chaos.engine import Engine
from tests.chaos.faults import FAULTS
from tests.chaos.points import STAGES, Point, points_in
from tests.chaos.record import Record
from tests.chaos.watch import Rows

HISTORIES = sorted((Path(__file__).parents[1] / "replay" / "histories").iterdir())[-1]
RECORDED = {
    "backup": ("backup_ok", "GaleraBackup"),
    "restore": ("restore_ok", "GaleraRestore"),
    "staged": ("restore_staged", "GaleraRestore"),
    "rolling": ("restore_rolling", "GaleraRestore"),
    "rollback": ("rollback", "GaleraRollback"),
}


def points_of(operation: str) -> list[Point]:
    name, workflow = RECORDED[operation]
    texts = [(workflow, f"{name}.json"), ("GaleraLease", f"{name}.lease.json")]
    return points_in(
        (kind, WorkflowHistory.from_json(name, (HISTORIES / file).read_text()).events) for kind, file in texts
    )


POINTS = {operation: points_of(operation) for operation in RECORDED}
CASES = plan.whole_plan(POINTS)


def test_points_are_every_stage_of_every_activity() -> None:
    for there in POINTS.values():
        assert len(there) > 30
        assert [point.stage for point in there] == list(STAGES) * (len(there) // 3)
        assert {point.workflow for point in there} >= {"GaleraLease"}
        assert len({str(point) for point in there}) == len(there)


def test_every_point_and_every_fault_is_in_the_plan() -> None:
    assert not plan.uncovered(CASES, POINTS)
    assert {case.fault for case in CASES} == set(FAULTS)
    assert len({case.name for case in CASES}) == len(CASES)
    assert len(CASES) > 500


def test_the_plan_does_not_depend_on_time() -> None:
    """Two activities beside each other start in another order in another run."""
    later = {name: [Point(**{**vars(each), "seconds": 99.0}) for each in there] for name, there in POINTS.items()}
    assert [case.name for case in plan.whole_plan(later)] == [case.name for case in CASES]


def test_shards_are_a_partition_without_what_is_slow() -> None:
    shards = [plan.subset(CASES, shard, plan.SHARDS) for shard in range(plan.SHARDS)]
    names = [case.name for shard in shards for case in shard]
    assert sorted(names) == sorted(case.name for case in CASES if not FAULTS[case.fault].slow)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("seed", ["0000000000000000", "3515f3958591f76b", "ffffffffffffffff"])
def test_the_turn_of_a_source(seed: str) -> None:
    shard = plan.shard_of(seed, plan.SHARDS)
    assert 0 <= shard < plan.SHARDS
    assert shard == plan.shard_of(seed, plan.SHARDS)


def test_every_shard_has_its_turn() -> None:
    assert {plan.shard_of(f"{seed:016x}", plan.SHARDS) for seed in range(1000)} == set(range(plan.SHARDS))


def test_what_a_case_can_reach() -> None:
    scopes = plan.scopes(CASES)
    assert set(scopes) == {case.name for case in CASES}
    seen = {(case.operation, FAULTS[case.fault].janitor): scopes[case.name] for case in CASES}
    assert all(seen[case.operation, FAULTS[case.fault].janitor] == scopes[case.name] for case in CASES)
    for janitor in (False, True):
        assert seen["restore", janitor] == seen["staged", janitor] == seen["rolling", janitor]
    assert len(set(seen.values())) == 6  # backup, restore, rollback; with a janitor, and without


def test_records_are_kept_and_read(tmp_path: Path) -> None:
    proof = Proof("chaos", "dev/chaos --all", ("tests/chaos",), False, tmp_path)
    case = CASES[0]
    first = Record(case.name, case.operation, case.fault, str(case.point), "COMPLETED", 12.5, outage=3.0)
    report.keep(proof, "source", first)
    assert report.read(proof) == [first]
    assert proof.missing({case.name: "source"}) == []
    broken = Record(case.name, case.operation, case.fault, str(case.point), "FAILED", violations=["a row is lost"])
    report.keep(proof, "source", broken)
    assert report.read(proof) == [broken]
    assert proof.missing({case.name: "source"}) == [case.name]
    assert "| **all** | | 1 | 1 |" in report.table(report.read(proof))


async def test_case_whose_wave_was_given_up_has_not_passed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its operation may still wait at its point: the lane is made anew."""
    given_up, make_anew = AsyncMock(side_effect=asyncio.BrokenBarrierError), AsyncMock()
    monkeypatch.setattr(Engine, "_run", given_up)
    monkeypatch.setattr(Engine, "_make_anew", make_anew)
    lane: Any = MagicMock(ensure_worker=AsyncMock())
    record = await Engine([]).run(lane, CASES[0], asyncio.Barrier(2))
    proof = Proof("chaos", "dev/chaos --all", ("tests/chaos",), False, tmp_path)
    report.keep(proof, "source", record)
    assert proof.missing({CASES[0].name: "source"}) == [CASES[0].name]
    make_anew.assert_awaited_once_with(lane)


@pytest.mark.parametrize(
    ("stops", "last", "resumed"),
    [((), False, 30.0), ((45.0,), False, 50.0), ((45.0,), True, 50.0), ((99.0,), False, 30.0), ((), True, 50.0)],
)
def test_rows_after_the_outage_of_the_restore_count(stops: tuple[float, ...], last: bool, resumed: float) -> None:
    """Before it a server was killed, and no write was answered for longer."""
    rows = Rows(interruptions=[(10.0, 30.0), (40.0, 50.0), (60.0, 60.5)])
    assert rows.resumed_after(5, 70, stops=stops, last=last) == resumed
    assert rows.resumed_after(70, 80, stops=stops, last=last) == 80
