"""Where a server's files are: in its data directory, below it, on another volume, or gone with the container."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from glob import escape
from pathlib import PurePosixPath

from galera_backup.models.layout import HOST_FILES, Layout, NamedDirectory
from galera_backup.models.preflight import Finding
from galera_backup.models.server import KEY_FILES, OF_THE_HOST, ServerSeen, ServerSettings
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
_DIRECTORIES = ("_dir", "dir", "_directory", "dir_path", "secure_file_priv")
"""Ends of the variables that name a directory; the others name a file in one."""
_WITHOUT_DATA = ("emptyDir", "secret", "configMap", "projected")
"""Kinds of volumes that keep nothing of a server's."""


def places(seen: ClusterShape, servers: Iterable[ServerSeen]) -> Iterator[Finding]:
    """What is wrong with the places of the members' files. A server that could not be asked is judged by its mounts."""
    layouts: dict[str, Layout] = {}
    asked = list(_asked(seen, servers))
    for pod, settings in asked:
        mount = mount_of(pod, settings.datadir)
        problem = _data_directory(pod, mount, settings, seen.statefulset)
        if problem is not None:
            yield problem
            continue
        assert mount is not None
        layouts[pod.name] = layout(pod, mount, settings)
        yield from _files(pod, mount, settings)
        yield from _mounted_inside(pod, settings.datadir, settings)
    yield from _unlike(layouts, seen.statefulset)
    names = {pod.name for pod, _ in asked}
    for pod in seen.planned:
        if pod.name not in names:
            yield from _planned(pod, seen.statefulset, next((settings for _, settings in asked), None))


def layout(pod: PodShape, mount: Mount, settings: ServerSettings) -> Layout:
    """Where on its volume a server keeps its files; `mount` is the one that holds its data directory."""
    data = PurePosixPath(settings.datadir)
    below = data.relative_to(mount.path)
    home = next((each.value for each in settings.files if each.name == _HOME), "")
    named: dict[tuple[str, str], tuple[str, ...]] = {}
    for setting in settings.files:
        for path in _paths(setting.name, setting.value):
            absolute = _absolute(f"{home}/{path}" if home and setting.name == _DATA_FILES else path, data)
            directory = absolute if path.endswith("/") else _directory(setting.name, absolute)
            files = (absolute.name,) if setting.name == _DATA_FILES else ()
            if _is_below(directory, data) and mount_of(pod, str(directory)) == mount:
                key = setting.name, str(directory.relative_to(data))
                named[key] = named.get(key, ()) + files
    return Layout(
        sub_path=mount.sub_path,
        below="" if below == PurePosixPath() else str(below),
        directories=tuple(
            NamedDirectory(variable=name, path=path, files=files) for (name, path), files in sorted(named.items())
        ),
        ignored=settings.ignored,
        host_files=(*HOST_FILES, *_hosts_files(settings, data)),
        key_files=settings.key_files,
        elsewhere=tuple(sorted(_elsewhere_on_volumes(pod, settings))),
        binding=settings.binding,
        asked=True,
    )


def left_elsewhere(of_backup: Layout, planned: PodShape | None) -> Iterator[Finding]:
    """What a restore would leave as it was, beside other data, where no server can be asked for its settings.

    `of_backup`: where the replica that was backed up had it; `planned`: a pod that the template makes.
    """
    for path in of_backup.elsewhere:
        mount = mount_of(planned, path) if planned is not None else None
        if planned is None or (mount is not None and mount.outlives_its_pod):
            where = "elsewhere" if planned is None else describe(mount)
            yield found(
                "logs-were-elsewhere",
                f"logs and state of the servers in {path!r}",
                f"expected them in the data directory; no server says where it has them, that of the backup had them "
                f"{where}: after a restore the old ones would go on, and a write would have another GTID on each "
                "replica",
                "Start the cluster, so that its servers can be asked; or move what lies there aside on every replica",
            )


def _elsewhere_on_volumes(pod: PodShape, settings: ServerSettings) -> Iterator[str]:
    """See `Layout.elsewhere`. Data files elsewhere are no backup's."""
    data = PurePosixPath(settings.datadir)
    for setting in settings.files:
        if setting.name in _LOGS | _STATE:
            for path in _paths(setting.name, setting.value):
                absolute = _absolute(path, data)
                mount = mount_of(pod, str(absolute))
                if not absolute.is_relative_to(data) and mount is not None and mount.outlives_its_pod:
                    yield str(absolute)


def _hosts_files(settings: ServerSettings, data: PurePosixPath) -> tuple[str, ...]:
    """Names at the top of the data directory, as patterns, that hold what no server makes: certificates, plugins."""
    paths = [_absolute(each.value, data) for each in settings.files if each.name.startswith(OF_THE_HOST)]
    return tuple(sorted({escape(path.relative_to(data).parts[0]) for path in paths if _is_below(path, data)}))


def mount_of(pod: PodShape, path: str) -> Mount | None:
    """The mount of the pod's server under which a path is; None: the path is in the container's own filesystem."""
    holding = [mount for mount in pod.mounts if PurePosixPath(path).is_relative_to(mount.path)]
    return max(holding, key=lambda mount: len(PurePosixPath(mount.path).parts), default=None)


def data_mount(pod: PodShape, statefulset: StatefulSetShape) -> Mount | None:
    """Where a pod mounts the claim of its data; of several paths that by which the StatefulSet is known."""
    claim = f"{statefulset.data_template}-{pod.name}"
    mounts = [mount for mount in pod.mounts if mount.kind == "claim" and mount.source == claim]
    path = PurePosixPath(statefulset.data_path)
    return min(mounts, key=lambda mount: PurePosixPath(mount.path) != path, default=None)


