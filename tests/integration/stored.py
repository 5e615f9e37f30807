"""What is inside of a stored backup: unpacked and prepared by the tools of the database's own image, not by ours."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zstandard

from dev.stack import settings
from galera_backup.models.manifest import Manifest
from tests.integration import process
from tests.integration.galera import FIRST, backup_directory

_PREPARE = """
mkdir "$1" && cd "$1" && mbstream --extract && mariadb-backup --prepare --target-dir=. 2>prepare.log
"""


@contextmanager
def prepared(manifest: Manifest) -> Iterator[Path]:
    """The prepared data directory as the node sees it, while the block runs; fails when it cannot be prepared."""
    server = process.server_of(FIRST)
    name = f"/tmp/prepared-{uuid.uuid4().hex}"
    inside = ["nsenter", f"--target={server}", "--mount", "--pid", f"--setuid={settings.MYSQL_UID}"]
    inside += [f"--setgid={settings.MYSQL_UID}", "--"]
    folder = Path(f"/proc/{server}/root{name}")
    try:
        running = subprocess.Popen([*inside, "sh", "-ec", _PREPARE, "prepare", name], stdin=subprocess.PIPE)
        assert running.stdin is not None
        with (backup_directory(manifest.backup_id) / manifest.stream).open("rb") as stored, running.stdin:
            zstandard.ZstdDecompressor().copy_stream(stored, running.stdin)
        assert running.wait(120) == 0
        assert "completed OK!" in (folder / "prepare.log").read_text().splitlines()[-1]
        yield folder
    finally:
        subprocess.run([*inside, "rm", "-rf", name], check=True, timeout=60)
