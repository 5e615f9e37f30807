"""A pod of a backup looks whether its tools fit the replica's server and reach it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from galera_backup.failure import AgentError
from galera_backup.models.jobs import CheckJob
from galera_backup.runner import agent, handshake
from galera_backup.runner.greeting import check_server
from galera_backup.runner.places import Places
from tests.unit.runner.pod import CLUSTER, Pod, failure

TOOL = "mariadb-backup based on MariaDB server 10.11.19-MariaDB debian-linux-gnu (x86_64)"


def greeting(version: str) -> bytes:
    payload = b"\x0a" + version.encode() + b"\x00" + bytes(40)
    return len(payload).to_bytes(3, "little") + b"\x00" + payload


@contextmanager
def listening(packet: bytes, refused: int = 0) -> Iterator[tuple[str, int]]:
    """A server that sends this to everybody; it closes the first `refused` connections at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for number in range(refused + 1):
                connection, _ = server.accept()
                with connection:
                    if number == refused:
                        for byte in packet:  # as a network may cut it
                            connection.sendall(bytes([byte]))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()


def places(address: tuple[str, int]) -> Places:
    host, port = address
    return Places.from_environment({handshake.HOST_VARIABLE: host, handshake.PORT_VARIABLE: str(port)})


@pytest.mark.parametrize("version", ["5.5.5-10.11.19-MariaDB-log", "10.11.6-MariaDB", "11.4.5-3-MariaDB-enterprise"])
def test_tools_of_the_servers_series(version: str) -> None:
    tool = TOOL if "10.11" in version else TOOL.replace("10.11.19", "11.4.9")
    with listening(greeting(version)) as address:
        check_server(places(address), tool)


@pytest.mark.parametrize("version", ["11.4.5-MariaDB", "5.5.5-10.6.19-MariaDB", "8.0.36"])
def test_tools_of_another_series(version: str) -> None:
    with listening(greeting(version)) as address, pytest.raises(AgentError) as failed:
        check_server(places(address), TOOL)
    assert failed.value.error.type == "VersionMismatch"
    assert "10.11.19" in str(failed.value)
    assert version in str(failed.value)


def test_a_network_that_takes_its_time() -> None:
    with listening(greeting("10.11.19-MariaDB"), refused=2) as address:
        check_server(places(address), TOOL)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    with pytest.raises(AgentError, match=r"from a runner pod: .*refused; the worker can") as failed:
        check_server(places(address), TOOL, patience=timedelta(0))
    assert failed.value.error.type == "RunnerFailed"


def test_a_server_that_refuses_the_host() -> None:
    payload = b"\xff\x69\x04Host '10.0.0.9' is blocked"
    packet = len(payload).to_bytes(3, "little") + b"\x00" + payload
    with listening(packet) as address, pytest.raises(AgentError, match="is blocked"):
        check_server(places(address), TOOL)


def test_a_look_before_a_backup(pod: Pod) -> None:
    with listening(greeting("10.11.19-MariaDB")) as address:
        pod.server = address
        report = pod.run(CheckJob(cluster=CLUSTER, before_backup=True)).report
    assert report is not None
    assert report.manifest is None
    with listening(greeting("10.11.19-MariaDB")) as address:
        pod.server = address
        kind, _ = failure(pod.run(CheckJob(cluster=CLUSTER, before_backup=True), FAKE_VERSION="11.4.1"))
    assert kind == "VersionMismatch"
    with listening(greeting("10.11.19-MariaDB")) as address:
        pod.server = address
        kind, message = failure(pod.run(CheckJob(cluster=CLUSTER, before_backup=True), FAKE_FAULT="log_in"))
    assert kind == "DatabaseRefused"
    assert "Access denied for user 'backup'@'10.1.0.9'" in message
    assert "--host=" in (pod.fake / "client_arguments").read_text()


def test_a_look_without_the_backup_volume(pod: Pod) -> None:
    places = pod.places()
    for path in sorted(places.backup_root.rglob("*"), reverse=True):
        path.rmdir()
    places.backup_root.rmdir()
    report = agent.run(CheckJob(cluster=CLUSTER, without_backups=True), places)
    assert report.backup_free_kb == 0
    assert report.data_free_kb > 0
