"""Cutting a replica off from the other members, and nothing else: its clients and its probes still reach it."""

from __future__ import annotations

import os
import subprocess

from tests.integration import process

_TABLE = "inet galera-backup-tests"
_PORTS = "{ 4567, 4568, 4444 }"
"""Group communication, incremental and full state transfer."""
_RULES = f"""\
table {_TABLE} {{
  chain in {{
    type filter hook input priority filter; policy accept;
    tcp dport {_PORTS} drop
    tcp sport {_PORTS} drop
  }}
  chain out {{
    type filter hook output priority filter; policy accept;
    tcp dport {_PORTS} drop
    tcp sport {_PORTS} drop
  }}
}}
"""


class Partition:
    """Packet rules inside of a pod's own network: they end with the pod at the latest.

    Dropped packets, unlike `gmcast.isolate`, are what a broken network looks like: the members find out by timeouts.
    """

    def __init__(self) -> None:
        self._network: int | None = None

    def cut_off(self, pod: str) -> None:
        """From now on no member hears the pod, and it hears none."""
        assert self._network is None, "one pod at a time"
        # By descriptor: the server may get another pid before it is healed.
        self._network = os.open(f"/proc/{process.server_of(pod)}/ns/net", os.O_RDONLY)
        self._nft(_RULES)

    def heal(self) -> None:
        """They hear each other again."""
        if self._network is not None:
            self._nft(f"delete table {_TABLE}\n")
            os.close(self._network)
            self._network = None

    def _nft(self, rules: str) -> None:
        assert self._network is not None
        subprocess.run(
            ["nsenter", f"--net=/proc/self/fd/{self._network}", "nft", "-f", "-"],
            input=rules.encode(),
            pass_fds=[self._network],
            check=True,
            timeout=10,
        )
