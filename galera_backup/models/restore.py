"""Request and result of the workflow type GaleraRestore."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from galera_backup.models.common import KubernetesName, Model, OperationRequest, PhaseTime, PositiveDuration, SecretRef
from galera_backup.models.manifest import BackupId, Manifest
from galera_backup.models.proof import CheckTables, Proof, ProofFields
from galera_backup.models.runner import RestoreReport, RunnerLog
from galera_backup.names import RESTORE_RUNNER_PREFIX

_STAGED_ONLY = ("checks", "check_credentials", "accounts", "reset_passwords_from_secrets")


class Strategy(StrEnum):
    """How the data of a cluster is replaced."""

    STAGED = "staged"
    """The backup is unpacked and prepared beside the live data, so that the outage is a stop, renames and a start; it
    needs room for a second copy on every data volume."""
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
    UNKNOWN = "unknown"
    """Its volume could not be read."""


class ClaimReport(Model):
    """State of one data claim."""

    claim: str
    ordinal: int
    state: ClaimState


class RestoreRequest(ProofFields, OperationRequest):
    """Replace the data of every replica by a backup. The database is not available meanwhile."""

    backup_id: BackupId
    confirm: str
    """`<namespace>/<statefulset>` once more: nobody stops a cluster by a typing error."""
    strategy: Strategy = Strategy.STAGED
    replicas: Annotated[int, Field(ge=1, le=99)] | None = None
    """Size of the cluster afterwards; needed only when the StatefulSet is at 0 replicas already."""
    runner_pod_prefix: Annotated[KubernetesName, Field(max_length=200)] = RESTORE_RUNNER_PREFIX
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

    @field_validator("strategy")
    @classmethod
    def _can_be_proved(cls, strategy: Strategy, info: ValidationInfo) -> Strategy:
        asked = [name for name in _STAGED_ONLY if info.data.get(name)]
        if info.data.get("check_tables") == CheckTables.ALL:
            asked.append("check_tables")
        if asked and strategy != Strategy.STAGED:
            raise ValueError(
                f"{', '.join(asked)}: only a restore with strategy 'staged' is proved before its old data is given up, "
                f"got {str(strategy)!r}. Leave them out, or set 'strategy' to 'staged'"
            )
        return strategy

    @property
    def secrets(self) -> tuple[SecretRef, ...]:
        """All whose passwords are compared, each once."""
        given = (self.credentials, self.check_credentials, *self.accounts)
        return tuple(dict.fromkeys(each for each in given if each is not None))


class ClaimRestore(Model):
    """How one data claim was restored."""

    claim: str
    report: RestoreReport
    runner: RunnerLog


class RestoreResult(Model):
    """What was restored, how long each phase took and how long the database was down."""

    manifest: Manifest
    claims: tuple[ClaimRestore, ...]
    replicas: int
    phases: tuple[PhaseTime, ...]
    outage_seconds: float
    """From the scale-down to all replicas Ready in one cluster."""
    proof: Proof | None = None
    """None: a restore in place."""
    untidy: tuple[str, ...] = ()
    """Data claims on which copies of the data may be left; the next staged restore removes them."""
