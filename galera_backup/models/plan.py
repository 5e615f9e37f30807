"""What a restore is going to do, and what a person decides about it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from galera_backup.models.common import ClusterRef, Model
from galera_backup.models.manifest import BackupId, GaleraPosition
from galera_backup.models.preflight import Finding
from galera_backup.models.restore import Strategy


class ClaimPlan(Model):
    """One data claim, as it was when the plan was made."""

    claim: str
    free_kb: int
    total_kb: int
    left_incomplete: str = ""
    """What an earlier restore has left there, on which no server may start."""


class RestorePlan(Model):
    """Answer of the query `plan`; made while the database is up, before anything is changed."""

    cluster: ClusterRef
    source: ClusterRef | None = None
    """Whose backup it is, for a clone."""
    strategy: Strategy
    backup_id: BackupId
    position: GaleraPosition
    server_version: str
    """Of the server that the backup was taken from."""
    data_bytes: int
    problems: tuple[str, ...] = ()
    """Of the backup, as its manifest says: what it lacks."""
    replicas: int
    """Size of the restored cluster."""
    claims: tuple[ClaimPlan, ...]
    in_turn: bool = False
    """A staged restore fills one data volume after the other: no two pods can use the backup claim at once."""
    obstacles: tuple[str, ...] = ()
    """Why it cannot be carried out with this strategy. Then the restore has failed, and names others."""
    findings: tuple[Finding, ...] = ()
    """What the preflight and the look at the volumes have found."""
    expected_outage_seconds: float
    """A rough guess from measured restores: see `rules.plan.expected_outage`."""


class Answer(Model):
    """A person's answer: the argument of the updates `approve` and `reject`."""

    who: Annotated[str, Field(min_length=1, max_length=200)]
    why: Annotated[str, Field(min_length=1, max_length=1000)]


Choice = Literal["retry", "rollback", "keep"]


class Decision(Answer):
    """The argument of the update `decide`, after a failure: retry from the step that failed, swap the previous data
    back, or keep the restored cluster as it is."""

    choice: Choice
