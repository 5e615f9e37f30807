"""Where a server's files are: in its data directory, below it, on another volume, or gone with the container."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from galera_backup.models.layout import Layout, NamedDirectory
from galera_backup.models.preflight import Finding
from galera_backup.models.server import ServerSeen, ServerSettings
from galera_backup.models.shape import ClusterShape, Mount, PodShape, StatefulSetShape
from galera_backup.rules.preflight.severities import found

_HOME, _DATA_FILES = "innodb_data_home_dir", "innodb_data_file_path"
_DATA = frozenset(
    {
        _HOME,
        _DATA_FILES,
        "innodb_undo_directory",
        "innodb_log_group_home_dir",
        "aria_log_dir_path",
    }
)
"""What they name is part of the data: a backup reads it, a restore writes it."""
_LOGS = frozenset({"log_bin_basename", "log_bin_index", "relay_log_basename"})
"""What they name tells of the history of the data: after a restore it must not be another history's."""
_STATE = frozenset({"wsrep_data_home_dir", "base_dir"})
"""Where `grastate.dat` is, by which a member knows what it holds."""


def places(seen: ClusterShape, servers: Iterable[ServerSeen]) -> Iterator[Finding]:
    """What is wrong with the places of the members' files. A server that could not be asked says nothing here."""
    layouts: dict[str, Layout] = {}
    for pod, settings in _asked(seen, servers):
        mount = mount_of(pod, settings.datadir)
        problem = _data_directory(pod, mount, settings, seen.statefulset)
        if problem is not None:
            yield problem
            continue
        assert mount is not None
        layouts[pod.name] = layout(mount, settings)
        yield from _files(pod, mount, settings)
    yield from _unlike(layouts, seen.statefulset)


def layout(mount: Mount, settings: ServerSettings) -> Layout:
    """Where on its volume a server keeps its files; `mount` is the one that holds its data directory."""
    data = PurePosixPath(settings.datadir)
    below = data.relative_to(mount.path)
    home = next((each.value for each in settings.files if each.name == _HOME), "")
    named: dict[tuple[str, str], tuple[str, ...]] = {}
    for setting in settings.files:
        for path in _paths(setting.name, setting.value):
            absolute = _absolute(f"{home}/{path}" if home and setting.name == _DATA_FILES else path, data)
            directory = _below(_directory(setting.name, absolute), data)
            files = (absolute.name,) if setting.name == _DATA_FILES else ()
            if directory:
                named[setting.name, directory] = named.get((setting.name, directory), ()) + files
    return Layout(
        sub_path=mount.sub_path,
        below="" if below == PurePosixPath() else str(below),
        directories=tuple(
            NamedDirectory(variable=name, path=path, files=files) for (name, path), files in sorted(named.items())
        ),
    )


def mount_of(pod: PodShape, path: str) -> Mount | None:
    """The mount of the pod's server under which a path is; None: the path is in the container's own filesystem."""
    holding = [mount for mount in pod.mounts if PurePosixPath(path).is_relative_to(mount.path)]
    return max(holding, key=lambda mount: len(PurePosixPath(mount.path).parts), default=None)


def describe(mount: Mount | None) -> str:
    """Where something is, for a message."""
    return "in the container's own filesystem" if mount is None else f"on {mount.kind} {mount.source or mount.volume!r}"


def _asked(seen: ClusterShape, servers: Iterable[ServerSeen]) -> Iterator[tuple[PodShape, ServerSettings]]:
    settings = {server.pod: server.settings for server in servers}
    for member in seen.members:
        if (its := settings.get(member.name)) is not None:
            yield member, its


