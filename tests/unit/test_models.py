"""Requests as people type them, and what they are told when they are wrong."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from galera_backup.credentials import Credentials
from galera_backup.models.backup import BackupRequest
from galera_backup.models.manifest import Manifest
from galera_backup.models.mark import Mark
from galera_backup.models.restore import RestoreRequest
from galera_backup.models.runner import RunnerError
from galera_backup.temporal.converter import invalid_input
from tests.fakes.volumes import BackupVolume
from tests.fakes.world import fresh_cluster

CLUSTER = {"namespace": "openstack", "statefulset": "mariadb-server"}
ONE_LINE_BACKUP = '{"cluster": {"namespace": "openstack", "statefulset": "mariadb-server"}}'
ONE_LINE_RESTORE = (
    '{"cluster": {"namespace": "openstack", "statefulset": "mariadb-server"},'
    ' "backup_id": "20261122T010000Z-full", "confirm": "openstack/mariadb-server"}'
)


def test_one_line_backup() -> None:
    request = BackupRequest.model_validate_json(ONE_LINE_BACKUP)
    assert request.replica is None
    assert request.backups_to_keep == 10
    assert request.required_space_ratio == 1.2
    assert not request.allow_unsafe
    assert request.runner_timeout == timedelta(hours=6)
    assert request.drain_timeout == timedelta(minutes=10)
    assert request.wait_for_cluster == timedelta(0)
    assert request.backup_claim == "mariadb-phy-backup-data"
    assert request.container is None
    assert request.credentials.secret == "mariadb-backup"
    assert request.primary_label is not None
    assert (request.primary_label.key, request.primary_label.moved_by) == ("mariadb-role", "galera-backup")


def test_one_line_restore() -> None:
    request = RestoreRequest.model_validate_json(ONE_LINE_RESTORE)
    assert request.strategy == "staged"
    assert request.runner_pod_prefix == "openstack-mariadb-phy-restore-runner"
    assert request.stop_timeout == timedelta(minutes=15)
    assert request.ready_timeout == timedelta(minutes=30)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"cluster": {"namespace": "Open_Stack"}},
            ["cluster.namespace: ", "cluster.statefulset: required, but missing"],
        ),
        ({"replica": -1}, ["replica: Input should be greater than or equal to 0"]),
        ({"replica": "last"}, ["replica: Input should be a valid integer"]),
        ({"backups_to_keep": 0}, ["backups_to_keep: Input should be greater than or equal to 1"]),
        ({"required_space_ratio": 0}, ["required_space_ratio: "]),
        ({"required_space_ratio": "inf"}, ["required_space_ratio: "]),
        ({"runner_timeout": "PT0S"}, ["runner_timeout: "]),
        ({"runner_timeout": "P8D"}, ["runner_timeout: "]),
        ({"wait_for_cluster": -1}, ["wait_for_cluster: "]),
        ({"run_as_user": 0}, ["run_as_user: "]),
        ({"primary_label": {"moved_by": "me"}}, ["primary_label.moved_by: "]),
        ({"keep": 3, "password": "secret-word"}, ["keep: there is no such field", "password: there is no such field"]),
        ({"credentials": {"password": "secret-word"}}, ["credentials.password: there is no such field"]),
    ],
)
def test_bad_backup(fields: dict[str, Any], expected: list[str]) -> None:
    with pytest.raises(ValidationError) as raised:
        BackupRequest.model_validate({"cluster": CLUSTER, **fields})
    message = invalid_input(raised.value).message
    for text in expected:
        assert text in message
    assert "secret-word" not in message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"backup_id": "20261122T010000Z"}, "backup_id: "),
        ({"confirm": "openstack/other"}, "confirm: Value error, expected 'openstack/mariadb-server'"),
        ({"replicas": 0}, "replicas: "),
        ({"strategy": "sideways"}, "strategy: "),
        ({"runner_pod_prefix": "x" * 201}, "runner_pod_prefix: "),
        ({"checks": [{"query": "SELECT 1"}]}, "checks.0.expected: required, but missing"),
        ({"checks": [{"query": "", "expected": 1}]}, "checks.0.query: "),
        ({"checks": [{"query": "SELECT 1", "expected": [1]}]}, "checks.0.expected"),
        ({"checks": [{"query": "SELECT 1", "expected": 1}] * 51}, "checks: "),
        ({"check_timeout": "PT2H"}, "check_timeout: "),
        ({"check_tables": "some"}, "check_tables: "),
        ({"strategy": "in_place", "checks": [{"query": "SELECT 1", "expected": 1}]}, "strategy: Value error, checks: "),
        ({"strategy": "in_place", "check_tables": "all"}, "strategy: Value error, check_tables: "),
        (
            {"strategy": "in_place", "reset_passwords_from_secrets": True},
            "strategy: Value error, reset_passwords_from_secrets: only a restore with strategy 'staged'",
        ),
        (
            {"strategy": "rolling", "keep_previous_for": "PT1H", "on_failure": "ask"},
            "strategy: Value error, keep_previous_for, on_failure: only a restore with strategy 'staged'",
        ),
    ],
)
def test_bad_restore(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as raised:
        RestoreRequest.model_validate({**json.loads(ONE_LINE_RESTORE), **fields})
    assert expected in invalid_input(raised.value).message


def test_checks_as_people_type_them() -> None:
    checks = [{"query": "SELECT 1", "expected": 1}, {"query": "SELECT NULL", "expected": None}]
    request = RestoreRequest.model_validate({**json.loads(ONE_LINE_RESTORE), "checks": checks})
    assert [each.expected for each in request.checks] == ["1", None]


def test_in_place_needs_nothing_of_a_proof() -> None:
    request = RestoreRequest.model_validate({**json.loads(ONE_LINE_RESTORE), "strategy": "in_place"})
    assert request.check_tables == "sample"


def test_each_secret_is_compared_once() -> None:
    fields = {"check_credentials": {"secret": "reader"}, "accounts": [{"secret": "reader"}, {"secret": "nova"}]}
    request = RestoreRequest.model_validate({**json.loads(ONE_LINE_RESTORE), **fields})
    assert [each.secret for each in request.secrets] == ["mariadb-backup", "reader", "nova"]


@pytest.mark.parametrize("field", ["credentials", "check_credentials"])
def test_password_pasted_into_a_reference_is_not_repeated(field: str) -> None:
    with pytest.raises(ValidationError) as raised:
        RestoreRequest.model_validate({**json.loads(ONE_LINE_RESTORE), field: {"secret": "Secret-Word"}})
    message = invalid_input(raised.value).message
    assert f"{field}.secret: " in message
    assert "Secret-Word" not in message


def test_confirm_is_no_second_error_beside_a_bad_cluster() -> None:
    with pytest.raises(ValidationError) as raised:
        RestoreRequest.model_validate({**json.loads(ONE_LINE_RESTORE), "cluster": {"namespace": "x"}})
    assert "confirm" not in invalid_input(raised.value).message


def test_manifest_and_mark_of_a_newer_version_can_be_read() -> None:
    manifest = BackupVolume().store("20261122T010000Z-full", fresh_cluster())
    newer = {**manifest.model_dump(mode="json"), "proved_by": "a drill"}
    assert Manifest.model_validate(newer) == manifest
    mark = {"lease": {"workflow_id": "w", "run_id": "r"}, "owner": "o", "until": "2026-11-22T01:00:00Z", "more": 1}
    assert Mark.model_validate(mark).owner == "o"
    with pytest.raises(ValidationError):
        Manifest.model_validate({**newer, "schema_version": 2})


def test_models_are_frozen_and_strict() -> None:
    request = BackupRequest.model_validate_json(ONE_LINE_BACKUP)
    with pytest.raises(ValidationError):
        request.container = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        RunnerError(type="Whatever", message="")


def test_password_shows_nowhere() -> None:
    assert "secret-word" not in repr(Credentials("backup", "secret-word"))
