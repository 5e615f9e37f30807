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
from galera_backup.models.restore import RestoreRequest, Strategy
from galera_backup.names import TASK_QUEUE

DURATION = "DURATION"
_TEMPORAL, _REQUEST, _DISCOVERY = "Temporal", "Request", "Where things are"


def _default(model: type[Model], field: str) -> str:
    value = model.model_fields[field].default
    if isinstance(value, timedelta):
        return duration_text(value)
    return str(value)


def _request(flag: str, text: str, metavar: str, default: str | bool = False, panel: str = _REQUEST) -> Any:
    return typer.Option(flag, help=text, metavar=metavar, show_default=default, rich_help_panel=panel)


def _seconds(flag: str, text: str, model: type[Model], field: str) -> Any:
    return _request(flag, f"{text} (30m, 6h, PT30M or seconds).", DURATION, _default(model, field))


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
    _request(
        "--secret",
        "Kubernetes Secret with the database user, in the cluster's namespace.",
        "NAME",
        _default(SecretRef, "secret"),
        _DISCOVERY,
    ),
]
UserKey = Annotated[
    str | None,
    _request("--user-key", "The Secret's key of the user name.", "KEY", _default(SecretRef, "user_key"), _DISCOVERY),
]
PasswordKey = Annotated[
    str | None,
    _request(
        "--password-key", "The Secret's key of the password.", "KEY", _default(SecretRef, "password_key"), _DISCOVERY
    ),
]
BackupClaim = Annotated[
    str | None,
    _request(
        "--backup-claim",
        "PersistentVolumeClaim that holds the backups.",
        "NAME",
        _default(BackupRequest, "backup_claim"),
        _DISCOVERY,
    ),
]
Container = Annotated[
    str | None,
    _request(
        "--container",
        "The StatefulSet's container that runs the server.",
        "NAME",
        _default(BackupRequest, "container"),
        _DISCOVERY,
    ),
]
RunAsUser = Annotated[
    str | None,
    _request("--run-as-user", "Uid that owns the data directory.", "UID", "the StatefulSet's runAsUser", _DISCOVERY),
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
        rich_help_panel=_DISCOVERY,
    ),
]
LabelKey = Annotated[
    str | None,
    _request(
        "--primary-label",
        "Pod label by which the Service finds the primary.",
        "KEY",
        _default(PrimaryLabel, "key"),
        _DISCOVERY,
    ),
]
LabelPrimary = Annotated[
    str | None,
    _request(
        "--primary-value", "The label's value on the primary.", "VALUE", _default(PrimaryLabel, "primary"), _DISCOVERY
    ),
]
LabelBackup = Annotated[
    str | None,
    _request(
        "--backup-value",
        "The label's value on a replica that is backed up.",
        "VALUE",
        _default(PrimaryLabel, "backup"),
        _DISCOVERY,
    ),
]
WaitForCluster = Annotated[
    str | None,
    _seconds(
        "--wait-for-cluster",
        "How long to wait while another operation holds the cluster; 0s: fail at once",
        BackupRequest,
        "wait_for_cluster",
    ),
]
RunnerTimeout = Annotated[
    str | None,
    _seconds("--runner-timeout", "Each runner pod is stopped after this long", BackupRequest, "runner_timeout"),
]

# --- backup

Replica = Annotated[
    str | None, _request("--replica", "Ordinal of the replica to back up.", "ORDINAL", "the highest that is ready")
]
Keep = Annotated[
    str | None,
    _request(
        "--keep", "Complete backups to keep, the new one included.", "COUNT", _default(BackupRequest, "backups_to_keep")
    ),
]
SpaceRatio = Annotated[
    str | None,
    _request(
        "--space-ratio",
        "The backup volume needs the data directory's KB times this many KB free.",
        "RATIO",
        _default(BackupRequest, "required_space_ratio"),
    ),
]
MaxRate = Annotated[
    str | None,
    _request(
        "--max-mb-per-second",
        "Read the replica no faster than this, to spare a busy node.",
        "MB/S",
        "25 for each processor of the node",
    ),
]
AllowUnsafe = Annotated[
    bool,
    typer.Option(
        "--allow-unsafe",
        help="Back up although the cluster check failed; recorded in the manifest.",
        show_default="off",
        rich_help_panel=_REQUEST,
    ),
]
GiveBack = Annotated[
    bool,
    typer.Option(
        "--give-back-when-degraded/--no-give-back-when-degraded",
        help="Stop the backup and put the replica back when fewer than two others are in sync meanwhile.",
        rich_help_panel=_REQUEST,
    ),
]
DrainTimeout = Annotated[
    str | None,
    _seconds(
        "--drain-timeout",
        "How long the replica may take to catch up before it rejoins flow control anyway",
        BackupRequest,
        "drain_timeout",
    ),
]

# --- restore

