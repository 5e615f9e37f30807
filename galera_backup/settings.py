"""Settings of the worker, read from environment variables `GALERA_BACKUP_*`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from galera_backup import names
from galera_backup.durations import parse_duration
from galera_backup.text import field_errors

PREFIX = "GALERA_BACKUP_"


def _typed(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


TypedDuration = Annotated[timedelta, BeforeValidator(_typed)]


class SettingsError(ValueError):
    """The environment does not describe a worker; the message lists every wrong variable."""


class WorkerSettings(BaseModel):
    """The settings of a worker process: each field is the variable `GALERA_BACKUP_<FIELD>`. Temporal has TEMPORAL_*."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent_image: Annotated[str, Field(min_length=1)]
    """Image of the agent container in a runner pod: this project's own image."""
    task_queue: Annotated[str, Field(min_length=1)] = names.TASK_QUEUE
    """Where operations are polled; leases have `<task_queue>-lease`."""
    max_activities: Annotated[int, Field(ge=1, le=1000)] = 16
    """Activities at once on each of the two task queues, and threads for them."""
    graceful_shutdown: Annotated[TypedDuration, Field(ge=timedelta(0), le=timedelta(hours=1))] = timedelta(seconds=20)
    """How long activities may take to end by themselves after SIGTERM. Keep it below the pod's grace period."""
    metrics_address: Annotated[str, Field(pattern=r"^\S+:\d{1,5}$")] | None = None
    """`host:port` on which the worker serves Prometheus metrics; None: no metrics."""
    log_format: Literal["human", "json"] = "human"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    kube_context: Annotated[str, Field(min_length=1)] | None = None
    """Context of the kubeconfig file (KUBECONFIG). None: the pod's service account, else the file's current context."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> WorkerSettings:
        """The settings that `environment` describes; an empty variable counts as not set.

        Other GALERA_BACKUP_* variables are left alone: Kubernetes itself makes some for a Service called galera-backup.
        Raises `SettingsError`.
        """
        given = {field: environment.get(PREFIX + field.upper(), "") for field in cls.model_fields}
        try:
            return cls.model_validate({field: value for field, value in given.items() if value})
        except ValidationError as error:
            problems = [f"{PREFIX}{field.upper()}: {problem}" for field, problem in field_errors(error)]
            raise SettingsError("the worker's settings are wrong: " + "; ".join(problems)) from None
