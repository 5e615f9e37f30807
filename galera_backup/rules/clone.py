"""Pure decisions that keep a clone and its source two clusters. They get facts that activities fetched."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from galera_backup.models.clone import NO_UUID, GaleraGroup, GroupMember, Side, Sides
from galera_backup.models.cluster import ClusterObservation

_SCHEME = "gcomm://"
_HOST = re.compile(r"\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*)")
_WAY_OUT = (
    "Give the target its own wsrep_cluster_address, Service and labels, and best its own wsrep_cluster_name. Nothing "
    "was changed"
)


def joined_already(seen: Sides) -> str | None:
    """Why the target is, or would become, a member of the source's group; None: two clusters."""
    found = [*_in_one_group(seen), *_would_join(seen)]
    if not found:
        return None
    return (
        f"cloning {str(seen.source.cluster)!r} into {str(seen.target.cluster)!r}: expected two clusters that do not "
        f"know each other, but {'; '.join(found)}. {_WAY_OUT}"
    )


def target_answers(seen: Sides) -> bool:
    """Whether the group of every member of the target is known."""
    return all(member.group is not None for member in seen.target.members)


def joined_another(seen: Sides, uuid: str, replicas: int) -> str | None:
    """Why a clone that has started is not a cluster of its own with this uuid, or None."""
    target = seen.target
    found = [problem for member in target.members for problem in _not_alone(member, target, uuid, replicas)]
    if not found:
        return None
    return (
        f"cloning {str(seen.source.cluster)!r} into {str(target.cluster)!r}: expected a group of its own, of "
        f"{replicas} members, with wsrep_cluster_state_uuid {uuid}, but {'; '.join(found)}"
    )


def _not_alone(member: GroupMember, target: Side, uuid: str, replicas: int) -> Iterable[str]:
    group = member.group
    if group is None:
        yield f"{member.pod} could not be asked: {member.error}"
        return
    if group.state_uuid != uuid:
        yield f"{member.pod} has wsrep_cluster_state_uuid {group.state_uuid}"
    if group.size != replicas:
        yield f"{member.pod} is in a group of {group.size}"
    others = [host for host in group.incoming if not _belongs(host, target, target)]
    if others:
        yield f"{member.pod} sees the members {', '.join(others)}, which are not the clone's pods"


def in_another_group(seen: ClusterObservation, uuids: Collection[str]) -> str | None:
    """Why a cluster that is starting will never be one with these uuids: a member is in another one; or None."""
    elsewhere = [
        f"{member.pod} is in the one with {member.wsrep.cluster_state_uuid}"
        for member in seen.members
        if member.wsrep is not None
        and member.wsrep.cluster_status == "Primary"
        and member.wsrep.cluster_state_uuid not in (*uuids, NO_UUID)
    ]
    if not elsewhere:
        return None
    return (
        f"starting {str(seen.cluster)!r}: expected all members in the group with wsrep_cluster_state_uuid "
        f"{' or '.join(uuids)}, but "
        f"{', '.join(elsewhere)}. Look at their wsrep_cluster_address, and at what their start script has made of the "
        "data"
    )


def named_in(settings: Iterable[str], source: Side, target: Side) -> tuple[str, ...]:
    """Hosts of the source in the settings of the target's container, which are all that a stopped target shows.

    A word of a command can look like a Service's short name, so only full names count outside of an address.
    """
    hosts = (host for text in settings for host in _hosts(text) if _SCHEME in text or "." in host or ":" in host)
    return tuple(sorted({host for host in hosts if _belongs(host, source, target)}))


def _in_one_group(seen: Sides) -> Iterable[str]:
    """From the groups that the running servers report."""
    target, source = seen.target, seen.source
    uuids = {member.group.state_uuid for member in source.members if member.group is not None}
    for member, group in _asked(target):
        if common := [host for host in group.incoming if _belongs(host, source, target)]:
            yield f"{member.pod} has the source's members {', '.join(common)} in its group"
        if group.size > len(target.members):
            whose = "with the source's uuid" if group.state_uuid in uuids else "with members that are not its pods"
            yield f"{member.pod} is in a group of {group.size}, {whose}; it has {len(target.members)} pods"
    for member, group in _asked(source):
        if common := [host for host in group.incoming if _belongs(host, target, source)]:
            yield f"the source's {member.pod} has the target's members {', '.join(common)} in its group"


def _would_join(seen: Sides) -> Iterable[str]:
    """From the configuration of the target."""
    target, source = seen.target, seen.source
    for member, group in _asked(target):
        if named := [host for host in _hosts(group.address) if _belongs(host, source, target)]:
            yield f"wsrep_cluster_address of {member.pod} names the source: {', '.join(named)}"
    if seen.named:
        yield f"the settings of its container name the source: {', '.join(seen.named)}"


def _asked(side: Side) -> list[tuple[GroupMember, GaleraGroup]]:
    return [(member, member.group) for member in side.members if member.group is not None]


def _hosts(text: str) -> list[str]:
    """What may be a host in a text such as `gcomm://mariadb-0.mariadb:4567,10.0.0.2,[fd00::3]?pc.wait_prim=no`."""
    found = _HOST.finditer(text.partition("?")[0] if _SCHEME in text else text)
    return [each["v6"] or each["host"] for each in found]


def _belongs(host: str, side: Side, seen_from: Side) -> bool:
    """Whether a host is one of this side's pods, by address or by name, or one of its Services.

    `seen_from`: where the name is used, which says what a short one means.
    """
    if (address := _address(host)) is not None:
        return any(address == _address(ip) for member in side.members for ip in (member.ip, *member.ips))
    first, *rest = host.rstrip(".").split(".")
    here = seen_from.cluster.namespace
    if re.fullmatch(rf"{re.escape(side.cluster.statefulset)}-[0-9]+", first):  # <pod>[.<Service>[.<namespace>]]
        return (rest[1] if len(rest) > 1 else here) == side.cluster.namespace
    if first in side.services:  # <Service>[.<namespace>]
        return (rest[0] if rest else here) == side.cluster.namespace
    return False


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
