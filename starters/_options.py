"""The options that commands share, singly and in groups.

Options of a request stay text: the request's own model reads and checks them (`_request.py`), so that the command line
and raw JSON take the same values, have the same defaults, and name all wrong fields in one message.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer

from galera_backup.durations import duration_text
from galera_backup.models.backup import BackupRequest
from galera_backup.models.common import Model, PrimaryLabel, SecretRef
from galera_backup.models.layout import HOST_FILES
from galera_backup.names import TASK_QUEUE

DURATION = "DURATION"
_TEMPORAL, REQUEST, DISCOVERY = "Temporal", "Request", "Where things are"
"""Panels of the help text."""


def default_of(model: type[Model], field: str) -> str:
    """The default of a request's field, as the help shows it."""
    value = model.model_fields[field].default
    if isinstance(value, timedelta):
        return duration_text(value)
    return str(value)


def request_option(flag: str, text: str, metavar: str, default: str | bool = False, panel: str = REQUEST) -> Any:
    """An option for a field of a request; the request's model reads its text."""
    return typer.Option(flag, help=text, metavar=metavar, show_default=default, rich_help_panel=panel)


def duration_option(flag: str, text: str, model: type[Model], field: str) -> Any:
    """`request_option` for a duration, with the default of the model's field."""
    return request_option(flag, f"{text} (30m, 6h, PT30M or seconds).", DURATION, default_of(model, field))


# --- every command

