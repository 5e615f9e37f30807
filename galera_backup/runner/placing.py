"""Put the files of prepared data where the server looks for them, and make the directories that it does not make.

mariadb-backup gathers the files of InnoDB and Aria at the top of a backup, whatever directories the server's
configuration names; and it holds no binary log, and no empty directory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from galera_backup.models.layout import Layout, NamedDirectory
from galera_backup.runner.datadir import DIRECTORY_MODE
from galera_backup.runner.reporting import log

_MOVED = {
    "innodb_undo_directory": re.compile(r"undo\d{3}"),
    "innodb_log_group_home_dir": re.compile(r"ib_logfile\d+"),
    "aria_log_dir_path": re.compile(r"aria_log(_control|\.\d{8})"),
}
"""Variable: names of the files that are in its directory."""


def place(data: Path, layout: Layout) -> None:
    """Of prepared data that no server has started on; a second time there is nothing to do."""
    make_directories(data, layout)
    for directory in layout.directories:
        for path in _files(data, directory):
            path.rename(data / directory.path / path.name)
            log.info("%s: %r is in %r", directory.variable, path.name, directory.path)


def make_directories(data: Path, layout: Layout) -> None:
    """Those that the server's configuration names; those that are there stay as they are."""
    for directory in layout.directories:
        _make(data, data / directory.path)


def _make(data: Path, target: Path) -> None:
    """With the mode of the server's own directories, whatever the umask."""
    for path in [*reversed(target.relative_to(data).parents), target.relative_to(data)]:
        directory = data / path
        if not directory.is_dir():
            directory.mkdir()
            directory.chmod(DIRECTORY_MODE)


def _files(data: Path, directory: NamedDirectory) -> Sequence[Path]:
    pattern = _MOVED.get(directory.variable)
    names = [path for path in data.iterdir() if path.is_file()]
    return sorted(path for path in names if path.name in directory.files or (pattern and pattern.fullmatch(path.name)))
