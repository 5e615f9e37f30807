"""Whether the servers are one group of known versions, and whether the account can do what will be asked of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from galera_backup.models.preflight import Finding
from galera_backup.models.server import ServerSeen, ServerSettings
from galera_backup.models.shape import ClusterShape, Mount
from galera_backup.rules.health import OTHERS_IN_SYNC
from galera_backup.rules.preflight.places import describe, mount_of
from galera_backup.rules.preflight.severities import found
from galera_backup.version import SUPER_IS_LESS_SINCE, Version, is_beyond_limits

OLDEST = (10, 6)
"""The first series whose mariadb-backup says at its end which write-set it has."""
CONNECTIONS = 4
"""That mariadb-backup and the worker have open at once; a server counts them for each account."""
_DESYNCED_FROM = OTHERS_IN_SYNC + 1
"""Replicas from which on a backup takes one out of the cluster's flow control, for which alone it needs SUPER."""
READABLE = ("secret", "configMap", "projected")
"""Volumes that a pod of ours can mount as well."""
_RESERVED = "CONNECTION ADMIN"
_GIVES_WAY = "BF_ABORT_MARIABACKUP"
_KEY_PLUGINS = ("file_key_management",)
"""Key management whose keys are files that a pod of ours can mount."""


def servers(seen: ClusterShape, asked: Sequence[ServerSeen]) -> Iterator[Finding]:
    """What is wrong with the group, the versions, and the account. `asked`: those that have an address."""
    answered = [(server, server.settings) for server in asked if server.settings is not None]
    yield from _log_in(seen, asked, any_answered=bool(answered))
    for server, settings in answered:
        yield from _version(server, settings)
    yield from _versions(answered)
    yield from _group(seen, asked, answered)
    yield from _first(seen, answered)
    for server, settings in answered[:1]:  # an account is the same on all members
        yield from _account(seen, server, settings)
    for server, settings in answered:
        yield from _keys(seen, server, settings)
        yield from _galera(server, settings)


def no_account(why: str) -> Iterator[Finding]:
    """Instead of `servers`, when none could be asked."""
    yield found(
        "account-unknown",
        "account of the Secret",
        f"expected to read it, so that the servers can be asked: {why}",
        "Make the Secret, or name it in 'credentials'",
    )


def keys_not_mounted(path: str, mount: Mount | None) -> Finding:
    """A pod that unpacks a backup of encrypted data would have no keys. `mount`: of the template's pods."""
    return found(
        "keys-out-of-reach",
        "keys of the backup",
        f"expected the template's pods to have them in {path!r}, as the server had that was backed up, from a mounted "
        f"Secret or ConfigMap, they are {describe(mount)}",
        "Mount the Secret with the backup's keys at that path",
    )


def _log_in(seen: ClusterShape, asked: Sequence[ServerSeen], *, any_answered: bool) -> Iterator[Finding]:
    """A worker that can log in to no member cannot tell a good start from a bad one."""
    for server in asked:
        if server.settings is not None:
            continue
        about = f"server of {server.pod!r}"
        if server.refused:
            yield found(
                "log-in",
                about,
                f"expected the account of the Secret to log in: {server.error}",
                "Mend the Secret or the account",
            )
        elif server.ip:
            yield found("server-silent", about, f"it did not answer: {server.error}")
    ready = [member.name for member in seen.members if member.ready]
    if ready and not any_answered and not any(server.refused for server in asked):
        yield found(
            "no-server-answers",
            f"StatefulSet {str(seen.statefulset.cluster)!r}",
            f"expected a server to answer whose pod is Ready, none of {', '.join(ready)} does",
            "Look at the way from the worker to them: NetworkPolicies, port, TLS",
        )


def _version(server: ServerSeen, settings: ServerSettings) -> Iterator[Finding]:
    about = f"server of {server.pod!r}"
    version = Version.parse(settings.version)
    if version is None:
        yield found(
            "version-unknown",
            about,
            f"expected a version such as '10.11.19-MariaDB', it says {settings.version!r}",
            "Only MariaDB can be backed up",
        )
    elif version.series < OLDEST:
        yield found(
            "version-too-old",
            about,
            f"expected MariaDB {OLDEST[0]}.{OLDEST[1]} or newer, it is {version}",
            "Upgrade the servers first",
        )


