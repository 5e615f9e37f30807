"""What clients and an independent eye see of a site: a steady writer, and the wsrep state of each member over time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pymysql
from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

from tests.chaos.site import JOURNAL, PODS, Site, connect

_TROUBLE = (pymysql.MySQLError, OSError, ApiException, HTTPError)
_WRITE_EVERY = 0.1
_LOOK_EVERY = 0.25
_OUTAGE = 5.0
"""Seconds: no single replica that goes away keeps the writer for so long, a cluster that is stopped does."""


@dataclass
class Rows:
    """Ids that a client was told are committed, and when. A write that got no answer counts for neither."""

    committed: list[tuple[int, float]] = field(default_factory=list)
    interruptions: list[tuple[float, float]] = field(default_factory=list)
    """From the last answer to the next one, where a write failed in between; seconds of `time.time`."""

    def longest_interruption(self, begin: float, end: float) -> tuple[float, float] | None:
        """Of those that touch the time between two moments."""
        return max(self._touching(begin, end), key=lambda span: span[1] - span[0], default=None)

    def resumed_after(self, begin: float, end: float, *, stops: Sequence[float] = (), last: bool = False) -> float:
        """The first answered write after an outage: the one in which the cluster was stopped at one of these moments.

        Without such a one the longest interruption: a server that is killed may halt its group as long.
        `last`: after the last that was an outage.
        """
        spans = self._touching(begin, end)
        spans = [span for span in spans if any(span[0] <= stop <= span[1] for stop in stops)] or spans
        outages = [span for span in spans if span[1] - span[0] > _OUTAGE]
        if not spans:
            return end
        return (outages[-1] if last and outages else max(spans, key=lambda span: span[1] - span[0]))[1]

    def _touching(self, begin: float, end: float) -> list[tuple[float, float]]:
        return [(first, last) for first, last in self.interruptions if last > begin and first < end]


@dataclass(frozen=True)
class History:
    """The times whose committed rows belong to what the cluster holds now; a restore cuts some out."""

    spans: tuple[tuple[float, float], ...] = ((0.0, math.inf),)

    def until(self, moment: float) -> History:
        """What of it was before this moment."""
        return History(tuple((first, min(last, moment)) for first, last in self.spans if first < moment))

    def since(self, moment: float) -> History:
        """What of it is after this moment."""
        return History(tuple((max(first, moment), last) for first, last in self.spans if last > moment))

    def then(self, moment: float) -> History:
        """Followed by all that comes from this moment on."""
        return History((*self.spans, (moment, math.inf)))

    def rows(self, rows: Rows) -> set[int]:
        """Ids of the rows that a client was told were committed in it."""
        return {row for row, at in rows.committed if any(first <= at < last for first, last in self.spans)}


class Writer:
    """A client of the Service `mariadb` that commits rows all the time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._address = ""
        self._stop = threading.Event()
        self._pause = threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._next = int(time.time() * 1000)
        self.rows = Rows()

    def start(self) -> None:
        """Begin to write."""
        self._address = self._site.service_address("mariadb")
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def pause(self) -> None:
        """Write nothing until `resume`; returns when no write is under way."""
        self._idle.clear()
        self._pause.set()
        self._idle.wait(30)

    def resume(self) -> None:
        """Write again."""
        self._pause.clear()

    def _run(self) -> None:
        connection = None
        last, broken = time.time(), False
        while not self._stop.is_set():
            if self._pause.is_set():
                self._idle.set()
                last = time.time()
                self._stop.wait(0.05)
                continue
            try:
                connection = connection or connect(self._address)
                self._next += 1
                with connection.cursor() as cursor:
                    cursor.execute(f"INSERT INTO {JOURNAL} VALUES (%s, REPEAT('x', 100))", (self._next,))
            except _TROUBLE:
                broken = True
                if connection is not None:
                    with suppress(*_TROUBLE):
                        connection.close()
                connection = None
                self._stop.wait(0.1)
            else:
                now = time.time()
                if broken:
                    self.rows.interruptions.append((last, now))
                last, broken = now, False
                self.rows.committed.append((self._next, now))
                self._stop.wait(_WRITE_EVERY)


@dataclass(frozen=True)
class Change:
    """From this moment on a member was seen so: `synced`, `desynced` (wsrep_desync=ON), `other` or `down`."""

    at: float
    state: str


class MemberWatch:
    """The state of one member over time, asked over a connection of its own."""

    def __init__(self, site: Site, pod: str) -> None:
        self._site, self._pod = site, pod
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.changes: list[Change] = []

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()

    def _run(self) -> None:
        connection = None
        while not self._stop.is_set():
            try:
                connection = connection or self._site.connect(self._pod)
                with connection.cursor() as cursor:
                    cursor.execute(
                        "SELECT @@global.wsrep_desync, variable_value FROM information_schema.global_status"
                        " WHERE variable_name = 'wsrep_local_state_comment'"
                    )
                    desync, state = cursor.fetchone() or (0, "")
                seen = "desynced" if int(desync) else "synced" if state == "Synced" else "other"
                self._note(seen)
                self._stop.wait(_LOOK_EVERY)
            except _TROUBLE:
                self._note("down")
                if connection is not None:
                    with suppress(*_TROUBLE):
                        connection.close()
                connection = None
                self._stop.wait(0.5)

    def _note(self, state: str) -> None:
        if not self.changes or self.changes[-1].state != state:
            self.changes.append(Change(time.time(), state))

    def seconds_desynced(self, begin: float, end: float) -> float:
        """How long wsrep_desync was seen ON between two moments."""
        total, changes = 0.0, list(self.changes)
        for change, following in zip(changes, [*changes[1:], Change(end, "")], strict=True):
            if change.state == "desynced":
                total += max(0.0, min(following.at, end) - max(change.at, begin))
        return round(total, 2)

    def is_desynced(self, begin: float, end: float) -> bool:
        """Whether wsrep_desync was seen ON all the time between two moments."""
        state = "down"
        for change in list(self.changes):
            if change.at > end:
                break
            if change.at > begin and state != "desynced":
                return False
            state = change.state
        return state == "desynced"

    def synced_after(self, moment: float) -> float | None:
        """When it was first seen in sync at or after this moment."""
        state = "down"
        for change in list(self.changes):
            if change.at > moment:
                if state == "synced":
                    return moment
                if change.state == "synced":
                    return change.at
            state = change.state
        return moment if state == "synced" else None


class Watch:
    """The writer and the member watches of a site."""

    def __init__(self, site: Site) -> None:
        self.writer = Writer(site)
        self.members = {pod: MemberWatch(site, pod) for pod in PODS}

    def start(self) -> None:
        """Begin."""
        self.writer.start()
        for member in self.members.values():
            member.start()

    def stop(self) -> None:
        """End."""
        self.writer.stop()
        for member in self.members.values():
            member.stop()
