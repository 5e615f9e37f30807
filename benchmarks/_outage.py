"""What a restore does to a cluster's users: when nobody could write, when its pods were back, what room it took."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kubernetes.client import ApiClient, ApiException, AppsV1Api, CoreV1Api
from pymysql.connections import Connection
from urllib3.exceptions import HTTPError

from benchmarks._load import CLUSTER, REPLICAS, SCHEMA, connect_to
from dev.stack import settings, volumes
from galera_backup.kube.facts import pod_facts

JOURNAL = f"{SCHEMA}.journal"
MEMBERS = "application=mariadb,component=server"
INTERRUPTION = 1.0
"""Seconds without a write that count beside the outage itself: a client's timeout."""


@dataclass(frozen=True)
class Look:
    """The StatefulSet at one moment."""

    at: float
    replicas: int
    """That it is asked for."""
    pods: int
    ready: int
    first_ready: bool


@dataclass(frozen=True)
class Outage:
    """Moments of one restore, of time.monotonic(). None: there was none, as where the pods are never all gone."""

    begun: float
    last_write: float
    gone: float | None
    scaled_back: float | None
    first_ready: float | None
    first_write: float
    all_ready: float
    ended: float
    other_interruptions: float
    """Seconds, without the outage itself."""

    @property
    def seconds(self) -> float:
        return self.first_write - self.last_write

    @property
    def start(self) -> float | None:
        """Seconds from the scale up to the first write."""
        return _between(self.scaled_back, self.first_write)

    def figures(self) -> dict[str, float | None]:
        """Rows of the table."""
        return {
            "outage: last write to first write, s": self.seconds,
            "stop: last write to all pods gone, s": _between(self.last_write, self.gone),
            "restore or swap: to the scale up, s": _between(self.gone, self.scaled_back),
            "start: scale up to first write, s": self.start,
            "of that, after ordinal 0 was Ready, s": _between(self.first_ready, self.first_write),
            "first write to all Ready, s": _between(self.first_write, self.all_ready),
            "last write to all Ready, s": _between(self.last_write, self.all_ready),
            "whole operation, s": _between(self.begun, self.ended),
            "other interruptions, s": self.other_interruptions,
        }


def outage(writes: Sequence[float], looks: Sequence[Look], begun: float, ended: float, replicas: int) -> Outage:
    """The longest time without a write, and what was seen around it.

    Needs a write before `begun` and one after the outage, and a last look that shows all replicas Ready.
    """
    gaps = [(last, first) for last, first in itertools.pairwise(writes) if first > begun]
    last_write, first_write = max(gaps, key=lambda gap: gap[1] - gap[0])
    others = [first - last for last, first in gaps if last != last_write and first - last > INTERRUPTION]
    gone = _first(looks, last_write, lambda look: look.pods == 0)
    scaled_back = _first(looks, gone, lambda look: look.replicas > 0)
    return Outage(
        begun=begun,
        last_write=last_write,
        gone=gone,
        scaled_back=scaled_back,
        first_ready=_first(looks, scaled_back, lambda look: look.first_ready),
        first_write=first_write,
        all_ready=_ready_for_good(looks, begun, replicas),
        ended=ended,
        other_interruptions=sum(others),
    )


def _first(looks: Sequence[Look], after: float | None, seen: Callable[[Look], bool]) -> float | None:
    if after is None:
        return None
    return next((look.at for look in looks if look.at >= after and seen(look)), None)


def _ready_for_good(looks: Sequence[Look], begun: float, replicas: int) -> float:
    ready = begun
    for before, look in itertools.pairwise(looks):
        if before.ready < replicas <= look.ready:
            ready = look.at
    return ready


def _between(begun: float | None, ended: float | None) -> float | None:
    return None if begun is None or ended is None else ended - begun


# --- those who look, and write


@contextmanager
def repeated(once: Callable[[], None], every: float) -> Iterator[None]:
    """Do it in a thread of its own, so many seconds from begin to begin, while the block runs."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            began = time.monotonic()
            once()
            stop.wait(max(0.0, began + every - time.monotonic()))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


class Writer:
    """A client of a Service: it writes a row over the connection that it has, or over a new one after a failure."""

    def __init__(self, address: str) -> None:
        self.writes: list[float] = []
        """When each was answered."""
        self._address = address
        self._connection: Connection[Any] | None = None

    def write(self) -> None:
        try:
            if self._connection is None:
                self._connection = connect_to(self._address, 1)
            with self._connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {JOURNAL} () VALUES ()")
        except Exception:  # whatever it was, it was no write
            self.disconnect()
        else:
            self.writes.append(time.monotonic())

    def disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
        self._connection = None

    def wait(self, writes: int, within: float) -> None:
        """Until it has written so many rows from now on."""
        deadline, wanted = time.monotonic() + within, len(self.writes) + writes
        while len(self.writes) < wanted:
            if time.monotonic() > deadline:
                raise SystemExit(f"the client of the primary's Service could not write {writes} rows in {within:.0f} s")
            time.sleep(0.1)


class Pods:
    """Looks at the StatefulSet and its pods."""

    def __init__(self, api_client: ApiClient) -> None:
        self.looks: list[Look] = []
        self._core, self._apps = CoreV1Api(api_client), AppsV1Api(api_client)

    def look(self) -> None:
        try:
            statefulset = self._apps.read_namespaced_stateful_set(CLUSTER.statefulset, CLUSTER.namespace)
            found = self._core.list_namespaced_pod(CLUSTER.namespace, label_selector=MEMBERS).items
        except (ApiException, HTTPError):
            return
        ready = {facts.name for facts in map(pod_facts, found) if facts.ready}
        replicas = statefulset.spec.replicas
        self.looks.append(Look(time.monotonic(), replicas, len(found), len(ready), REPLICAS[0] in ready))


class Room:
    """Watches how much more of each volume is used than at the beginning."""

    def __init__(self) -> None:
        self._before = used()
        self._peak = dict(self._before)

    def look(self) -> None:
        self._peak = {claim: max(now, self._peak[claim]) for claim, now in used().items()}

    def figures(self) -> dict[str, float | None]:
        """Rows of the table."""
        extra = {claim: (peak - self._before[claim]) / 1e9 for claim, peak in self._peak.items()}
        on_backups = extra.pop(settings.BACKUP_CLAIM)
        return {
            "extra room on a data volume, GB": max(extra.values()),
            "extra room on the backup volume, GB": on_backups,
        }


def used() -> dict[str, int]:
    """Bytes, by claim."""
    return {volume.claim: shutil.disk_usage(volume.mount).used for volume in volumes.all_volumes()}
