"""All findings, and where the data is, from the facts of one look."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from galera_backup.models.inspection import ClusterFacts
from galera_backup.models.layout import Layout
from galera_backup.models.preflight import Effect, Finding, Undertaking
from galera_backup.models.shape import PodShape
from galera_backup.rules.preflight.claims import claims
from galera_backup.rules.preflight.places import data_mount, layout, mount_of, places
from galera_backup.rules.preflight.servers import READABLE, keys_not_mounted, no_account, servers
from galera_backup.rules.preflight.statefulset import controllers, statefulset, unread

_ORDER = (Effect.REFUSES, Effect.WARNS, Effect.TELLS)


def all_findings(facts: ClusterFacts) -> tuple[Finding, ...]:
    """What there is to say of the cluster."""
    seen, asked = facts.shape, facts.servers
    return (
        *claims(seen),
        *places(seen, asked),
        *statefulset(seen),
        *controllers(seen),
        *(no_account(facts.no_account) if facts.no_account else servers(seen, asked)),
        *unread(seen.statefulset.cluster, seen.unread),
    )


def findings(facts: ClusterFacts, undertaking: Undertaking) -> tuple[Finding, ...]:
    """What there is to say before a backup or a restore, the worst first."""
    told = [each for each in all_findings(facts) if each.severity.of(undertaking) != Effect.NONE]
    return tuple(sorted(told, key=lambda each: _ORDER.index(each.severity.of(undertaking))))


def layouts(
    facts: ClusterFacts, data_directory: str | None = None, host_files: tuple[str, ...] = ()
) -> dict[str, Layout]:
    """Where the data directory is on the volume of each data claim, by the claim's name.

    By the replica's own server; where that cannot be asked, as on the others; where none can, by `data_directory`, the
    path in the servers' container that a request gives, else where the volume is mounted, until somebody looks at it
    (`rules.preflight.volumes.placed`). `host_files`: patterns beside those that every cluster has.
    """
    known: dict[str, Layout] = {}
    for server in facts.servers:
        pod = next(member for member in facts.shape.members if member.name == server.pod)
        mount = mount_of(pod, server.settings.datadir) if server.settings is not None else None
        if server.settings is not None and mount is not None and mount.kind == "claim":
            known[mount.source] = layout(pod, mount, server.settings)
    like = next(iter(known.values()), None)
    found = {}
    for pod in facts.shape.planned:
        mount = data_mount(pod, facts.shape.statefulset)
        if mount is None:
            continue
        other = like or Layout(below=_below(data_directory, mount.path))
        place = known.get(mount.source, other.model_copy(update={"sub_path": mount.sub_path}))
        found[mount.source] = place.model_copy(update={"host_files": (*place.host_files, *host_files)})
    return found


def keys_of_backup(files: Iterable[str], planned: PodShape | None) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Volumes that the template's pods have at the paths where the keys of a backup were; and what is in none of them.

    The tools that unpack it look for the keys there, also where no server runs that could be asked.
    """
    volumes, missing = set(), []
    if planned is None:
        return (), ()
    for path in files:
        mount = mount_of(planned, path)
        if mount is not None and mount.kind in READABLE:
            volumes.add(mount.volume)
        else:
            missing.append(keys_not_mounted(path, mount))
    return tuple(sorted(volumes)), tuple(missing)


def key_volumes(facts: ClusterFacts) -> tuple[str, ...]:
    """Volumes of the servers' pods that hold the keys of data which is encrypted at rest."""
    found = set()
    for server in facts.servers:
        pod = next(member for member in facts.shape.members if member.name == server.pod)
        for path in server.settings.key_files if server.settings is not None else ():
            mount = mount_of(pod, path)
            if mount is not None and mount.kind in READABLE:
                found.add(mount.volume)
    return tuple(sorted(found))


def _below(data_directory: str | None, mount_path: str) -> str:
    if data_directory is None or not PurePosixPath(data_directory).is_relative_to(mount_path):
        return ""
    below = str(PurePosixPath(data_directory).relative_to(mount_path))
    return "" if below == "." else below