def _versions(answered: Sequence[tuple[ServerSeen, ServerSettings]]) -> Iterator[Finding]:
    versions = {settings.version for _, settings in answered}
    if len(versions) > 1:
        told = ", ".join(f"{server.pod} {settings.version}" for server, settings in answered)
        yield found("versions-differ", "servers", f"expected one version, they have {told}", "Finish the upgrade")


def _group(
    seen: ClusterShape, asked: Sequence[ServerSeen], answered: Sequence[tuple[ServerSeen, ServerSettings]]
) -> Iterator[Finding]:
    """Members that a restore would not stop: they keep the old data, and serve it.

    Those that are its own are counted, not its replicas: one that is down leaves room for a foreign one.
    """
    about = f"StatefulSet {str(seen.statefulset.cluster)!r}"
    if asked and not answered:
        yield found(
            "group-unknown",
            about,
            "expected a server to say which members its group has, none does: nobody knows whether others go on with "
            "the old data",
            "See that no member runs elsewhere: an arbitrator, a second site",
        )
    for settings in {settings.group: settings for _, settings in answered}.values():
        members = [(server, its) for server, its in answered if its.group == settings.group]
        ours = {server.pod for server, _ in members}
        if len(ours) > settings.group_size:
            yield found(
                "group-unclear",
                about,
                f"expected {', '.join(sorted(ours))} to be in one group, each says that its own has "
                f"{settings.group_size} members: there are several of one uuid",
                "See which of them has the data that counts, then let the others join it",
            )
            continue
        hosts = {host.rstrip(".") for _, its in members for host in its.incoming}  # each may lack some
        ours |= {server.pod for server in asked if any(_is(host, seen, server.pod) for host in hosts)}
        beyond = settings.group_size - len(ours)
        if beyond > 0:
            silent = [server.pod for server in asked if server.settings is None and server.pod not in ours]
            others = {host for host in hosts if not any(_is(host, seen, each.name) for each in seen.members)}
            yield _beyond(seen, settings.group_size, beyond, others, silent)


def _first(seen: ClusterShape, answered: Sequence[tuple[ServerSeen, ServerSettings]]) -> Iterator[Finding]:
    """A stop takes the first replica last, and a start forms the cluster on it: also where a restore is given up."""
    shape = seen.statefulset
    first = shape.pod(shape.first_ordinal)
    synced = {server.pod for server, settings in answered if settings.synced}
    if synced and first not in synced:
        yield found(
            "first-not-in-sync",
            f"server of {first!r}",
            f"expected it in sync, as {', '.join(sorted(synced))}: the cluster forms on its data when the restore is "
            "given up before its end, and what it lacks would be lost, or nothing would start",
            f"Let it rejoin: kubectl -n {shape.cluster.namespace} delete pod {first}",
        )


def _beyond(seen: ClusterShape, size: int, beyond: int, others: Collection[str], silent: Sequence[str]) -> Finding:
    """`others`: hosts in the group that no member has for sure; `silent`: members that may be in it."""
    about, replicas = f"StatefulSet {str(seen.statefulset.cluster)!r}", seen.statefulset.replicas
    group = f"expected a group of its {replicas} replicas, it has {size} members"
    strange = sorted(host for host in others if not _may_be_one(host, seen))
    if not strange and beyond <= len(silent):
        return found(
            "group-unclear",
            about,
            f"{group}: {beyond} may be {', '.join(silent)}, which did not answer, or somebody else's",
            "See that all its servers answer, then look again",
        )
    named = [f"{beyond} of {', '.join(strange)}" if beyond < len(strange) else ", ".join(strange)] if strange else []
    if beyond > len(strange):
        no_address, same_names = "without an address, as an arbitrator (garbd) has none", "under names of its pods"
        named.append(f"{beyond - len(strange)} {same_names if len(others) > len(strange) else no_address}")
    return found(
        "members-beyond",
        about,
        f"{group}: {', '.join(named)} too",
        "Stop those first: they would go on with the old data beside the restored cluster. Then start the restore",
    )


def _is(host: str, seen: ClusterShape, pod: str) -> bool:
    """Whether it is this member's address, or its name in full: a second site may have the same short names."""
    shape = seen.statefulset
    full = f"{pod}.{shape.service}.{shape.cluster.namespace}"
    addresses = {ip for each in seen.members if each.name == pod for ip in (each.ip, *each.ips)}
    return host in {*addresses, full, f"{full}.svc"} or host.startswith(f"{full}.svc.")


