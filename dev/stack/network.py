"""The stack's bridge and the few packet rules beside kube-proxy's. All of it carries our own names."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from dev.stack import paths, settings
from dev.stack.console import run, say, succeeds

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_FORWARD_BEFORE = paths.STATE / "ip-forward-before"
_KUBE_PROXY_TABLES = ("ip", "ip6")


def up() -> None:
    """Make the bridge with the node's address, forwarding, and masquerading for what leaves the bridge."""
    if not succeeds(["ip", "link", "show", settings.BRIDGE]):
        run("network", ["ip", "link", "add", settings.BRIDGE, "type", "bridge"])
        say("network", f"bridge {settings.BRIDGE} made")
    address = f"{settings.NODE_IP}/{settings.SUBNET_PREFIX}"
    run("network", ["ip", "address", "replace", address, "dev", settings.BRIDGE])
    run("network", ["ip", "link", "set", settings.BRIDGE, "up"])
    if _FORWARD.read_text().strip() == "0":
        paths.write_atomic(_FORWARD_BEFORE, "0\n")
        _FORWARD.write_text("1\n")
    if not _BRIDGE_FILTER.exists():
        succeeds(["modprobe", "br_netfilter"])
    if _BRIDGE_FILTER.exists():
        # Without it the answer of a pod to a pod behind a Service address would bypass kube-proxy's translation.
        _BRIDGE_FILTER.write_text("1\n")
    run("network", ["nft", "-f", "-"], stdin=_rules())
    for rule in _forward_rules():
        if not succeeds(["iptables", "-C", *rule]):
            run("network", ["iptables", "-I", *rule])


def down() -> None:
    """Remove the bridge and all rules, also kube-proxy's."""
    succeeds(["nft", "delete", "table", "ip", settings.NFT_TABLE])
    for family in _KUBE_PROXY_TABLES:
        succeeds(["nft", "delete", "table", family, "kube-proxy"])
    for rule in _forward_rules():
        succeeds(["iptables", "-D", *rule])
    _delete_pod_namespaces()
    succeeds(["ip", "link", "delete", settings.BRIDGE])
    if _FORWARD_BEFORE.exists():
        _FORWARD.write_text(_FORWARD_BEFORE.read_text())
        _FORWARD_BEFORE.unlink()


def _delete_pod_namespaces() -> None:
    """Delete the network namespaces of ended pods, found by their interface on our bridge."""
    links = ["ip", "-oneline", "link", "show", "master", settings.BRIDGE]
    if succeeds(links):
        for name in re.findall(r"link-netns (\S+)", run("network", links)):
            succeeds(["ip", "netns", "delete", name])


def cni_configuration() -> str:
    """The CNI network of the pods; addresses are handed out from our own folder."""
    return json.dumps(
        {
            "cniVersion": "0.4.0",
            "name": settings.BRIDGE,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": settings.BRIDGE,
                    "isGateway": True,
                    "ipMasq": False,  # one rule of our own does it: the plugin's rules outlive killed pods
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(paths.CNI_DATA),
                        "ranges": [[{"subnet": settings.SUBNET, "gateway": settings.NODE_IP}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        },
        indent=1,
    )


def forget_addresses() -> None:
    """Drop the pods' address leases; only right while no pod runs."""
    shutil.rmtree(paths.CNI_DATA, ignore_errors=True)


def _rules() -> str:
    table = f"ip {settings.NFT_TABLE}"
    return f"""\
table {table} {{}}
delete table {table}
table {table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {settings.SUBNET} ip daddr != {settings.SUBNET} oifname != "{settings.BRIDGE}" masquerade
  }}
}}
"""


def _forward_rules() -> list[list[str]]:
    """Exceptions where the machine's own firewall drops forwarded packets (a container daemon sets that up)."""
    chain = ["nft", "list", "chain", "ip", "filter", "FORWARD"]
    if not succeeds(chain) or "policy drop" not in run("network", chain):
        return []
    return [["FORWARD", flag, settings.BRIDGE, "-j", "ACCEPT"] for flag in ("-i", "-o")]
