"""Request and result of the workflow type GaleraRestore."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from galera_backup.models.clone import Clone, ClusterUuid
from galera_backup.models.common import (
    ClusterRef,
    KubernetesName,
    Model,
    PhaseTime,
    PositiveDuration,
    SecretRef,
)
from galera_backup.models.manifest import BackupId, Manifest
from galera_backup.models.proof import CheckTables, Proof, ProofFields
from galera_backup.models.reports import RestoreReport
from galera_backup.models.runner import RunnerLog
from galera_backup.models.site import OperationRequest
from galera_backup.names import RESTORE_RUNNER_PREFIX, RUNNER_PREFIX_LIMIT

LONGEST_KEEP = timedelta(days=90)

RestoreId = Annotated[str, Field(pattern=r"^[0-9]{8}t[0-9]{6}z$")]
"""The time at which a restore acquired its lease, in UTC: `20261122t010000z`."""

_STAGED_ONLY = ("checks", "check_credentials", "accounts", "reset_passwords_from_secrets", "keep_previous_for")


class Strategy(StrEnum):
    """How the data of a cluster is replaced."""

    STAGED = "staged"
    """The backup is unpacked and prepared beside the live data, so that the outage is a stop, renames and a start; it
    needs room for a second copy on every data volume."""
    ROLLING = "rolling"
    """The backup is unpacked on the backup volume; the outage is a stop, a copy to the first replica's volume and its
    start. It serves while the volumes of the others are written. No room for a second copy is needed."""
    IN_PLACE = "in_place"
    """The old data is removed first, all in the outage."""


class ClaimState(StrEnum):
    """What a data claim holds, as far as one restore is concerned."""

    UNTOUCHED = "untouched"
    """What it held before the restore."""
    INCOMPLETE = "incomplete"
    """Wiped or partly written: a server must not start on it."""
    RESTORED = "restored"
    """The backup, whole."""
    EMPTIED = "emptied"
    """Its data was lost and is removed: a state transfer from the other replicas fills it."""
    UNKNOWN = "unknown"
    """Its volume could not be read, or nothing on it says what it holds."""


class ClaimReport(Model):
    """State of one data claim."""

    claim: str
    ordinal: int
    state: ClaimState
    previous_lost: bool = False
    """Its data from before the restore is gone, or not whole."""
    left_incomplete: str = ""
    """Why a server must not start on the data from before the restore: what an earlier one has left."""


class OutageRequest(OperationRequest):
    """The fields of every operation that stops a cluster and starts it on other data."""

    confirm: str
    """`<namespace>/<statefulset>` again, so that a typing error does not stop another cluster."""
    replicas: Annotated[int, Field(ge=1, le=99)] | None = None
    """Size of the cluster afterwards; needed only when the StatefulSet is at 0 replicas already."""
    runner_pod_prefix: Annotated[KubernetesName, Field(max_length=RUNNER_PREFIX_LIMIT)] = RESTORE_RUNNER_PREFIX
    runner_timeout: PositiveDuration = timedelta(hours=6)
    """Each runner pod is stopped after this long."""
    stop_timeout: PositiveDuration = timedelta(minutes=15)
    """How long the pods may take to go after the StatefulSet was scaled to 0."""
    ready_timeout: PositiveDuration = timedelta(minutes=30)
    """How long the restored cluster may take to be Ready and in sync."""

    @field_validator("confirm")
    @classmethod
    def _repeats_the_cluster(cls, confirm: str, info: ValidationInfo) -> str:
        cluster = info.data.get("cluster")
        if cluster is not None and confirm != str(cluster):
            raise ValueError(f"expected {str(cluster)!r}, the cluster that will be stopped, got {confirm!r}")
        return confirm


class RestoreRequest(ProofFields, OutageRequest):
    """Replace the data of every replica by a backup. The database is not available meanwhile."""

    backup_id: BackupId
    source: ClusterRef | None = None
    """Whose backup it is, for a clone: it becomes a cluster of its own. None: the cluster's own backup."""
    keep_previous_for: Annotated[timedelta, Field(ge=timedelta(0), le=LONGEST_KEEP)] = timedelta(0)
    """How long a staged restore keeps the previous data on the data volumes, for `GaleraRollback`."""

    require_approval: bool = False
    """Wait for the update `approve` when the plan is made and nothing is changed; the lease is held meanwhile."""
    approval_timeout: PositiveDuration = timedelta(days=1)
    """Without an answer for so long, the restore is rejected."""
    on_failure: Literal["rollback", "ask"] = "rollback"
    """When a staged restore fails in the outage: swap the previous data back, or wait for the update `decide`."""
    decision_timeout: PositiveDuration = timedelta(hours=1)
    """Without a decision for so long, the previous data is swapped back."""
    strategy: Strategy = Strategy.STAGED  # last: it is compared with the fields that only one strategy has

    @field_validator("source")
    @classmethod
    def _is_another_cluster(cls, source: ClusterRef | None, info: ValidationInfo) -> ClusterRef | None:
        if source is not None and source == info.data.get("cluster"):
            raise ValueError(f"expected another cluster than {str(source)!r}, which is restored; leave it out")
        return source

    @field_validator("strategy")
    @classmethod
    def _fits_what_is_asked(cls, strategy: Strategy, info: ValidationInfo) -> Strategy:
        asked = [name for name in _STAGED_ONLY if info.data.get(name)]
        if info.data.get("check_tables") == CheckTables.ALL:
            asked.append("check_tables")
        if info.data.get("on_failure") == "ask":
            asked.append("on_failure")
        if asked and strategy != Strategy.STAGED:
            raise ValueError(
                f"{', '.join(asked)}: only a restore with strategy 'staged' keeps the previous data until the restored "
                f"cluster is proved, got {str(strategy)!r}. Leave them out, or set 'strategy' to 'staged'"
            )
        return strategy

    @property
    def secrets(self) -> tuple[SecretRef, ...]:
        """All whose passwords are compared, each once."""
        given = (self.credentials, self.check_credentials, *self.accounts)
        return tuple(dict.fromkeys(each for each in given if each is not None))