def _data_directory(
    pod: PodShape, mount: Mount | None, settings: ServerSettings, statefulset: StatefulSetShape
) -> Finding | None:
    """Why the data directory is not where a runner pod could work on it, or None."""
    about = f"data directory of {pod.name!r}"
    if mount is not None and mount.unresolved:
        return found(
            "datadir-unresolved",
            about,
            f"expected to know which directory of its volume is mounted, subPathExpr is {mount.unresolved!r}",
            "Use variables of the container with a value, or of the pod's name and namespace",
        )
    claims = {statefulset.claim(ordinal) for ordinal in statefulset.ordinals if statefulset.pod(ordinal) == pod.name}
    if mount is not None and mount.kind == "claim" and mount.source in claims:
        return None
    where = describe(mount)
    return found(
        "datadir-elsewhere",
        about,
        f"expected @@datadir {settings.datadir!r} on the claim of the template {statefulset.data_template!r}, it is "
        f"{where}",
        "Name the server's container in 'container'; data that is not on a claim of its replica cannot be backed up",
    )


def _files(pod: PodShape, data: Mount, settings: ServerSettings) -> Iterator[Finding]:
    for setting in settings.files:
        for path in _paths(setting.name, setting.value):
            absolute = str(_absolute(path, PurePosixPath(settings.datadir)))
            mount = mount_of(pod, absolute)
            if mount is not None and (mount.volume, mount.sub_path) == (data.volume, data.sub_path):
                continue
            finding = _elsewhere(pod, setting.name, absolute, mount)
            if finding is not None:
                yield finding


def _elsewhere(pod: PodShape, name: str, path: str, mount: Mount | None) -> Finding | None:
    """What it means that a setting names a place that is not on the data volume."""
    about = f"{name} of {pod.name!r}"
    where = describe(mount)
    if name in _DATA:
        return found(
            "data-files-elsewhere",
            about,
            f"expected it on the volume of the data directory, {path!r} is {where}: a backup or restore of the data "
            "directory alone would not be whole",
            "Move it to the data volume",
        )
    if name in _LOGS and mount is not None and mount.kind in ("claim", "hostPath"):
        return found(
            "logs-elsewhere",
            about,
            f"expected it on the volume of the data directory, {path!r} is {where}: after a restore the old logs would "
            "go on, and one write would have another GTID on each replica",
            "Move it to the data volume",
        )
    if name in _STATE:
        return found(
            "galera-state-elsewhere",
            about,
            f"expected it to be the data directory, {path!r} is {where}: a restored member would not find its "
            "grastate.dat",
            "Take the setting away",
        )
    return None


def _unlike(layouts: dict[str, Layout], statefulset: StatefulSetShape) -> Iterator[Finding]:
    """A restore writes all volumes in one way."""
    places_of = {pod: str(layout.below or ".") for pod, layout in layouts.items()}
    if len(set(places_of.values())) > 1:
        yield found(
            "datadir-differs",
            f"StatefulSet {str(statefulset.cluster)!r}",
            "expected the data directory at one place below the mount of every replica, it is "
            f"{', '.join(f'{place!r} on {pod}' for pod, place in sorted(places_of.items()))}",
            "Give all replicas the same datadir",
        )


def _paths(name: str, value: str) -> list[str]:
    """The paths in a value: most have one, a list of data files or temporary directories has several."""
    if name in (_DATA_FILES, "innodb_temp_data_file_path"):  # ibdata1:12M;/elsewhere/ibdata2:10M:autoextend
        return [each.strip().partition(":")[0] for each in value.split(";") if each.strip()]
    if name in ("tmpdir", "slave_load_tmpdir"):
        return [each for each in value.split(":") if each]
    return [value] if value else []


def _directory(name: str, absolute: PurePosixPath) -> PurePosixPath:
    """The directory that must be there, in full."""
    is_directory = name in _STATE or name.endswith(("_dir", "dir", "_directory", "dir_path"))
    return absolute if is_directory else absolute.parent


def _absolute(path: str, data: PurePosixPath) -> PurePosixPath:
    """The server's working directory is its data directory."""
    return PurePosixPath(posixpath.normpath(data / path))


def _below(directory: PurePosixPath, data: PurePosixPath) -> str:
    """From the data directory; empty: it is that, or not below it."""
    if not directory.is_relative_to(data) or directory == data:
        return ""
    return str(directory.relative_to(data))