Cluster = Annotated[
    str,
    typer.Argument(metavar="NAMESPACE/STATEFULSET", help="The Galera cluster: Kubernetes namespace and StatefulSet."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout: the result, or {error: ...}.")]
Address = Annotated[
    str | None,
    typer.Option(
        "--temporal-address",
        metavar="HOST:PORT",
        help="Temporal server.",
        show_default="TEMPORAL_ADDRESS, the profile, else localhost:7233",
        rich_help_panel=_TEMPORAL,
    ),
]
TemporalNamespace = Annotated[
    str | None,
    typer.Option(
        "--temporal-namespace",
        metavar="NAME",
        help="Temporal's own namespace.",
        show_default="TEMPORAL_NAMESPACE, the profile, else default",
        rich_help_panel=_TEMPORAL,
    ),
]
TaskQueue = Annotated[
    str,
    typer.Option(
        "--task-queue",
        metavar="NAME",
        envvar="GALERA_BACKUP_TASK_QUEUE",
        help="Task queue that the workers poll.",
        show_default=TASK_QUEUE,
        rich_help_panel=_TEMPORAL,
    ),
]
Ui = Annotated[
    str | None,
    typer.Option(
        "--ui",
        metavar="URL",
        envvar="TEMPORAL_UI",
        help="Temporal's web UI, for links.",
        show_default="http://localhost:8233 when the server is local, else no links",
        rich_help_panel=_TEMPORAL,
    ),
]
WorkflowId = Annotated[
    str | None,
    typer.Option(
        "--workflow-id",
        metavar="ID",
        help="Workflow id of the run.",
        show_default="galera-<operation>/<cluster>/<time>",
    ),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Start the run and return at once.")]

# --- backup and restore

Secret = Annotated[
    str | None,
    request_option(
        "--secret",
        "Kubernetes Secret with the database user, in the cluster's namespace.",
        "NAME",
        default_of(SecretRef, "secret"),
        DISCOVERY,
    ),
]
UserKey = Annotated[
    str | None,
    request_option(
        "--user-key", "The Secret's key of the user name.", "KEY", default_of(SecretRef, "user_key"), DISCOVERY
    ),
]
PasswordKey = Annotated[
    str | None,
    request_option(
        "--password-key", "The Secret's key of the password.", "KEY", default_of(SecretRef, "password_key"), DISCOVERY
    ),
]
BackupClaim = Annotated[
    str | None,
    request_option(
        "--backup-claim",
        "PersistentVolumeClaim that holds the backups.",
        "NAME",
        default_of(BackupRequest, "backup_claim"),
        DISCOVERY,
    ),
]
Container = Annotated[
    str | None,
    request_option(
        "--container",
        "The StatefulSet's container that runs the server.",
        "NAME",
        "the one that mounts the data",
        DISCOVERY,
    ),
]
Port = Annotated[
    str | None,
    request_option("--port", "On which the servers listen.", "PORT", "as their container says, else 3306", DISCOVERY),
]
RunAsUser = Annotated[
    str | None,
    request_option(
        "--run-as-user", "Uid that owns the data directory.", "UID", "the StatefulSet's runAsUser", DISCOVERY
    ),
]


DataDirectory = Annotated[
    str | None,
    request_option(
        "--data-directory",
        "The servers' data directory in their container, where none of them can be asked for it.",
        "PATH",
        "what the servers say, else where the data volume is mounted",
        DISCOVERY,
    ),
]
Accept = Annotated[
    list[str] | None,
    request_option("--accept", "Go on in spite of such findings of the preflight. Repeatable.", "FINDING", "none"),
]
HostFiles = Annotated[
    list[str] | None,
    request_option(
        "--host-file",
        "Files at the top of the data directory that a restore leaves where they are. Repeatable.",
        "PATTERN",
        ", ".join(HOST_FILES),
        DISCOVERY,
    ),
]


Runner = Annotated[
    str | None,
    request_option(
        "--runner",
        "What runner pods get besides: labels, annotations, requests, limits, priority_class, pull_secrets.",
        "JSON",
        "only what the servers' pods have",
        DISCOVERY,
    ),
]


class LabelMover(StrEnum):
    """Who moves the primary label away from the replica."""

    GALERA_BACKUP = "galera-backup"
    CONTROLLER = "controller"
    NONE = "none"


LabelMovedBy = Annotated[
    LabelMover,
    typer.Option(
        "--primary-label-moved-by",
        help="Who moves the primary label off the replica and back: this tool, the cluster's own controller,"
        " or none: no Service follows a label.",
        rich_help_panel=DISCOVERY,
    ),
]
LabelKey = Annotated[
    str | None,
    request_option(
        "--primary-label",
        "Pod label by which the Service finds the primary.",
        "KEY",
        default_of(PrimaryLabel, "key"),
        DISCOVERY,
    ),
]
LabelPrimary = Annotated[
    str | None,
    request_option(
        "--primary-value", "The label's value on the primary.", "VALUE", default_of(PrimaryLabel, "primary"), DISCOVERY
    ),
]
LabelBackup = Annotated[
    str | None,
    request_option(
        "--backup-value",
        "The label's value on a replica that is backed up.",
        "VALUE",
        default_of(PrimaryLabel, "backup"),
        DISCOVERY,
    ),
]
WaitForCluster = Annotated[
    str | None,
    duration_option(
        "--wait-for-cluster",
        "How long to wait while another operation holds the cluster; 0s: fail at once",
        BackupRequest,
        "wait_for_cluster",
    ),
]
RunnerTimeout = Annotated[
    str | None,
    duration_option("--runner-timeout", "Each runner pod is stopped after this long", BackupRequest, "runner_timeout"),
]

# --- groups of options


@dataclass(frozen=True)
class TemporalOptions:
    """Where Temporal is. TLS, API key and request metadata come from its profile file or TEMPORAL_* variables."""

    temporal_address: Address = None
    temporal_namespace: TemporalNamespace = None
    task_queue: TaskQueue = TASK_QUEUE
    ui: Ui = None


@dataclass(frozen=True)
class RequestOptions:
    """Options for the fields of a request, whose names they have."""

    def fields(self) -> dict[str, Any]:
        """What was typed; for the rest the model's defaults count."""
        return given(**{each.name: getattr(self, each.name) for each in dataclasses.fields(self)})


@dataclass(frozen=True)
class RunnerOptions(RequestOptions):
    """What the runner pods of every operation need: of a `RunnerSite`."""

    backup_claim: BackupClaim = None
    container: Container = None
    run_as_user: RunAsUser = None
    data_directory: DataDirectory = None
    runner: Runner = None


@dataclass(frozen=True)
class PlaceOptions(RunnerOptions):
    """Where an operation finds the user, the backups and the server."""

    secret: Secret = None
    user_key: UserKey = None
    password_key: PasswordKey = None
    primary_label_moved_by: LabelMovedBy = LabelMover.GALERA_BACKUP
    primary_label: LabelKey = None
    primary_value: LabelPrimary = None
    backup_value: LabelBackup = None
    accept: Accept = None
    port: Port = None
    host_files: HostFiles = None

    def fields(self) -> dict[str, Any]:
        """Of an `OperationRequest`; what was not typed keeps the model's default."""
        label = given(
            key=self.primary_label,
            primary=self.primary_value,
            backup=self.backup_value,
            moved_by=self.primary_label_moved_by.value,
        )
        credentials = given(secret=self.secret, user_key=self.user_key, password_key=self.password_key)
        server = {"primary_label": None if self.primary_label_moved_by is LabelMover.NONE else label}
        runners = RunnerOptions(
            self.backup_claim, self.container, self.run_as_user, self.data_directory, self.runner
        ).fields()
        typed = given(credentials=credentials or None, accept=self.accept, port=self.port, host_files=self.host_files)
        return runners | typed | server


def given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
