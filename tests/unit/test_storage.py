"""The archive of files: what counts as a backup, and what is left of one that was not completed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from galera_backup.failure import AgentError
from galera_backup.models.common import ClusterRef
from galera_backup.models.manifest import GaleraPosition, LogSequenceNumbers, Manifest
from galera_backup.models.runner import StoredLog
from galera_backup.storage import layout
from galera_backup.storage.archive import Archive, entries, manifest_of, newest_first
from galera_backup.storage.files import FileArchive

CLUSTER = ClusterRef(namespace="openstack", statefulset="mariadb-server")
IDS = [f"202611{day:02}T010000Z-full" for day in range(10, 14)]
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def manifest(backup_id: str, stored_bytes: int) -> Manifest:
    return Manifest(
        backup_id=backup_id,
        cluster=CLUSTER,
        replica="mariadb-server-2",
        node="node-1",
        claim="claim",
        claim_uid="uid",
        lease_run="run",
        position=GaleraPosition(uuid="0979c94d-e6ee-11f1-b6f6-93a976a0f1fb", seqno=1),
        lsn=LogSequenceNumbers(from_lsn=0, to_lsn=1, last_lsn=1),
        server_version="10.11.19-MariaDB",
        tool_version="10.11.19-MariaDB",
        stream=layout.STREAM,
        data_bytes=1,
        stream_bytes=1,
        stored_bytes=stored_bytes,
        sha256="0" * 64,
        started_at=NOW,
        finished_at=NOW,
    )


def store(archive: Archive, backup_id: str, content: bytes = b"stream") -> None:
    with archive.create(backup_id, "run") as new:
        new.write(content)
        new.keep_stream()
        new.put_manifest(manifest(backup_id, len(content)))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return FileArchive(tmp_path, CLUSTER, "site")


def test_empty(archive: Archive) -> None:
    assert entries(archive) == []
    with pytest.raises(AgentError, match=r"BackupNotFound.*\(0 in all\): none"):
        manifest_of(archive, IDS[0])


def test_what_was_stored_is_read(archive: Archive) -> None:
    store(archive, IDS[0], b"stream " * 1000)
    found = manifest_of(archive, IDS[0])
    assert b"".join(archive.read(found)) == b"stream " * 1000


@pytest.mark.parametrize("how_far", ["nothing", "written", "kept"])
def test_backup_that_is_not_completed_leaves_nothing_that_counts(archive: Archive, how_far: str) -> None:
    def fails() -> None:
        with archive.create(IDS[0], "run") as new:
            if how_far != "nothing":
                new.write(b"half")
            if how_far == "kept":
                new.keep_stream()
            raise InterruptedError(how_far)

    with pytest.raises(InterruptedError):
        fails()
    assert archive.entry(IDS[0]).left_over
    archive.remove_leftovers(IDS[1], keep_logs=False)
    assert archive.ids() == []


def test_newest_first_and_before(archive: Archive) -> None:
    for backup_id in IDS:
        store(archive, backup_id)
    assert [each.backup_id for each in newest_first(archive)] == IDS[::-1]
    assert [each.backup_id for each in newest_first(archive, before=IDS[2])] == [IDS[1], IDS[0]]
    assert list(newest_first(archive, before=IDS[0])) == []


def test_removed(archive: Archive) -> None:
    store(archive, IDS[0])
    store(archive, IDS[1])
    archive.remove(IDS[0])
    assert archive.ids() == [IDS[1]]
    with pytest.raises(AgentError, match=IDS[1]):
        manifest_of(archive, IDS[0])


def test_a_log_grows_beside_its_backup(archive: Archive, tmp_path: Path) -> None:
    store(archive, IDS[0])
    for text in ("one\n", "two\n"):
        archive.log(StoredLog(CLUSTER, IDS[0])).append(text)
    name = archive.log(StoredLog(CLUSTER, IDS[0])).name
    assert (tmp_path / name).read_text() == "one\ntwo\n"
    assert name == str(layout.backup(CLUSTER, IDS[0]) / layout.RUNNER_LOG)


def test_a_log_of_a_backup_that_is_not_there_is_an_error(archive: Archive) -> None:
    with pytest.raises(FileNotFoundError):
        archive.log(StoredLog(CLUSTER, IDS[0])).append("one\n")


def test_damaged_is_not_left_over(archive: Archive, tmp_path: Path) -> None:
    store(archive, IDS[0])
    (tmp_path / layout.backup(CLUSTER, IDS[0]) / layout.STREAM).write_bytes(b"short")
    entry = archive.entry(IDS[0])
    assert not entry.left_over
    assert "has 5 bytes, expected 6" in (entry.damage or "")
    assert list(newest_first(archive)) == []
    with pytest.raises(AgentError, match="BackupDamaged"):
        manifest_of(archive, IDS[0])
