"""Connections to MariaDB: encrypted where the server offers it, and cheap to make."""

from __future__ import annotations

import socket
import struct
import threading
from unittest import mock

import pytest
from pymysql.constants import CLIENT

from galera_backup.credentials import Credentials
from galera_backup.errors import DatabaseUnavailable
from galera_backup.mysql.gateway import Endpoint, MysqlGateway

_OFFERS = CLIENT.PROTOCOL_41 | CLIENT.SECURE_CONNECTION | CLIENT.PLUGIN_AUTH


def _greeting(capabilities: int) -> bytes:
    low, high = capabilities & 0xFFFF, capabilities >> 16
    body = b"\x0a11.4.2-MariaDB\0" + struct.pack("<I", 7) + b"12345678\0"
    body += struct.pack("<HBHHB", low, 45, 2, high, 21) + bytes(10) + b"123456789012\0mysql_native_password\0"
    return struct.pack("<I", len(body))[:3] + b"\0" + body


class _Server:
    """Greets one client, and keeps the flags of its answer."""

    def __init__(self, offers: int) -> None:
        self.flags = 0
        self._offers = offers
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with self._listening, self._listening.accept()[0] as client:
            client.sendall(_greeting(self._offers))
            answer = client.recv(4096)
            self.flags = int(struct.unpack("<I", answer[4:8])[0])


@pytest.mark.parametrize("offered", [CLIENT.SSL, 0])
def test_tls_where_the_server_offers_it(offered: int) -> None:
    server = _Server(_OFFERS | offered)
    endpoint = Endpoint("n", "mariadb-server-0", "127.0.0.1", Credentials("user", "password"), port=server.port)
    with pytest.raises(DatabaseUnavailable), mock.patch("ssl.create_default_context") as reads_certificates:
        MysqlGateway().now(endpoint)
    server.thread.join(10)
    assert server.flags & CLIENT.SSL == offered
    assert server.flags & CLIENT.PROTOCOL_41
    reads_certificates.assert_not_called()
