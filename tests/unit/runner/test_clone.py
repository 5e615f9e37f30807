"""A clone's data: the source's backup, with an identity of its own in InnoDB and in grastate.dat."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from galera_backup.models.clone import Clone
from galera_backup.models.common import ClusterRef
from galera_backup.models.jobs import CheckJob, RestoreJob, StageJob, SwapJob, UnpackJob
from galera_backup.models.passwords import PasswordMode, PasswordReport
from galera_backup.models.reports import StageReport
from galera_backup.models.runner import RunnerResult
from galera_backup.runner import prepare
from galera_backup.runner.staged import stage as stage_module
from galera_backup.runner.staged.journal import StagedRestore
from galera_backup.storage import layout
from tests.unit.runner.pod import BACKUP_ID, CLUSTER, UUID, Pod, failure

TARGET = ClusterRef(namespace="openstack", statefulset="mariadb-clone")
OWN = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
CLONE = Clone(source=CLUSTER, uuid=OWN)
RESTORE = "galera-restore/1"

MARIADBD = r"""#!/bin/sh
case $* in *--innodb=OFF*) exec "$FAKE/bin/of-passwords" "$@" ;; esac
echo "$@" >> "$FAKE/server-arguments"
for argument; do
    case $argument in
        --datadir=*) data=${argument#*=} ;;
        --init-file=*) init=${argument#*=} ;;
    esac
done
uuid=$(sed -n 's/^uuid: *//p' "$data/grastate.dat") seqno=$(sed -n 's/^seqno: *//p' "$data/grastate.dat")
case $* in
    *--wsrep-recover*)
        echo "2026-11-23 17:41:10 0 [Note] WSREP: Recovered position: $(cat "$FAKE/innodb")" >&2
        ;;
    *)
        [ "$(cat "$init")" = 'SHUTDOWN;' ] || exit 9
        case $FAKE_FAULT in
            refuses) echo "[ERROR] InnoDB: refuses" >&2; exit 1 ;;
            hangs) exec sleep 60 ;;
            forgets) echo "0979c94d-e6ee-11f1-b6f6-93a976a0f1fb:18" > "$FAKE/innodb"; exit 0 ;;
        esac
        echo "$uuid:$((seqno + 1))" > "$FAKE/innodb" # the view of its group is a write-set of its own
        echo cache > "$data/galera.cache"
        echo view > "$data/gvwstate.dat"
        ;;
