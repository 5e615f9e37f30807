"""Integration tests beside each other: several pytest processes, each with a Galera cluster of its own.

The process that pytest was started in runs no test of this folder itself. It gives groups of tests to its lanes, and
reports what they report, so that one run counts and shows all of it. A test says by a fixture what it needs:
`stack_cluster` the cluster of dev/up, `alone` that no other test runs; otherwise any cluster will do. The tests of a
module with the mark `together` run one after another on one cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pytest

from dev.stack import paths
from dev.tools.times import OWN_SECONDS

SMALL = 3
"""Clusters beside the one of the stack: more only wait for the two processors."""
CHANNEL = "GALERA_TEST_CHANNEL"
"""File descriptor on which a lane is told what to run, and reports."""
NAMESPACE = "GALERA_TEST_NAMESPACE"
"""Of the lane's own small cluster; without it the cluster is the one of the stack."""
ON_STACK, ALONE = "stack_cluster", "alone"
_END_SECONDS = 120


def is_lane() -> bool:
    """Whether this process was started to run what another one gives to it."""
    return CHANNEL in os.environ


@dataclass(frozen=True)
class Group:
    """Tests that run one after another on one cluster."""

    tests: tuple[str, ...]
    on_stack: bool
    alone: bool


def groups_of(items: Iterable[pytest.Item]) -> list[Group]:
    """In the order of the items, one for each test, and one for each module that has the mark `together`."""
    found: dict[str, list[pytest.Item]] = {}
    for item in items:
        found.setdefault(str(item.path) if item.get_closest_marker("together") else item.nodeid, []).append(item)
    return [
        Group(
            tuple(item.nodeid for item in tests),
            on_stack=any(ON_STACK in _fixtures(item) for item in tests),
            alone=any(runs_alone(item) for item in tests),
        )
        for tests in found.values()
    ]


def runs_alone(item: pytest.Item) -> bool:
    """Whether no other test may run meanwhile."""
    return ALONE in _fixtures(item)


def _fixtures(item: pytest.Item) -> list[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else []


class Queue:
    """Which lane runs which group when."""

    def __init__(self, groups: Iterable[Group], others: int = 0) -> None:
        self._waiting = list(groups)
        self._others = others
        self._running = 0
        self._alone = False
        self._changed = threading.Condition()

    def next(self, *, has_stack: bool) -> Group | None:
        """The group for a lane that is free, as soon as it may run; None when none is left for it.

        What needs the stack's cluster comes first there: nobody else can take it. What runs alone is for that lane too,
        when the other ones have removed their clusters.
        """
        with self._changed:
            while True:
                fit = [group for group in self._waiting if has_stack or not (group.on_stack or group.alone)]
                if not fit:
                    return None
                first = next((group for group in fit if group.on_stack and not group.alone), fit[0])
                if not self._alone and (not first.alone or self._running == self._others == 0):
                    self._waiting.remove(first)
                    self._running += 1
                    self._alone = first.alone
                    return first
                self._changed.wait()

    def done(self) -> None:
        """A group has ended."""
        with self._changed:
            self._running -= 1
            self._alone = False
            self._changed.notify_all()

    def left(self) -> None:
        """One of the other lanes has ended, and removed its cluster."""
        with self._changed:
            self._others -= 1
            self._changed.notify_all()

    def stop(self) -> list[str]:
        """Give out none any more; the tests that have not begun."""
        with self._changed:
            tests = [test for group in self._waiting for test in group.tests]
            self._waiting.clear()
            self._changed.notify_all()
            return tests


@dataclass
class Outcomes:
    """What the lanes have reported, by test."""

    _reports: dict[str, list[Any]] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, test: str, report: Any) -> None:
        """One of the reports of a test; that of its teardown is the last."""
        with self._changed:
            self._reports.setdefault(test, []).append(report)
            if report["when"] == "teardown":
                self._ended.add(test)
            self._changed.notify_all()

    def end(self, tests: Iterable[str]) -> None:
        """Nothing more comes of these."""
        with self._changed:
            self._ended.update(tests)
            self._changed.notify_all()

    def wait_for(self, test: str) -> list[Any]:
        """All reports of a test, when it has ended; none when its lane has ended without it."""
        with self._changed:
            while test not in self._ended:
                self._changed.wait(1)  # and let a signal be handled
            return self._reports.get(test, [])


