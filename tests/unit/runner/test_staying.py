"""What a restore leaves where it is: the host's files, and what nothing can move."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from galera_backup.models.jobs import EmptyJob, StageJob, SwapJob
from galera_backup.models.layout import Layout, NamedDirectory
from galera_backup.models.volumes import STAGED_RESTORES, SwapState
from galera_backup.runner import datadir, staying
from galera_backup.runner.datadir import set_aside
from galera_backup.runner.staged.journal import StagedRestore
from galera_backup.runner.volumes import MARKER, read_marker
from tests.unit.runner.pod import BACKUP_ID, CLUSTER, Pod, content, failure
from tests.unit.runner.staged import RESTORE, inspect, live_files, state_of, swapped_to, volume, works
from tests.unit.runner.test_way_back import bring_to


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
    (directory / "empty/db.opt").write_bytes(b"")  # a database without a table
    assert staying.staying(directory, Layout(host_files=("empt?",))) == frozenset()
    assert staying.staying(directory, Layout(ignored=("nova",), host_files=())) == {"nova"}


def test_a_directory_that_cannot_be_looked_into(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a database, unless a person says that it is the host's."""
    fixed_are(monkeypatch, empty="of root")
    monkeypatch.setattr(staying, "may_list", lambda path: path.name != "empty")
    assert staying.staying(directory, Layout(host_files=())) == frozenset()
    assert staying.in_the_way(directory, Layout(host_files=())) == {"empty": "of root"}
    assert staying.staying(directory, Layout(host_files=("empty",))) == {"empty"}


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