class RollbackRequest(OutageRequest):
    """Undo a finished staged restore: swap back the previous data that it kept."""

    restore_id: RestoreId
    """As the result of the restore says."""


class TidyRequest(OperationRequest):
    """Remove the previous data that a finished staged restore has kept."""

    restore_id: RestoreId
    until: datetime
    """When to remove it."""
    runner_pod_prefix: Annotated[KubernetesName, Field(max_length=RUNNER_PREFIX_LIMIT)] = RESTORE_RUNNER_PREFIX


class ClaimRestore(Model):
    """How one data claim was restored."""

    claim: str
    report: RestoreReport
    runner: RunnerLog


class RestoreResult(Model):
    """What was restored, how long each phase took and how long the database was down."""

    restore_id: RestoreId
    """For `GaleraRollback`."""
    manifest: Manifest
    claims: tuple[ClaimRestore, ...]
    replicas: int
    phases: tuple[PhaseTime, ...]
    outage_seconds: float
    """From the scale-down to all replicas Ready in one cluster; `rolling`: to the first replica Ready."""
    uuid: ClusterUuid | None = None
    """wsrep_cluster_state_uuid of the restored cluster."""
    clone: Clone | None = None
    """When it was the backup of another cluster."""
    proof: Proof | None = None
    """None: a restore by another strategy than `staged`."""
    untidy: tuple[str, ...] = ()
    """Claims on which staged or previous data may be left; the next restore of that strategy removes it."""
    kept_until: datetime | None = None
    """Until then the previous data is kept on the data volumes; None: it was removed."""
    approved_by: str | None = None
    kept_despite: str | None = None
    """What failed after the start, when a person decided to keep the restored data nevertheless."""
    warnings: tuple[str, ...] = ()
    """What the preflight and the look at the volumes have found, one sentence each."""


class RollbackResult(Model):
    """The cluster runs on the data that it had before the restore."""

    restore_id: str
    replicas: int
    phases: tuple[PhaseTime, ...]
    outage_seconds: float
    """From the scale-down to all replicas Ready in one cluster."""
    emptied: tuple[str, ...] = ()
    """Claims that had lost the data from before the restore: they were filled by a state transfer from the others."""
    untidy: tuple[str, ...] = ()
    """Claims on which staged or previous data may be left; the next restore of that strategy removes it."""
    warnings: tuple[str, ...] = ()
    """What the preflight and the look at the volumes have found, one sentence each."""