class Lane(threading.Thread):
    """One pytest process and the thread that talks to it."""

    def __init__(self, namespace: str, tests: Iterable[str], queue: Queue, outcomes: Outcomes) -> None:
        super().__init__(name=namespace or "stack", daemon=True)
        self._queue = queue
        self._outcomes = outcomes
        self._has_stack = not namespace
        self.log = paths.LOGS / f"integration-{self.name}.log"
        self._channel, theirs = socket.socketpair()
        environment = {**os.environ, CHANNEL: str(theirs.fileno()), NAMESPACE: namespace}
        files = sorted({test.partition("::")[0] for test in tests})
        with self.log.open("wb") as output, theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *files],
                cwd=paths.CHECKOUT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def run(self) -> None:
        """Give it groups until none is left or it ends."""
        try:
            self._run_groups()
        finally:
            if not self._has_stack:
                self.end()
                self._queue.left()

    def _run_groups(self) -> None:
        with self._channel, self._channel.makefile("rw", encoding="utf-8") as channel:
            while (group := self._queue.next(has_stack=self._has_stack)) is not None:
                alive = self._run_group(group, channel)
                self._outcomes.end(group.tests)
                self._queue.done()
                if not alive:
                    # What only this one could have run would be waited for without end.
                    self._outcomes.end(self._queue.stop())
                    return

    def _run_group(self, group: Group, channel: TextIO) -> bool:
        """Whether the process lives after it."""
        with contextlib.suppress(OSError):
            channel.write(json.dumps(group.tests) + "\n")
            channel.flush()
            for line in channel:
                message = json.loads(line)
                if message is None:
                    return True
                self._outcomes.add(message["nodeid"], message)
        return False

    def end(self) -> None:
        """It ends when nothing more comes, and removes its cluster; it is told to when it does not."""
        for signal_ in (None, signal.SIGINT, signal.SIGKILL):
            if signal_ is not None:
                self.process.send_signal(signal_)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_END_SECONDS)
                return


class Lanes:
    """The plugin of the process that pytest was started in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tests: list[pytest.Item] = []
        self._lanes: list[Lane] = []
        self._queue = Queue([])
        self._outcomes = Outcomes()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What was chosen; the lanes have the time limits."""
        self._tests = [item for item in session.items if item.path.parent == self._folder]
        for item in self._tests:
            item.add_marker(pytest.mark.timeout(0), append=False)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Report what a lane has reported."""
        if item.path.parent != self._folder:
            return None
        if not self._lanes:
            self._start()
        began = time.monotonic()
        found = self._outcomes.wait_for(item.nodeid)
        hook = item.config.hook
        reports = [hook.pytest_report_from_serializable(config=item.config, data=each) for each in found]
        reports = reports or [_without_report(item)]
        own = sum(report.duration for report in reports)
        waited = time.monotonic() - began
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in reports:
            report.user_properties = [*report.user_properties, (OWN_SECONDS, f"{own:.3f}")]
            # In the time of the run a test has what was left to wait for it.
            report.duration, waited = waited, 0
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _start(self) -> None:
        groups = groups_of(self._tests)
        tests = [test for group in groups for test in group.tests]
        small = max(0, min(SMALL, sum(not (group.on_stack or group.alone) for group in groups) - 1))
        self._queue = Queue(groups, others=small)
        namespaces = ["", *(f"integration-{number}" for number in range(1, small + 1))]
        self._lanes = [Lane(namespace, tests, self._queue, self._outcomes) for namespace in namespaces]
        for lane in self._lanes:
            lane.start()

    def pytest_keyboard_interrupt(self) -> None:
        """For all of them."""
        for lane in self._lanes:
            lane.process.send_signal(signal.SIGINT)

    def pytest_sessionfinish(self) -> None:
        """Let the lanes remove what they have made."""
        self._queue.stop()
        for lane in self._lanes:
            lane.end()


def _without_report(item: pytest.Item) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="failed",
        longrepr=f"its lane ended without a report: see {paths.LOGS}/integration-*.log",
        when="call",
    )


class Member:
    """The plugin of a lane's process."""

    def __init__(self) -> None:
        channel = socket.socket(fileno=int(os.environ[CHANNEL]))
        self._channel = channel.makefile("rw", encoding="utf-8")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run what comes until nothing more comes."""
        items = {item.nodeid: item for item in session.items}
        for line in self._channel:
            chosen = [items[test] for test in json.loads(line)]
            for item, following in zip(chosen, self._followers(chosen, session.items), strict=True):
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self._send(None)
        return True

    @staticmethod
    def _followers(chosen: list[pytest.Item], items: list[pytest.Item]) -> Iterator[pytest.Item]:
        """What comes after each: after the last, something of another module, so that the fixtures of this one end."""
        yield from chosen[1:]
        yield next((item for item in items if item.path != chosen[-1].path), chosen[-1])

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hand it on."""
        self._send(self._config.hook.pytest_report_to_serializable(config=self._config, report=report))

    def pytest_configure(self, config: pytest.Config) -> None:
        """Reports are written by what the configuration knows."""
        self._config = config

    def _send(self, message: object) -> None:
        self._channel.write(json.dumps(message) + "\n")
        self._channel.flush()