def test_in_place_refuses_a_backup_that_has_a_name_which_stays(
    pod: Pod, claims: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pod.backup().error is None
    (claims[0] / "nova").mkdir()
    before = content(claims[0])
    fixed_are(monkeypatch, nova="of root")
    kind, message = failure(pod.restore(claims[0]))
    assert (kind, "saw nova. The data directory was not touched" in message) == ("RestoreFailed", True)
    assert content(claims[0]) == before


@pytest.mark.usefixtures("volume_size")
def test_staged_refuses_a_backup_that_has_a_name_which_stays(
    pod: Pod, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is up; and once more before the first rename."""
    old = live_files(data)
    fixed_are(monkeypatch, mysql="of root")
    kind, message = failure(pod.stage(data))
    assert (kind, "saw mysql. The data directory was not touched" in message) == ("RestoreFailed", True)
    fixed_are(monkeypatch)
    works(pod.stage(data))
    fixed_are(monkeypatch, mysql="of root")
    assert failure(pod.swap(data, "in"))[0] == "RestoreFailed"
    assert (state_of(pod), live_files(data)) == (SwapState.STAGED, old)


@pytest.mark.usefixtures("volume_size")
def test_upgrade_notes_may_stay_and_be_restored(pod: Pod, data: Path) -> None:
    (data / "mysql_upgrade_info").write_text("10.11.19-MariaDB\n")
    layout = Layout(host_files=("mysql_*",))
    stage = StageJob(cluster=CLUSTER, backup_id=BACKUP_ID, restore_id=RESTORE, safe_to_bootstrap=True, layout=layout)
    works(pod.run(stage, data))
    works(pod.run(SwapJob(cluster=CLUSTER, restore_id=RESTORE, direction="in", layout=layout), data))
    assert (data / "mysql_upgrade_info").read_text() == "10.11.19-MariaDB\n"


@pytest.mark.parametrize("state", [SwapState.OUT, SwapState.SWAPPED, SwapState.BACK_OUT])
@pytest.mark.usefixtures("volume_size")
def test_what_the_host_writes_after_the_swap_stays_on_the_way_back(
    pod: Pod, data: Path, state: SwapState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what nothing can move since then."""
    old = live_files(data)
    works(pod.stage(data))
    restore = StagedRestore(volume(pod), RESTORE)
    bring_to(pod, data, restore, state)
    (data / "new.pem").write_text("host")
    (data / "mounted").mkdir()
    fixed_are(monkeypatch, mounted="another file system")
    seen = inspect(pod, data)
    assert seen.previous is not None
    assert seen.previous.problem == ""
    assert swapped_to(pod, data, "back") == SwapState.RETURNED
    journal = restore.journal()
    assert journal is not None
    assert {"new.pem", "mounted"} <= {*journal.stays}
    assert (data / "new.pem").read_text() == "host"
    (data / "new.pem").unlink()
    (data / "mounted").rmdir()
    assert live_files(data) == old


@pytest.mark.usefixtures("volume_size")
def test_what_the_host_writes_between_two_pods_of_a_swap_stays(pod: Pod, data: Path) -> None:
    old = live_files(data)
    works(pod.stage(data))
    bring_to(pod, data, StagedRestore(volume(pod), RESTORE), SwapState.OUT)
    (data / "new.pem").write_text("host")
    assert swapped_to(pod, data, "in") == SwapState.SWAPPED
    assert (data / "new.pem").read_text() == "host"
    assert swapped_to(pod, data, "back") == SwapState.RETURNED
    (data / "new.pem").unlink()
    assert live_files(data) == old


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
    layout = Layout(directories=(NamedDirectory(variable="log_bin_basename", path="logs/binlog"),))
    works(pod.run(EmptyJob(cluster=CLUSTER, restore_id=RESTORE, layout=layout), data))
    left = sorted(name for name in os.listdir(data) if name not in (STAGED_RESTORES, "lost+found"))
    assert left == ["ca.pem", "logs"]
    assert (data / "logs/binlog").is_dir(), "a joiner does not start without it"


def test_a_look_tells_both(pod: Pod, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "ca.pem").write_text("host")
    fixed_are(monkeypatch, ibdata1="immutable", strange="mounted")
    report = works(pod.check(None, data))
    assert report.staying == ("ca.pem", "strange")
    assert report.in_the_way == ("ibdata1: immutable",)


def test_a_directory_that_a_setting_names_is_the_servers(directory: Path) -> None:
    """Also where ignore_db_dirs names it: old binary logs are of another history."""
    named = (NamedDirectory(variable="log_bin", path="binlog"),)
    layout = Layout(ignored=("binlog", "empty"), directories=named, host_files=("b*.0*", "*.index", ".*"))
    for name in ("bin.000001", "bin.index", ".my.cnf", MARKER):
        (directory / name).write_bytes(b"")
    assert staying.staying(directory, layout) == {"empty", ".my.cnf"}
    assert set(staying.in_the_way(directory, layout)) == {"bin.000001", "bin.index"}


def test_an_upgrade_note_that_only_root_may_read(pod: Pod, claims: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """As mariadb-upgrade leaves it when somebody runs it in the container: nothing fails for it."""
    assert pod.backup().error is None
    (claims[0] / "mysql_upgrade_info").write_text("10.11.19-MariaDB\n")
    real = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "mysql_upgrade_info":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert pod.restore(claims[0]).error is None
    assert not (claims[0] / "mysql_upgrade_info").exists()


def test_what_goes_with_the_old_data(directory: Path) -> None:
    for name in (
        "system_mysql_backup.sql.zst",
        "bin.000001",
        "bin.index",
        "ibtmp1",
        "mariadb.pid",
        "debian-10.11.flag",
        "wsrep_notes",
        MARKER,
    ):
        (directory / name).write_bytes(b"")
    assert set(staying.going(directory, Layout())) == {
        "binlog",  # no setting names it
        "bin.000001",
        "empty",
        "notes",
        "system_mysql_backup.sql.zst",
    }
    layout = Layout(
        host_files=("*.pem", "*.zst", "notes"), directories=(NamedDirectory(variable="log_bin", path="binlog"),)
    )
    assert set(staying.going(directory, layout)) == {"bin.000001", "empty"}