esac
"""


@pytest.fixture
def target(pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pod:
    """The source has a backup; the volume of the target is empty."""
    assert pod.backup().error is None
    server = pod.fake / "bin" / "mariadbd"
    server.rename(pod.fake / "bin" / "of-passwords")
    server.write_text(MARIADBD)
    server.chmod(0o755)
    pod.volume = tmp_path / "claim"
    pod.volume.mkdir()
    monkeypatch.setattr(stage_module, "total_kb", lambda path: 1_000_000)
    monkeypatch.setattr(prepare, "free_kb", lambda path: 500_000)
    return pod


def _data(pod: Pod) -> Path:
    """A sub path of the volume, which no server has made yet."""
    assert pod.volume is not None
    return pod.volume / "mysql"


def _stage(
    pod: Pod,
    ordinal: int = 0,
    clone: Clone | None = CLONE,
    passwords: PasswordMode = "compare",
    **changes: str,
) -> RunnerResult[StageReport]:
    job = StageJob(
        cluster=TARGET,
        clone=clone,
        uuid=OWN,
        backup_id=BACKUP_ID,
        restore_id=RESTORE,
        safe_to_bootstrap=ordinal == 0,
        passwords=passwords,
    )
    return pod.run(job, _data(pod), **changes)


def _staged(pod: Pod) -> StagedRestore:
    assert pod.volume is not None
    return StagedRestore(pod.volume, RESTORE)


def _grastate(data: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in (data / "grastate.dat").read_text().splitlines() if ":" in line)
    return {key: value.strip() for key, _, value in pairs}


@pytest.mark.parametrize("ordinal", [0, 1])
def test_staged_with_the_position_that_innodb_has(target: Pod, ordinal: int) -> None:
    result = _stage(target, ordinal)
    assert result.error is None, result.error
    assert target.script_status == 0
    restore = _staged(target)
    assert _grastate(restore.staged) == {
        "version": "2.1",
        "uuid": OWN,
        "seqno": "19",
        "safe_to_bootstrap": str(int(ordinal == 0)),
    }
    left = {path.name for path in restore.staged.iterdir()}
    assert left == {"grastate.dat", "ib_logfile0", "ibdata1", "mysql", "nova"}
    journal = restore.journal()
    assert journal is not None
    assert str(journal.position) == f"{OWN}:19"
    swapped = target.run(SwapJob(cluster=TARGET, restore_id=RESTORE, direction="in"), _data(target))
    assert swapped.error is None, swapped.error
    assert _grastate(_data(target))["uuid"] == OWN


def test_the_server_is_alone_and_reachable_by_nobody(target: Pod) -> None:
    assert _stage(target).error is None
    first, second = (target.fake / "server-arguments").read_text().splitlines()
    for arguments in (first, second):
        options = arguments.split()
        assert options[0] == f"--defaults-file={_staged(target).staged}/backup-my.cnf"
        assert {"--skip-networking", "--wsrep-cluster-address=gcomm://", "--wsrep-node-address=127.0.0.1"} <= {*options}
        assert f"--wsrep-provider={target.fake}/image/opt/lib/libgalera_smm.so" in options
        assert "gmcast.listen_addr=tcp://127.0.0.1:4567" in arguments
        last = dict(option.split("=", 1) for option in options if "=" in option)
        files = ("--datadir", "--innodb-undo-directory", "--innodb-log-group-home-dir", "--aria-log-dir-path")
        assert {last[name] for name in files} == {str(_staged(target).staged)}
    assert "--wsrep-recover" in second
    assert "--wsrep-recover" not in first


def test_passwords_are_set_once_it_has_its_identity(target: Pod) -> None:
    report = r"asked 6E6F7661\ndifferent 6E6F7661 25\nend"
    result = _stage(target, passwords="reset", FAKE_REPORT=report)
    assert result.report is not None, result.error
    assert result.report.passwords == PasswordReport(reset=("'nova'@'%'",))
    assert target.script_status == 0
    assert _grastate(_staged(target).staged)["uuid"] == OWN


@pytest.mark.parametrize(("fault", "text"), [("server", "exit status is 1"), ("server_innodb", "InnoDB's files")])
def test_passwords_that_cannot_be_set(target: Pod, fault: str, text: str) -> None:
    kind, message = failure(_stage(target, passwords="reset", FAKE_FAULT=fault))
    assert kind == "RestoreFailed"
    assert text in message
    assert not _staged(target).directory.exists()


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("refuses", "InnoDB: refuses"),
        ("forgets", f"InnoDB has the position {UUID}:18"),
        ("hangs", "exit status is 124"),
    ],
)
def test_identity_that_was_not_adopted(target: Pod, fault: str, text: str) -> None:
    kind, message = failure(_stage(target, FAKE_FAULT=fault, ADOPT_SECONDS="1"))
    assert kind == "RestoreFailed"
    assert text in message
    assert OWN in message
    assert not _staged(target).directory.exists()


def test_backup_of_the_source_is_looked_for_in_its_directory(target: Pod) -> None:
    kind, message = failure(_stage(target, clone=None))
    assert kind == "BackupNotFound"
    assert "mariadb-clone" in message
    other = Clone(source=ClusterRef(namespace="openstack", statefulset="other"), uuid=OWN)
    kind, message = failure(_stage(target, clone=other))
    assert kind == "BackupNotFound"
    assert "openstack/other" in message


def test_check_of_a_volume_that_no_server_has_used(target: Pod) -> None:
    job = CheckJob(cluster=TARGET, clone=CLONE, backup_id=BACKUP_ID)
    result = target.run(job, _data(target))
    assert result.report is not None, result.error
    assert result.report.manifest is not None
    assert result.report.manifest.cluster == CLUSTER
    assert result.report.data_used_kb == 0
    assert not _data(target).exists()


@pytest.mark.parametrize("before", [False, True], ids=["in place", "unpacked before, as by rolling"])
def test_in_place_leaves_the_restores_of_the_source_alone(target: Pod, claims: list[Path], before: bool) -> None:
    theirs = target.cluster_directory / ".restore" / "theirs"
    theirs.mkdir(parents=True)
    if before:
        unpack = UnpackJob(cluster=TARGET, clone=CLONE, uuid=OWN, backup_id=BACKUP_ID, restore_id=RESTORE)
        unpacked = target.run(unpack)
        assert unpacked.error is None, unpacked.error
    for ordinal, claim in enumerate(claims):
        job = RestoreJob(
            cluster=TARGET,
            clone=CLONE,
            uuid=OWN,
            backup_id=BACKUP_ID,
            restore_id=RESTORE,
            ordinal=ordinal,
            last=ordinal == 2,
            safe_to_bootstrap=ordinal == 0,
        )
        result = target.run(job, claim)
        assert result.error is None, result.error
        assert result.report is not None
        assert (result.report.unpack_seconds > 0) == (ordinal == 0 and not before)
        grastate = _grastate(claim)
        assert (grastate["uuid"], grastate["seqno"], grastate["safe_to_bootstrap"]) == (
            OWN,
            "19",
            str(int(not ordinal)),
        )
        assert not (claim / "galera.cache").exists()
    assert (target.fake / "server-arguments").read_text().count("--wsrep-recover") == 1
    assert theirs.exists()
    assert not list((target.root / str(TARGET) / ".restore").iterdir())
    shutil.rmtree(theirs)


@pytest.mark.parametrize("clone", [None, CLONE], ids=["own backup", "clone"])
def test_logs_are_where_the_jobs_say(target: Pod, claims: list[Path], clone: Clone | None) -> None:
    """`activities.pods` names these paths: `test_pods.test_log_path_is_where_the_agent_writes`."""
    cluster = TARGET if clone else CLUSTER
    of_backup = target.backup_job()
    unpack = UnpackJob(cluster=cluster, clone=clone, backup_id=BACKUP_ID, restore_id=RESTORE)
    restore = RestoreJob(**unpack.model_dump(exclude={"mode"}), ordinal=1, last=True, safe_to_bootstrap=False)
    assert target.run(unpack).error is None
    assert target.run(restore, claims[1]).error is None
    written = {path.relative_to(target.root) for path in target.root.rglob("*.log")}
    assert written == {Path(layout.log(job.stored_log)) for job in (of_backup, unpack, restore)}