def _may_be_one(host: str, seen: ClusterShape) -> bool:
    """Whether it is the short name of a member, or of a pod elsewhere that is called the same."""
    pod, *rest = host.split(".")
    return any(member.name == pod for member in seen.members) and rest in ([], [seen.statefulset.service])


def _account(seen: ClusterShape, server: ServerSeen, settings: ServerSettings) -> Iterator[Finding]:
    about = "account of the Secret"
    if missing := sorted(_needed(seen, settings) - settings.privileges):
        needed = ", ".join(sorted(_needed(seen, settings)))
        yield found(
            "grants-missing",
            about,
            f"expected it to have {needed} on {server.pod}, it lacks {', '.join(missing)}",
            f"GRANT {', '.join(missing)} ON *.* TO the account",
        )
    limit = settings.max_user_connections
    remedy = f"Give it MAX_USER_CONNECTIONS {CONNECTIONS + 1} or more, or 0"
    if 0 < limit < CONNECTIONS:
        needed_for = f"the {CONNECTIONS} connections at once of mariadb-backup and the worker"
        yield found("connections-too-few", about, f"expected it to have {needed_for}, it may have {limit}", remedy)
    if limit == CONNECTIONS:
        yield found("connections-limited", about, f"a backup takes all {limit} connections that it may have", remedy)
    if not missing and not is_beyond_limits(settings.version, settings.privileges):
        yield found(
            "connections-not-reserved",
            about,
            f"expected {_RESERVED}, with which it can log in when clients have all of max_connections: without it a "
            "replica that is backed up comes back only when one of them has gone",
            f"GRANT {_RESERVED} ON *.* TO the account",
        )
    if settings.hourly_limits:
        yield found(
            "hourly-limits",
            about,
            f"expected no limit for an hour, it has {', '.join(settings.hourly_limits)}: the worker connects each time "
            "it looks",
            "Set them to 0",
        )


def _needed(seen: ClusterShape, settings: ServerSettings) -> set[str]:
    """Privileges of a backup."""
    if "ALL PRIVILEGES" in settings.privileges:
        return set()
    needed = {"RELOAD", "PROCESS"}
    if seen.statefulset.replicas >= _DESYNCED_FROM:
        needed.add("SUPER")
    version = Version.parse(settings.version)
    if "SUPER" not in needed | settings.privileges or (version is not None and version.series >= SUPER_IS_LESS_SINCE):
        needed.add("BINLOG MONITOR")
    return needed


def _galera(server: ServerSeen, settings: ServerSettings) -> Iterator[Finding]:
    """Settings of Galera that get in the way of a backup, or of what a staged restore keeps."""
    about = f"server of {server.pod!r}"
    if _GIVES_WAY in settings.wsrep_mode.upper().split(","):
        yield found(
            "backup-gives-way",
            about,
            f"expected that DDL waits for mariadb-backup, wsrep_mode has {_GIVES_WAY}: DDL that the cluster applies "
            "while the tool blocks it ends the backup, which is tried once more",
            f"Back up when nobody changes tables, or take {_GIVES_WAY} out of wsrep_mode",
        )
    if settings.sst_method == "rsync":
        yield found(
            "copies-sent-by-rsync",
            about,
            "expected a state transfer to leave what a staged restore has beside the data, wsrep_sst_method is rsync: "
            "a replica that joins by one gets the donor's copies in place of its own, and loses its previous data",
            "Set wsrep_sst_method to mariabackup, or restore with strategy 'rolling' or 'in_place'",
        )


def _keys(seen: ClusterShape, server: ServerSeen, settings: ServerSettings) -> Iterator[Finding]:
    """Whether a pod of ours can have the keys of data that is encrypted at rest."""
    about = f"encryption of {server.pod!r}"
    for plugin in settings.plugins:
        if plugin not in _KEY_PLUGINS:
            yield found(
                "keys-out-of-reach",
                about,
                f"expected keys in files (file_key_management), they come by the plugin {plugin!r}",
                "mariadb-backup would have no keys in a pod of its own: such a cluster cannot be backed up",
            )
            continue
        pod = next((member for member in seen.members if member.name == server.pod), None)
        for path in settings.key_files:
            mount = mount_of(pod, path) if pod is not None else None
            if mount is None or mount.kind not in READABLE:
                yield found(
                    "keys-out-of-reach",
                    about,
                    f"expected the keys in {path!r} in a mounted Secret or ConfigMap, they are {describe(mount)}",
                    "Mount the keys from a Secret: mariadb-backup needs them in a pod of its own",
                )