BackupIdArgument = Annotated[
    str, typer.Argument(metavar="BACKUP_ID", help="Which backup, for example 20261122T010000Z-full; see `list`.")
]
Confirm = Annotated[
    str | None,
    typer.Option(
        "--confirm",
        metavar="NAMESPACE/STATEFULSET",
        help="The cluster once more: it will be stopped and its data replaced.",
        show_default="asked for on a terminal",
    ),
]
Source = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="NAMESPACE/STATEFULSET",
        help="The cluster whose backup it is, for a clone: the target becomes a cluster of its own.",
        show_default="the cluster itself",
    ),
]
Replicas = Annotated[
    str | None,
    _request(
        "--replicas",
        "Size of the cluster afterwards; only needed when it is at 0 replicas.",
        "COUNT",
        "the StatefulSet's replicas",
    ),
]
StopTimeout = Annotated[
    str | None,
    _seconds("--stop-timeout", "How long the pods may take to go after the scale-down", RestoreRequest, "stop_timeout"),
]
ReadyTimeout = Annotated[
    str | None,
    _seconds(
        "--ready-timeout",
        "How long the restored cluster may take to be Ready and in sync",
        RestoreRequest,
        "ready_timeout",
    ),
]
HowToRestore = Annotated[
    Strategy | None,
    typer.Option(
        "--strategy",
        help="staged: made ready beside the live data, a short outage, room for a second copy on every data volume; "
        "rolling: made ready on the backup volume, down until the first replica is written; "
        "in_place: the old data is removed first, all in the outage.",
        show_default="staged",
    ),
]
RunnerPrefix = Annotated[
    str | None,
    _request(
        "--runner-pod-prefix",
        "Names of the restore pods begin so.",
        "NAME",
        _default(RestoreRequest, "runner_pod_prefix"),
    ),
]

KeepPrevious = Annotated[
    str | None,
    _seconds(
        "--keep-previous-for",
        "How long a staged restore keeps the old data for `galera-backup rollback`",
        RestoreRequest,
        "keep_previous_for",
    ),
]
RequireApproval = Annotated[
    bool,
    typer.Option(
        "--require-approval",
        help="Show the plan, and wait for `galera-backup approve` before anything is changed.",
        show_default="off",
        rich_help_panel=_REQUEST,
    ),
]
ApprovalTimeout = Annotated[
    str | None,
    _seconds("--approval-timeout", "Rejected when nobody has answered by then", RestoreRequest, "approval_timeout"),
]
OnFailure = Annotated[
    str | None,
    _request(
        "--on-failure",
        "After a failure of a staged restore in the outage: rollback puts the old data back, ask waits for "
        "`galera-backup decide`.",
        "rollback|ask",
        _default(RestoreRequest, "on_failure"),
    ),
]
DecisionTimeout = Annotated[
    str | None,
    _seconds("--decision-timeout", "Rolled back when nobody has decided by then", RestoreRequest, "decision_timeout"),
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
class PlaceOptions:
    """Where an operation finds the user, the backups and the server."""

    secret: Secret = None
    user_key: UserKey = None
    password_key: PasswordKey = None
    backup_claim: BackupClaim = None
    container: Container = None
    run_as_user: RunAsUser = None
    primary_label_moved_by: LabelMovedBy = LabelMover.GALERA_BACKUP
    primary_label: LabelKey = None
    primary_value: LabelPrimary = None
    backup_value: LabelBackup = None

    def fields(self) -> dict[str, Any]:
        """Of an `OperationRequest`; what was not typed keeps the model's default."""
        label = _given(
            key=self.primary_label,
            primary=self.primary_value,
            backup=self.backup_value,
            moved_by=self.primary_label_moved_by.value,
        )
        credentials = _given(secret=self.secret, user_key=self.user_key, password_key=self.password_key)
        return _given(
            credentials=credentials or None,
            backup_claim=self.backup_claim,
            container=self.container,
            run_as_user=self.run_as_user,
        ) | {"primary_label": None if self.primary_label_moved_by is LabelMover.NONE else label}


@dataclass(frozen=True)
class BackupOptions:
    """What a backup is to do."""

    replica: Replica = None
    keep: Keep = None
    space_ratio: SpaceRatio = None
    allow_unsafe: AllowUnsafe = False
    runner_timeout: RunnerTimeout = None
    drain_timeout: DrainTimeout = None
    give_back_when_degraded: GiveBack = True
    max_mb_per_second: MaxRate = None

    def fields(self) -> dict[str, Any]:
        """Of a `BackupRequest`."""
        return _given(
            replica=self.replica,
            backups_to_keep=self.keep,
            required_space_ratio=self.space_ratio,
            allow_unsafe=self.allow_unsafe,
            give_back_when_degraded=self.give_back_when_degraded,
            runner_timeout=self.runner_timeout,
            drain_timeout=self.drain_timeout,
            max_mb_per_second=self.max_mb_per_second,
        )


@dataclass(frozen=True)
class OutageOptions:
    """How an operation stops and starts the cluster."""

    replicas: Replicas = None
    runner_timeout: RunnerTimeout = None
    stop_timeout: StopTimeout = None
    ready_timeout: ReadyTimeout = None
    runner_pod_prefix: RunnerPrefix = None

    def fields(self) -> dict[str, Any]:
        """Of the request; every option has the name of its field."""
        return _given(**{each.name: getattr(self, each.name) for each in dataclasses.fields(self)})


@dataclass(frozen=True)
class RestoreOptions(OutageOptions):
    """How a restore goes, and what it waits for."""

    strategy: HowToRestore = None
    keep_previous_for: KeepPrevious = None
    require_approval: RequireApproval = False
    approval_timeout: ApprovalTimeout = None
    on_failure: OnFailure = None
    decision_timeout: DecisionTimeout = None


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
