"""Where the time of a run of the tests went, and which of them failed, from its JUnit report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

SLOWEST = 20
FAILURES = 10
"""So many are told in full: a run that failed by the hundred has one cause."""
OWN_SECONDS = "seconds"
"""Property of a test that ran beside others: its own time, while its part of the run is only what was left to wait."""


@dataclass(frozen=True)
class Test:
    """One test: its part of the run's wall clock with its fixtures, and the time from its own start to its end."""

    folder: str
    name: str
    wall: float
    own: float
    passed: bool = True
    failure: str = ""
    """The first line of what it failed with; empty if it passed."""


def read(report: Path) -> list[Test]:
    """The tests of a JUnit report, in the order in which they ran; none if there is no report."""
    if not report.exists():
        return []
    tests: dict[str, Test] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        test = _test(case)
        if before := tests.get(test.name):  # one that failed in its test and in its teardown is there twice
            test = replace(
                before,
                wall=before.wall + test.wall,
                passed=before.passed and test.passed,
                failure=before.failure or test.failure,
            )
        tests[test.name] = test
    return list(tests.values())


def _test(case: ElementTree.Element) -> Test:
    module = case.get("classname", "")
    wall = float(case.get("time", "0"))
    own = case.find(f"properties/property[@name='{OWN_SECONDS}']")
    return Test(
        folder="/".join(module.split(".")[:2]),
        name=f"{module}.{case.get('name', '')}",
        wall=wall,
        own=wall if own is None else float(own.get("value", "0")),
        passed=all(case.find(each) is None for each in ("failure", "error", "skipped")),
        failure=_failure(case),
    )


def _failure(case: ElementTree.Element) -> str:
    for kind in ("failure", "error"):
        found = case.find(kind)
        if found is not None:
            lines = found.get("message", "").strip().splitlines()
            return lines[0][:300] if lines else kind
    return ""


def table(tests: list[Test]) -> str:
    """The time of each folder, and the slowest tests. Processes beside each other add up: that is not wall clock."""
    walls: dict[str, list[float]] = {}
    for test in tests:
        walls.setdefault(test.folder, []).append(test.wall)
    lines = [f"{'folder':<24} {'tests':>6} {'seconds':>8}"]
    lines += [f"{folder:<24} {len(each):>6} {sum(each):>8.1f}" for folder, each in walls.items()]
    lines += [f"{'all':<24} {len(tests):>6} {sum(test.wall for test in tests):>8.1f}"]
    lines += ["", "slowest tests, seconds from start to end"]
    slowest = sorted(tests, key=lambda test: -test.own)[:SLOWEST]
    return "\n".join([*lines, *(f"{test.own:>8.1f}  {test.name}" for test in slowest)])


def failures(tests: list[Test]) -> str:
    """The tests that failed, a line each, and why; empty if all passed."""
    failed = [test for test in tests if test.failure]
    lines = [f"  {test.name}: {test.failure}" for test in failed[:FAILURES]]
    if len(failed) > FAILURES:
        lines.append(f"  and {len(failed) - FAILURES} more")
    return "\n".join(lines)
