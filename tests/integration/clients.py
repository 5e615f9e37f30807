"""What goes on beside an operation: clients that read and write, watches, a controller of the cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import kubernetes
import pymysql
from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

from tests.integration.galera import FIRST, NAMESPACE, Galera, connect, ready_pods

JOURNAL = "integration.journal"
DISASTER = (
    "DROP TABLE cinder.attachment; UPDATE keystone.account SET email = CONCAT('lost-', id);"
    f"DELETE FROM glance.chunk WHERE image_id < 20; TRUNCATE {JOURNAL};"
)


class Background:
    """A thread that does something again and again until it is stopped."""

    def __init__(self, once: Callable[[], None], pause: float) -> None:
        self._once = once
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: BaseException | None = None

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._once()
                self._stop.wait(self._pause)
        except BaseException as error:
            self.error = error

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the block runs; an error of the thread is an error of the test."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(60)
            if self.error is not None:
                raise self.error


@dataclass
class Pings:
    """What a client of a Service saw that asks all the time, each time over a new connection."""

    answered: int = 0
    failures: list[str] = field(default_factory=list)


@contextmanager
def pinging(galera: Galera, service: str) -> Iterator[Pings]:
    """A client of the Service."""
    address, seen = galera.service_address(service), Pings()

    def ping() -> None:
        try:
            connection = connect(address, timeout=3)
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
                    cursor.fetchall()
            finally:
                connection.close()
        except pymysql.MySQLError as error:
            seen.failures.append(f"{time.strftime('%H:%M:%S')} {error}")
        else:
            seen.answered += 1

    with Background(ping, 0.05).running():
        yield seen
    assert seen.answered, seen.failures


@dataclass(frozen=True)
class Row:
    """A row that the server said is committed: its write-set's seqno is above `above`, and at most `at_most`."""

    id: int
    above: int
    at_most: int


@contextmanager
def writing(galera: Galera, pod: str) -> Iterator[list[Row]]:
    """A client of one replica that commits rows and notes the positions between which each was committed."""
    rows: list[Row] = []
    connection = connect(galera.pod(pod).status.pod_ip)

    def last_committed() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE 'wsrep_last_committed'")
            [(_, seqno)] = cursor.fetchall()
        return int(seqno)

    def write() -> None:
        above = rows[-1].at_most if rows else last_committed()
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {JOURNAL} (writer, text) VALUES (%s, REPEAT('x', 200))", (pod,))
            identity = int(cursor.lastrowid)
        rows.append(Row(identity, above, last_committed()))

    try:
        with Background(write, 0.002).running():
            yield rows
    finally:
        connection.close()


class EndpointHistory:
    """Every state of a Service's endpoints, by a watch, so that none is missed."""

    def __init__(self, galera: Galera, service: str) -> None:
        self._galera = galera
        self._service = service
        self.states: list[set[str]] = []

    @contextmanager
    def recording(self) -> Iterator[EndpointHistory]:
        """While the block runs."""
        self.states.append(self._galera.endpoints(self._service))
        watch = kubernetes.watch.Watch()
        stop = threading.Event()

        def record() -> None:
            selector = f"kubernetes.io/service-name={self._service}"
            list_slices = self._galera.discovery.list_namespaced_endpoint_slice
            while not stop.is_set():
                try:
                    for event in watch.stream(list_slices, NAMESPACE, label_selector=selector, timeout_seconds=2):
                        self.states.append(ready_pods(event["object"]))
                except (ApiException, HTTPError):
                    watch.resource_version = None  # too old, newer than the server's cache, or cut: begin with a list

        thread = threading.Thread(target=record, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            watch.stop()
            thread.join(10)


@contextmanager
def controller(galera: Galera, favourite: str) -> Iterator[list[str]]:
    """The cluster's own controller: the primary label is on `favourite` while that is ready, else on the first."""
    moves: list[str] = []

    def reconcile() -> None:
        try:
            wanted = favourite if galera.is_ready(favourite) else FIRST
            roles = galera.roles()
            if roles.get(wanted) != "primary":
                galera.set_role(wanted, "primary")
                for pod, role in roles.items():
                    if pod != wanted and role == "primary":
                        galera.set_role(pod, None)
                moves.append(wanted)
        except (ApiException, HTTPError):
            return

    with Background(reconcile, 0.2).running():
        yield moves
