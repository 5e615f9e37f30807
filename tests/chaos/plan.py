"""Which fault strikes where: every point of every operation, every fault at many points, the same plan each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.chaos.fault import Fault
from tests.chaos.faults import FAULTS
from tests.chaos.points import Point
from tests.chaos.record import Case
from tests.support.scope import scope

EACH_FAULT = {"backup": 7, "restore": 5, "staged": 4, "rolling": 3, "rollback": 2}
"""Points at which each fault strikes, beyond what it takes to have one at each point."""
SHARDS = 100
"""Of the part that `dev/test` runs."""
_REACHES = {"staged": "restore", "rolling": "restore"}
"""Key of `scope.ROOTS`, where it is not the operation's name."""
_GOLDEN = 0.618
"""Multiples of it spread evenly: faults that follow each other strike at points far from each other."""


def whole_plan(points: Mapping[str, Sequence[Point]]) -> list[Case]:
    """All cases, those of one fault beside each other."""
    cases = [
        Case(operation, point, fault.name)
        for operation, there in points.items()
        for fault in FAULTS.values()
        for point in _spread(fault, operation, there)
    ]
    quick = [fault for fault in FAULTS.values() if not fault.slow and not fault.shared]
    for number, (operation, point) in enumerate(uncovered(cases, points)):
        fit = [fault for fault in quick if fault.fits(operation, point)]
        cases.append(Case(operation, point, fit[number % len(fit)].name))
    return cases


def _spread(fault: Fault, operation: str, points: Sequence[Point]) -> list[Point]:
    """Points for one fault, evenly over the operation; which ones differs from fault to fault."""
    fit = [point for point in points if fault.fits(operation, point)]
    wanted = 1 if fault.slow and not fault.shared else EACH_FAULT[operation]
    if len(fit) <= wanted:
        return fit
    step = len(fit) / wanted
    shift = list(FAULTS).index(fault.name) * _GOLDEN % 1
    return [fit[int((number + shift) * step)] for number in range(wanted)]


def shard_of(seed: str, of: int) -> int:
    """Which of the shards is the turn of a source; `seed`: its hash, in hexadecimal digits."""
    return int(seed, 16) % of


def subset(cases: Sequence[Case], shard: int, of: int) -> list[Case]:
    """Every `of`-th case, without the slow ones; each fault is in it where the plan has it often enough."""
    quick = [case for case in cases if not FAULTS[case.fault].slow]
    return quick[shard::of]


def uncovered(cases: Sequence[Case], points: Mapping[str, Sequence[Point]]) -> list[tuple[str, Point]]:
    """Points that no case strikes, with their operation."""
    struck = {(case.operation, case.point) for case in cases}
    everywhere = [(operation, point) for operation, there in points.items() for point in there]
    return [each for each in everywhere if each not in struck]


def scopes(cases: Sequence[Case]) -> dict[str, str]:
    """Name of each case, and the hash of what it can reach."""
    return {case.name: _scope(case) for case in cases}


def _scope(case: Case) -> str:
    return scope(_REACHES.get(case.operation, case.operation), janitor=FAULTS[case.fault].janitor)
