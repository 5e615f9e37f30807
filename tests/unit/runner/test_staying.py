"""What a restore leaves where it is: the host's files, and what nothing can move."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from galera_backup.models.jobs import EmptyJob
from galera_backup.models.layout import Layout, NamedDirectory
from galera_backup.models.volumes import STAGED_RESTORES, SwapState
from galera_backup.runner import datadir, staying
from galera_backup.runner.datadir import set_aside
from galera_backup.runner.volumes import read_marker
from tests.unit.runner.pod import CLUSTER, Pod, content, failure
from tests.unit.runner.staged import RESTORE, live_files, swapped_to, works


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("nova", "empty", "binlog", "lost+found"):
        (tmp_path / name).mkdir()
    for name in ("nova/t.frm", "ibdata1", "server-key.pem", "notes", "grastate.dat"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def fixed_are(monkeypatch: pytest.MonkeyPatch, **found: str) -> None:
    monkeypatch.setattr(staying, "fixed", lambda directory: dict(found))


def test_the_hosts_files(directory: Path) -> None:
    assert staying.staying(directory, Layout()) == {"server-key.pem"}
    assert staying.staying(directory, Layout(host_files=("n*", "empt?"))) == {"notes", "empty"}
    assert staying.staying(directory / "nothing", Layout()) == frozenset()


def test_data_is_never_the_hosts(directory: Path) -> None:
    layout = Layout(host_files=("*",), directories=(NamedDirectory(variable="log_bin", path="binlog"),))
    assert staying.staying(directory, layout) == {"empty", "server-key.pem", "notes"}
    assert set(staying.in_the_way(directory, layout)) == {"nova", "binlog", "ibdata1", "grastate.dat"}


def test_what_nothing_can_move(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed_are(monkeypatch, empty="mounted", nova="mounted", **{"lost+found": "owner"})
    monkeypatch.setattr(staying, "fixed_below", lambda path: [("t.MYD", "immutable")] if path.name == "binlog" else [])
    assert staying.staying(directory, Layout()) == {"empty", "server-key.pem"}
    assert staying.in_the_way(directory, Layout()) == {"nova": "mounted", "binlog/t.MYD": "immutable"}


def test_all_is_set_aside_or_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(directory)
    real = os.rename

    def one_refuses(source: Path, target: Path) -> None:
        if source.name == "notes" and source.parent == directory:
            raise OSError(errno.EPERM, "Operation not permitted")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", one_refuses)
        with pytest.raises(OSError, match="not permitted"):
            set_aside(directory, ())
    assert content(directory) == before
    set_aside(directory, {"server-key.pem"})
    assert sorted(os.listdir(directory)) == [datadir.ASIDE, "lost+found", "server-key.pem"]


def test_in_place_the_marker_says_restoring_only_of_changed_data(
    pod: Pod, claims: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pod.backup().error is None
    before = content(claims[0])

    def refuses(directory: Path, stays: object) -> None:
        marker = read_marker(directory)
        assert marker is not None
        assert marker.state == "restoring"
        raise OSError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(datadir, "set_aside", refuses)
        kind, message = failure(pod.restore(claims[0]))
    assert (kind, "Every file is where it was" in message) == ("RestoreFailed", True)
    assert content(claims[0]) == before


@pytest.mark.parametrize(
    ("note", "kept"), [("10.11.19-MariaDB", True), ("10.11.18-MariaDB", False), ("nothing", False)]
)
def test_in_place_leaves_the_hosts_files_and_true_notes(pod: Pod, claims: list[Path], note: str, kept: bool) -> None:
    assert pod.backup().error is None
    (claims[0] / "ca.pem").write_text("host")
    (claims[0] / "mysql_upgrade_info").write_text(note)
    assert pod.restore(claims[0]).error is None
    assert (claims[0] / "ca.pem").read_text() == "host"
    assert (claims[0] / "mysql_upgrade_info").exists() == kept
    assert not (claims[0] / "old_database").exists()
    assert not (claims[0] / datadir.ASIDE).exists()


@pytest.mark.usefixtures("volume_size")
def test_staged_leaves_the_hosts_files_there_and_back(pod: Pod, data: Path) -> None:
    (data / "ca.pem").write_text("host")
    (data / "mysql_upgrade_info").write_text("10.11.19-MariaDB\n")
    old = live_files(data)
    works(pod.stage(data))
    assert swapped_to(pod, data, "in") == SwapState.SWAPPED
    assert (data / "ca.pem").read_text() == "host"
    assert (data / "mysql_upgrade_info").read_text() == "10.11.19-MariaDB\n"
    (data / "ca.pem").write_text("renewed")
    assert swapped_to(pod, data, "back") == SwapState.RETURNED
    assert (data / "ca.pem").read_text() == "renewed"
    (data / "ca.pem").write_text("host")
    assert live_files(data) == old


@pytest.mark.usefixtures("volume_size")
def test_a_claim_that_is_emptied_keeps_the_hosts_files(pod: Pod, data: Path) -> None:
    (data / "ca.pem").write_text("host")
    works(pod.run(EmptyJob(cluster=CLUSTER, restore_id=RESTORE), data))
    assert [name for name in os.listdir(data) if name not in (STAGED_RESTORES, "lost+found")] == ["ca.pem"]


def test_a_look_tells_both(pod: Pod, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "ca.pem").write_text("host")
    fixed_are(monkeypatch, ibdata1="immutable", strange="mounted")
    report = works(pod.check(None, data))
    assert report.staying == ("ca.pem", "strange")
    assert report.in_the_way == ("ibdata1: immutable",)
