"""From options to a request."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from galera_backup.errors import InvalidInput
from galera_backup.models.backup import BackupRequest
from galera_backup.models.common import ClusterRef, PrimaryLabel, SecretRef
from galera_backup.models.janitor import JanitorRequest
from galera_backup.models.proof import CheckTables, SqlCheck
from galera_backup.models.restore import RestoreRequest, Strategy
from galera_backup.models.site import RunnerSettings
from starters import janitor as janitor_command
from starters._backup_options import BackupOptions
from starters._options import LabelMover, PlaceOptions
from starters._proof import ProofOptions
from starters._request import request
from starters._restore_options import RestoreOptions
from tests.unit.commands.stand_ins import (
    ID,
)

PLACES, LABEL = ("claim", "db", "999", "/data", '{"labels": {"a": "b"}}', "s", "u", "p"), ("role", "leader", "away")


def test_options_that_were_not_typed_keep_the_models_default() -> None:
    order = request(BackupRequest, "a/b", BackupOptions().fields() | PlaceOptions().fields())
    assert order == BackupRequest(cluster=ClusterRef(namespace="a", statefulset="b"))


def test_every_option_reaches_its_field() -> None:
    what = BackupOptions("1", "2", "1.5", True, "3h", "4m", False, "80", "7m", "40s")
    places = PlaceOptions(*PLACES, LabelMover.CONTROLLER, *LABEL, ["controlled"], "3307", ["*.cnf"])
    order = request(BackupRequest, "a/b", what.fields() | places.fields() | {"wait_for_cluster": "5m"})
    assert order == BackupRequest(
        cluster=ClusterRef(namespace="a", statefulset="b"),
        replica=1,
        backups_to_keep=2,
        required_space_ratio=1.5,
        allow_unsafe=True,
        give_back_when_degraded=False,
        runner_timeout=timedelta(hours=3),
        drain_timeout=timedelta(minutes=4),
        max_mb_per_second=80,
        lock_wait_timeout=timedelta(minutes=7),
        write_wait_timeout=timedelta(seconds=40),
        credentials=SecretRef(secret="s", user_key="u", password_key="p"),
        backup_claim="claim",
        container="db",
        run_as_user=999,
        data_directory="/data",
        port=3307,
        runner=RunnerSettings(labels={"a": "b"}),
        accept=("controlled",),
        host_files=("*.cnf",),
        primary_label=PrimaryLabel(key="role", primary="leader", backup="away", moved_by="controller"),
        wait_for_cluster=timedelta(minutes=5),
    )
    assert set(BackupRequest.model_fields) == order.model_fields_set  # a new field needs an option


def test_no_primary_label() -> None:
    fields = PlaceOptions(primary_label_moved_by=LabelMover.NONE).fields()
    assert request(BackupRequest, "a/b", fields).primary_label is None


def test_every_field_of_a_restore_has_an_option() -> None:
    how = RestoreOptions(*("3", "1h", "2m", "3m", "prefix"), Strategy.STAGED, "1h", True, "1d", "ask", "1h")
    proof = ProofOptions(
        check=["SELECT '=>' => 3", "SELECT NULL => NULL"],
        check_secret="reader",
        check_timeout="2m",
        check_tables=CheckTables.ALL,
        check_tables_timeout="1h",
        account=["nova:user:word"],
        reset_passwords=True,
    )
    places = PlaceOptions(*PLACES, LabelMover.CONTROLLER, *LABEL, ["controlled"], "3307", ["*.cnf"])
    typed = {"backup_id": ID, "source": "c/d", "confirm": "a/b", "wait_for_cluster": "1m"}
    order = request(RestoreRequest, "a/b", how.fields() | proof.fields() | places.fields() | typed)
    assert set(RestoreRequest.model_fields) == order.model_fields_set
    expected = (SqlCheck(query="SELECT '=>'", expected="3"), SqlCheck(query="SELECT NULL", expected=None))
    assert order.checks == expected
    assert order.check_credentials == SecretRef(secret="reader")
    assert order.accounts == (SecretRef(secret="nova", user_key="user", password_key="word"),)
    assert ProofOptions().fields() == {}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (ProofOptions(check=["SELECT 1 = 1"]), "--check: expected 'QUERY => VALUE', got 'SELECT 1 = 1'"),
        (ProofOptions(check=["=> 1"]), "--check: "),
        (ProofOptions(account=["nova:user"]), "--account: expected SECRET or"),
        (ProofOptions(check_secret="Not_A_Name"), "--check-secret: "),
        (ProofOptions(check_timeout="2h"), "--check-timeout: "),
    ],
)
def test_wrong_proof_options(options: ProofOptions, expected: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(expected)):
        request(RestoreRequest, "a/b", options.fields() | {"backup_id": ID, "confirm": "a/b"})


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("db", "--source: expected for example openstack/mariadb-server, got 'db'"),
        ("a/b", "--source: "),
        ("a/B", "--source: "),
    ],
)
def test_source_that_is_wrong(source: str, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        request(RestoreRequest, "a/b", {"backup_id": ID, "confirm": "a/b", "source": source})
    assert text in caught.value.message


def test_every_field_of_a_janitor_has_an_option() -> None:
    servers = janitor_command.ServerOptions("s", "u", "p", "db", "3307")
    limits = {"drain_timeout": "1m", "step_timeout": "2m"}
    order = request(JanitorRequest, "a/b", servers.fields() | limits)
    assert order.credentials == SecretRef(secret="s", user_key="u", password_key="p")
    assert order.step_timeout == timedelta(minutes=2)
    assert set(JanitorRequest.model_fields) == order.model_fields_set
