"""Whether a backup's pod may reach the replica's server and log in, and whether its tools fit.

A server says its version before anybody logs in, so the agent needs no account for that. What would only be found out
when the replica is out of the cluster is found out before.
"""

from __future__ import annotations

import socket
import time
from datetime import timedelta

from galera_backup.failure import AgentError
from galera_backup.runner import handshake
from galera_backup.runner.container import MariadbContainer
from galera_backup.runner.places import Places
from galera_backup.runner.tool import ToolFault, check_fits
from galera_backup.text import bounded

PATIENCE = timedelta(seconds=20)
"""A network plugin may allow a new pod its connections some seconds after it has started."""
_CALL_SECONDS, _PAUSE_SECONDS = 5.0, 0.5
_HEAD = 4
"""Bytes of a packet's head: length and number."""
_GREETING, _ERROR = 10, 255
"""First byte of the packet: version of the protocol, or the server's refusal."""


def check_log_in(container: MariadbContainer) -> None:
    """The account may have another host than the worker's, or an authentication that the image's clients lack.

    Error: `DatabaseRefused`.
    """
    container.tell(handshake.CONNECTED)
    said = container.answer(handshake.LOG_IN)
    if said:
        raise AgentError(
            "DatabaseRefused",
            f"logging in to the replica's server from a runner pod, as mariadb-backup will: {bounded(said, 500)}; the "
            "worker can. Let the account log in from the addresses of pods (its host), with a plugin that the server's "
            "image has for clients",
        )


def check_server(places: Places, tool: str, patience: timedelta = PATIENCE) -> None:
    """`tool`: output of `mariadb-backup --version`. Errors: `RunnerFailed`, `VersionMismatch`."""
    assert places.server is not None, "the pod of this job has the server's address"
    host, port = places.server
    server = _greeting(host, port, time.monotonic() + patience.total_seconds())
    try:
        check_fits(tool, server)
    except ToolFault as fault:
        raise AgentError("VersionMismatch", f"looking at the tools before a backup: {fault}") from fault


def _greeting(host: str, port: int, until: float) -> str:
    """The version that the server says."""
    while True:
        try:
            packet = _packet(host, port)
            break
        except OSError as error:
            if time.monotonic() > until:
                raise AgentError(
                    "RunnerFailed",
                    f"connecting to the replica's server at {host}:{port} from a runner pod: {error}; the worker can. "
                    "mariadb-backup needs that connection: look at NetworkPolicies, and at 'labels' in 'runner'",
                ) from error
        time.sleep(_PAUSE_SECONDS)
    kind, text = (packet[0], packet[1:]) if packet else (_ERROR, b"")
    if kind != _GREETING:
        said = text.decode(errors="replace")
        raise AgentError(
            "RunnerFailed",
            f"connecting to the replica's server at {host}:{port} from a runner pod: expected the greeting of a "
            f"MariaDB server, it said {said[:300]!r}",
        )
    return text.partition(b"\0")[0].decode(errors="replace")


def _packet(host: str, port: int) -> bytes:
    """The first packet, without its head. Error: OSError."""
    with socket.create_connection((host, port), timeout=_CALL_SECONDS) as connection:
        head = _read(connection, _HEAD)
        return _read(connection, int.from_bytes(head[:3], "little"))


def _read(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        block = connection.recv(count - len(found))
        if not block:
            raise ConnectionError("the connection was closed")
        found += block
    return found
