"""Where on its volume a server keeps its files."""

from __future__ import annotations

from pathlib import PurePosixPath

from galera_backup.models.common import Model

HOST_FILES = ("*.pem", ".*")
"""Names at the top of a data directory that are the host's: certificates, and in hidden files log-ins, as that of
MariaDB's image for its health check. No backup holds them, no server makes them, and some probe may need them."""


class NamedDirectory(Model):
    """A directory below the data directory that the server's configuration names."""

    variable: str
    path: str
    """From the data directory."""
    files: tuple[str, ...] = ()
    """Data files of InnoDB's system tablespace that are in it."""


class Layout(Model):
    """The data directory on a data volume, and the directories in it without which its server does not start."""

    sub_path: str = ""
    """From the root of the volume to what the server's container mounts; empty: it mounts the root."""
    below: str = ""
    """From there to the data directory; empty: the mount is the data directory."""
    directories: tuple[NamedDirectory, ...] = ()
    ignored: tuple[str, ...] = ()
    """Names at the top of the data directory that its server takes for no database: its `ignore_db_dirs`."""
    host_files: tuple[str, ...] = HOST_FILES
    """Patterns of names at the top of the data directory that a restore leaves where they are."""
    key_files: tuple[str, ...] = ()
    """Paths, in the server's container, of the keys of data that is encrypted at rest: its tools need them there."""
    elsewhere: tuple[str, ...] = ()
    """Paths there of logs and of Galera's state that are not in the data directory, on a volume that outlives a pod."""
    binding: tuple[str, ...] = ()
    """Settings without which no server starts on this data, or finds its tables: `innodb_page_size=16384`."""
    asked: bool = False
    """A server of the cluster has said so; False: by where the volume is mounted, what lies on it, or the request."""

    @property
    def data_directory(self) -> PurePosixPath:
        """From the root of the volume."""
        return PurePosixPath(self.sub_path, self.below)