def describe(mount: Mount | None) -> str:
    """Where something is, for a message."""
    return "in the container's own filesystem" if mount is None else f"on {mount.kind} {mount.source or mount.volume!r}"


def _asked(seen: ClusterShape, servers: Iterable[ServerSeen]) -> Iterator[tuple[PodShape, ServerSettings]]:
    settings = {server.pod: server.settings for server in servers}
    for member in seen.members:
        if (its := settings.get(member.name)) is not None:
            yield member, its


def _planned(pod: PodShape, statefulset: StatefulSetShape, like: ServerSettings | None) -> Iterator[Finding]:
    """`like`: what another replica's server says; None: none can be asked."""
    mount = data_mount(pod, statefulset)
    if mount is None:
        return
    if mount.unresolved:
        yield _unresolved(pod, mount)
        return
    yield from _mounted_inside(pod, mount.path if like is None else like.datadir, like)


def _data_directory(
    pod: PodShape, mount: Mount | None, settings: ServerSettings, statefulset: StatefulSetShape
) -> Finding | None:
    """Why the data directory is not where a runner pod could work on it, or None."""
    if mount is not None and mount.unresolved:
        return _unresolved(pod, mount)
    claims = {statefulset.claim(ordinal) for ordinal in statefulset.ordinals if statefulset.pod(ordinal) == pod.name}
    if mount is not None and mount.kind == "claim" and mount.source in claims:
        return None
    where = describe(mount)
    return found(
        "datadir-elsewhere",
        f"data directory of {pod.name!r}",
        f"expected @@datadir {settings.datadir!r} on the claim of the template {statefulset.data_template!r}, it is "
        f"{where}",
        "Name the server's container in 'container', or its data directory in 'data_directory'; data that is not on a "
        "claim of its replica cannot be backed up",
    )


def _unresolved(pod: PodShape, mount: Mount) -> Finding:
    return found(
        "datadir-unresolved",
        f"data directory of {pod.name!r}",
        f"expected to know which directory of its volume is mounted, subPathExpr is {mount.unresolved!r}",
        "Use variables of the container with a value, or of the pod's name and namespace",
    )


def _files(pod: PodShape, data: Mount, settings: ServerSettings) -> Iterator[Finding]:
    for setting in settings.files:
        for path in _paths(setting.name, setting.value):
            absolute = _absolute(path, PurePosixPath(settings.datadir))
            mount = mount_of(pod, str(absolute))
            if setting.name in _STATE and absolute != PurePosixPath(settings.datadir):
                yield _state_elsewhere(pod, setting.name, str(absolute))
            elif mount != data or not absolute.is_relative_to(settings.datadir):
                yield from _elsewhere(pod, setting.name, str(absolute), mount)


def _elsewhere(pod: PodShape, name: str, path: str, mount: Mount | None) -> Iterator[Finding]:
    """What it means that a setting names a place that is not in the data directory, or on another volume."""
    about = f"{name} of {pod.name!r}"
    where = describe(mount)
    if name in _DATA:
        yield found(
            "data-files-elsewhere",
            about,
            f"expected it in the data directory, {path!r} is {where}: a backup or restore of the data directory alone "
            "would not be whole",
            "Move it into the data directory, or a directory below it",
        )
    if name in _LOGS and mount is not None and mount.outlives_its_pod:
        yield found(
            "logs-elsewhere",
            about,
            f"expected it in the data directory, {path!r} is {where}: after a restore the old logs would go on, and a "
            "write would have another GTID on each replica",
            "Move it into the data directory, or a directory below it",
        )


def _state_elsewhere(pod: PodShape, name: str, path: str) -> Finding:
    return found(
        "galera-state-elsewhere",
        f"{name} of {pod.name!r}",
        f"expected it to be the data directory, it is {path!r}: a restored member would not find its grastate.dat",
        "Take the setting away",
    )


def _mounted_inside(pod: PodShape, data_directory: str, settings: ServerSettings | None) -> Iterator[Finding]:
    """Volumes below the data directory in which no setting names anything: a runner pod does not mount them."""
    data = PurePosixPath(data_directory)
    named = [
        mount_of(pod, str(_absolute(path, data)))
        for setting in (settings.files if settings is not None else ())
        for path in _paths(setting.name, setting.value)
    ]
    for mount in pod.mounts:
        if mount.kind not in _WITHOUT_DATA and _is_below(PurePosixPath(mount.path), data) and mount not in named:
            yield found(
                "mounted-in-the-data-directory",
                f"data directory of {pod.name!r}",
                f"expected all of it on one volume, {mount.path!r} is {describe(mount)}: a backup would not have what "
                "is there, and after a restore the server would find it beside other data",
                "Move it to the data volume, or mount it elsewhere",
            )


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
    """The paths in a value: most have one, a list of data files or temporary directories has several; keys and the like
    are the host's."""
    if name.startswith((KEY_FILES, *OF_THE_HOST)):
        return []
    if name in (_DATA_FILES, "innodb_temp_data_file_path"):  # ibdata1:12M;/elsewhere/ibdata2:10M:autoextend
        return [each.strip().partition(":")[0] for each in value.split(";") if each.strip()]
    if name in ("tmpdir", "slave_load_tmpdir"):
        return [each for each in value.split(":") if each]
    return [value] if value else []


def _directory(name: str, absolute: PurePosixPath) -> PurePosixPath:
    """The directory that must be there, in full."""
    return absolute if name.endswith(_DIRECTORIES) else absolute.parent


def _absolute(path: str, data: PurePosixPath) -> PurePosixPath:
    """The server's working directory is its data directory."""
    return PurePosixPath(posixpath.normpath(data / path))


def _is_below(path: PurePosixPath, data: PurePosixPath) -> bool:
    return path != data and path.is_relative_to(data)
