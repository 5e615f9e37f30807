"""Worker settings and typed durations."""

from __future__ import annotations

from datetime import timedelta

import pytest

from galera_backup.durations import duration_text, parse_duration
from galera_backup.settings import SettingsError, WorkerSettings

IMAGE = {"GALERA_BACKUP_AGENT_IMAGE": "registry.example/galera-backup:1"}


def test_only_the_image_is_needed() -> None:
    settings = WorkerSettings.from_environment(IMAGE)
    assert settings.agent_image == "registry.example/galera-backup:1"
    assert settings.task_queue == "galera-backup"
    assert settings.max_activities == 16
    assert settings.graceful_shutdown == timedelta(seconds=20)
    assert settings.metrics_address is None


def test_every_field_has_a_variable() -> None:
    settings = WorkerSettings.from_environment(
        IMAGE
        | {
            "GALERA_BACKUP_TASK_QUEUE": "dba",
            "GALERA_BACKUP_MAX_ACTIVITIES": "4",
            "GALERA_BACKUP_GRACEFUL_SHUTDOWN": "1m30s",
            "GALERA_BACKUP_METRICS_ADDRESS": "127.0.0.1:9464",
            "GALERA_BACKUP_LOG_FORMAT": "json",
            "GALERA_BACKUP_LOG_LEVEL": "DEBUG",
            "GALERA_BACKUP_KUBE_CONTEXT": "lab",
        }
    )
    assert settings.model_fields_set == set(WorkerSettings.model_fields)
    assert settings.graceful_shutdown == timedelta(seconds=90)


def test_all_errors_come_in_one_message() -> None:
    with pytest.raises(SettingsError) as error:
        WorkerSettings.from_environment(
            {"GALERA_BACKUP_MAX_ACTIVITIES": "many", "GALERA_BACKUP_GRACEFUL_SHUTDOWN": "soon"}
        )
    text = str(error.value)
    assert "GALERA_BACKUP_AGENT_IMAGE: required, but missing" in text
    assert "GALERA_BACKUP_MAX_ACTIVITIES: " in text
    assert "'many'" in text
    assert "GALERA_BACKUP_GRACEFUL_SHUTDOWN: " in text
    assert "30m, 6h" in text


def test_an_empty_variable_is_not_set_and_foreign_ones_are_left_alone() -> None:
    """Kubernetes injects GALERA_BACKUP_PORT and others for a Service of that name."""
    noise = {"GALERA_BACKUP_TASK_QUEUE": "", "GALERA_BACKUP_PORT": "tcp://10.0.0.1:9464"}
    assert WorkerSettings.from_environment(IMAGE | noise) == WorkerSettings.from_environment(IMAGE)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30m", 1800),
        ("6h", 21600),
        ("1h30m", 5400),
        ("2d", 172800),
        ("90", 90),
        ("90s", 90),
        ("PT30M", 1800),
        (" 5M ", 300),
        ("0", 0),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert parse_duration(duration_text(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "-5m", "5 apples", "h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="30m, 6h"):
        parse_duration(text)


def test_shortest_text() -> None:
    assert duration_text(timedelta(hours=6)) == "6h"
    assert duration_text(timedelta(minutes=90)) == "1h30m"
    assert duration_text(timedelta(0)) == "0s"
