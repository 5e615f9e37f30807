"""The options of a restore and of a rollback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from galera_backup.models.restore import RestoreRequest, Strategy
from starters._options import REQUEST, RequestOptions, RunnerTimeout, default_of, duration_option, request_option

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
    request_option(
        "--replicas",
        "Size of the cluster afterwards; only needed when it is at 0 replicas.",
        "COUNT",
        "the StatefulSet's replicas",
    ),
]
StopTimeout = Annotated[
    str | None,
    duration_option(
        "--stop-timeout", "How long the pods may take to go after the scale-down", RestoreRequest, "stop_timeout"
    ),
]
ReadyTimeout = Annotated[
    str | None,
    duration_option(
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
    request_option(
        "--runner-pod-prefix",
        "Names of the restore pods begin so.",
        "NAME",
        default_of(RestoreRequest, "runner_pod_prefix"),
    ),
]

KeepPrevious = Annotated[
    str | None,
    duration_option(
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
        rich_help_panel=REQUEST,
    ),
]
ApprovalTimeout = Annotated[
    str | None,
    duration_option(
        "--approval-timeout", "Rejected when nobody has answered by then", RestoreRequest, "approval_timeout"
    ),
]
OnFailure = Annotated[
    str | None,
    request_option(
        "--on-failure",
        "After a failure of a staged restore in the outage: rollback puts the old data back, ask waits for "
        "`galera-backup decide`.",
        "rollback|ask",
        default_of(RestoreRequest, "on_failure"),
    ),
]
DecisionTimeout = Annotated[
    str | None,
    duration_option(
        "--decision-timeout", "Rolled back when nobody has decided by then", RestoreRequest, "decision_timeout"
    ),
]


@dataclass(frozen=True)
class OutageOptions(RequestOptions):
    """How an operation stops and starts the cluster."""

    replicas: Replicas = None
    runner_timeout: RunnerTimeout = None
    stop_timeout: StopTimeout = None
    ready_timeout: ReadyTimeout = None
    runner_pod_prefix: RunnerPrefix = None


@dataclass(frozen=True)
class RestoreOptions(OutageOptions):
    """How a restore goes, and what it waits for."""

    strategy: HowToRestore = None
    keep_previous_for: KeepPrevious = None
    require_approval: RequireApproval = False
    approval_timeout: ApprovalTimeout = None
    on_failure: OnFailure = None
    decision_timeout: DecisionTimeout = None
