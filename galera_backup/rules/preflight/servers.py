"""Whether the servers are one group of known versions, and whether the account can do what will be asked of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from galera_backup.models.preflight import Finding
from galera_backup.models.server import ServerSeen, ServerSettings
from galera_backup.models.shape import ClusterShape
from galera_backup.rules.preflight.places import describe, mount_of
from galera_backup.rules.preflight.severities import found
from galera_backup.version import Version

OLDEST = (10, 6)
"""The first series whose mariadb-backup says at its end which write-set it has."""
CONNECTIONS = 5
"""That mariadb-backup and the worker have open at once, with one to spare; a server counts them for each account."""
_PRIVILEGES = ("RELOAD", "PROCESS", "SUPER")
_MONITOR_SINCE = (11, 0)
"""From this series on SUPER does not hold BINLOG MONITOR any more."""
KEY_FILES = "file_key_management_"
"""Begin of the variables that name files with keys."""
READABLE = ("secret", "configMap", "projected")
"""Volumes that a pod of ours can mount as well."""
_KEY_PLUGINS = ("file_key_management",)
"""Key management whose keys are files that a pod of ours can mount."""


def servers(seen: ClusterShape, asked: Sequence[ServerSeen]) -> Iterator[Finding]:
    """What is wrong with the group, the versions, and the account."""
    answered = [(server, server.settings) for server in asked if server.settings is not None]
    yield from _log_in(seen, asked, any_answered=bool(answered))
    for server, settings in answered:
        yield from _version(server, settings)
    yield from _versions(answered)
    yield from _group(seen, asked, answered)
    for server, settings in answered[:1]:  # an account is the same on all members
        yield from _account(server, settings)
    for server, settings in answered:
        yield from _keys(seen, server, settings)


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
    seen: ClusterShape, asked: Iterable[ServerSeen], answered: Sequence[tuple[ServerSeen, ServerSettings]]
) -> Iterator[Finding]:
    """Members that a restore would not stop: they keep the old data, under the same uuid."""
    size = max((settings.group_size for _, settings in answered), default=0)
    replicas = seen.statefulset.replicas
    if size <= replicas:
        return
    ours = {server.ip for server in asked} | {member.name for member in seen.members}
    incoming = {host for _, settings in answered for host in settings.incoming}
    strange = sorted(host for host in incoming if host not in ours and host.partition(".")[0] not in ours)
    unnamed = size - replicas - len(strange)
    if unnamed > 0:
        strange.append(f"{unnamed} without an address, as an arbitrator (garbd) has none")
    yield found(
        "members-beyond",
        f"StatefulSet {str(seen.statefulset.cluster)!r}",
        f"expected a group of its {replicas} replicas, it has {size} members: {', '.join(strange)} too",
        "Stop those first: they would go on with the old data under the same uuid. Then start the restore",
    )


def _account(server: ServerSeen, settings: ServerSettings) -> Iterator[Finding]:
    version = Version.parse(settings.version)
    needed = {*_PRIVILEGES}
    if version is not None and version.series >= _MONITOR_SINCE:
        needed.add("BINLOG MONITOR")
    missing = sorted(needed - settings.privileges)
    if missing and "ALL PRIVILEGES" not in settings.privileges:
        yield found(
            "grants-missing",
            "account of the Secret",
            f"expected it to have {', '.join(sorted(needed))} on {server.pod}, it lacks {', '.join(missing)}",
            f"GRANT {', '.join(missing)} ON *.* TO the account",
        )
    if 0 < settings.max_user_connections < CONNECTIONS:
        yield found(
            "connections-limited",
            "account of the Secret",
            f"expected at least {CONNECTIONS} connections at once, it may have {settings.max_user_connections}",
            f"Give it MAX_USER_CONNECTIONS {CONNECTIONS} or more, or 0",
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
        files = [each for each in settings.files if each.name.startswith(KEY_FILES)]
        for setting in files:
            mount = mount_of(pod, setting.value) if pod is not None else None
            if mount is None or mount.kind not in READABLE:
                yield found(
                    "keys-out-of-reach",
                    about,
                    f"expected {setting.name} {setting.value!r} in a mounted Secret or ConfigMap, it is "
                    f"{describe(mount)}",
                    "Mount the keys from a Secret: mariadb-backup needs them in a pod of its own",
                )
