"""Small proxies between a site's worker and its servers, which misbehave when they are told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Literal

import urllib3
from urllib3.exceptions import HTTPError

from dev.stack import certificates, settings
from tests.chaos.site import Site

ApiMode = Literal["pass", "429", "500", "hang", "drop"]
DatabaseMode = Literal["pass", "hang", "drop"]

_ANSWERS = {
    "429": b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}
_OF_CONNECTION = {"connection", "content-length", "transfer-encoding"}
_HANGING = 60
"""Seconds; longer than any client waits."""
_at_work: set[asyncio.Task[None]] = set()
"""The loop itself holds its tasks by weak references."""


def _kept() -> None:
    task = asyncio.current_task()
    assert task is not None
    _at_work.add(task)
    task.add_done_callback(_at_work.discard)


class ApiProxy:
    """In front of the API server: plain HTTP inside, the admin's certificate outside."""

    def __init__(self, site: Site) -> None:
        self.mode: ApiMode = "pass"
        self.refused = 0
        """Requests that it has spoilt."""
        self.kubeconfig = site.control / "kubeconfig"
        self._server: asyncio.Server | None = None
        self._pool = urllib3.HTTPSConnectionPool(
            settings.NODE_IP,
            settings.API_PORT,
            maxsize=16,
            timeout=_HANGING,
            retries=False,
            ca_certs=str(certificates.certificate("ca")),
            cert_file=str(certificates.certificate("admin")),
            key_file=str(certificates.key("admin")),
        )
        """Keeps its connections: one handshake for each request took a seventh of the harness's time."""

    async def start(self) -> None:
        """Listen, and write a kubeconfig that leads here."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 22)
        port = self._server.sockets[0].getsockname()[1]
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
            "current-context": "proxy",
        }
        self.kubeconfig.write_text(json.dumps(document))

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _kept()
        with contextlib.suppress(OSError, HTTPError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_length(head))
            mode = self.mode
            if mode == "pass":
                writer.write(await asyncio.to_thread(self._answer, head, body))
                await writer.drain()
            else:
                self.refused += 1
            if mode == "hang":
                await asyncio.sleep(_HANGING)
            if mode == "drop":  # the effect is there, its answer is lost
                await asyncio.to_thread(self._answer, head, body)
            if mode in _ANSWERS:
                writer.write(_ANSWERS[mode])
                await writer.drain()
        writer.close()

    def _answer(self, head: bytes, body: bytes) -> bytes:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines if line)
        answer = self._pool.urlopen(method, target, body, headers, decode_content=False)
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_CONNECTION}
        kept |= {"Content-Length": str(len(answer.data)), "Connection": "close"}
        told = [f"HTTP/1.1 {answer.status} {answer.reason}", *(f"{name}: {value}" for name, value in kept.items())]
        return "\r\n".join([*told, "", ""]).encode("latin-1") + answer.data


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


class DatabaseProxy:
    """In front of the members; a connection's first line says where it wants to go."""

    def __init__(self) -> None:
        self.mode: DatabaseMode = "pass"
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _kept()
        with contextlib.suppress(OSError, ValueError):
            host, port = (await reader.readline()).decode().split()
            mode = self.mode
            if mode == "hang":
                await asyncio.sleep(_HANGING)
            upstream, sender = await asyncio.open_connection(host, int(port))
            # Dropped after the third thing that the client sends: login, its settings, and then a statement.
            limit = 3 if mode == "drop" else 0
            await asyncio.wait(
                [
                    asyncio.ensure_future(_pump(reader, sender, limit)),
                    asyncio.ensure_future(_pump(upstream, writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
            sender.close()
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int = 0) -> None:
    count = 0
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
            count += 1
            if count == limit:
                return
