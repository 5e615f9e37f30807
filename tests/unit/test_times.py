"""What `dev/test` tells at its end: the table of times, and what failed."""

from __future__ import annotations

from pathlib import Path

from dev.tools import times

_REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite tests="3">
<testcase classname="tests.unit.test_a" name="test_one" time="0.5"/>
<testcase classname="tests.workflows.test_b" name="test_first[x]" time="30.0">
<properties><property name="seconds" value="12.000"/></properties></testcase>
<testcase classname="tests.workflows.test_b" name="test_second" time="0.1">
<properties><property name="seconds" value="30.100"/></properties></testcase>
</testsuite></testsuites>
"""


def test_folders_have_their_wall_clock_and_tests_their_own_time(tmp_path: Path) -> None:
    report = tmp_path / "tests.xml"
    report.write_text(_REPORT)
    lines = times.table(times.read(report)).splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["tests/unit", "1", "0.5"],
        ["tests/workflows", "2", "30.1"],
        ["all", "3", "30.6"],
    ]
    assert [line.split() for line in lines[-3:]] == [
        ["30.1", "tests.workflows.test_b.test_second"],
        ["12.0", "tests.workflows.test_b.test_first[x]"],
        ["0.5", "tests.unit.test_a.test_one"],
    ]


def test_what_failed_is_told_with_the_first_line_of_why(tmp_path: Path) -> None:
    failed = '<failure message="AssertionError: 1 is not 2&#10;assert 1 == 2">whole</failure>'
    case = '<testcase classname="tests.unit.test_a" name="test_{}" time="0.1">{}</testcase>'
    many = "".join(case.format(each, failed) for each in range(times.FAILURES + 2))
    report = tmp_path / "tests.xml"
    report.write_text(_REPORT.replace("</testsuite>", many + "</testsuite>"))
    lines = times.failures(times.read(report)).splitlines()
    assert lines[0] == "  tests.unit.test_a.test_0: AssertionError: 1 is not 2"
    assert lines[-1] == "  and 2 more"
    assert len(lines) == times.FAILURES + 1
    report.write_text(_REPORT)
    assert times.failures(times.read(report)) == ""


def test_no_report_is_no_table(tmp_path: Path) -> None:
    assert times.read(tmp_path / "tests.xml") == []
