"""What every request shares: the cluster, the secret, the primary label."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

KubernetesName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
"""A Kubernetes object's name: lower case letters, digits, `-` and `.`."""

PositiveDuration = Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=7))]
"""ISO 8601 text such as `PT30M`, or a number of seconds; more than zero, at most a week."""


class Model(BaseModel):
    """Base of the wire contract: frozen, and an unknown field is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Facts(Model):
    """Base of results from which a field was removed: histories keep results, and outlive the field."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ClusterRef(Model):
    """A Galera cluster: the StatefulSet whose pods are its members."""

    namespace: KubernetesName
    statefulset: KubernetesName

    def __str__(self) -> str:
        return f"{self.namespace}/{self.statefulset}"


class SecretRef(Model):
    """Where the database user's name and password are; the values never travel through Temporal."""

    secret: KubernetesName = "mariadb-backup"
    user_key: str = "username"
    password_key: str = "password"


class PrimaryLabel(Model):
    """The pod label by which the cluster's Service finds the member that clients write to.

    `moved_by` says who moves it away from a replica that is being backed up: `galera-backup` hands it to a synced
    member and puts it back afterwards; with `controller` the cluster's own controller does both and is waited for.
    """

    key: Annotated[str, Field(min_length=1, max_length=317)] = "mariadb-role"
    primary: Annotated[str, Field(min_length=1, max_length=63)] = "primary"
    backup: Annotated[str, Field(min_length=1, max_length=63)] = "backup"
    moved_by: Literal["galera-backup", "controller"] = "galera-backup"


class LeaseRef(Model):
    """One run of a cluster's lease: what an activity checks before it acts."""

    workflow_id: str
    run_id: str


class PhaseTime(Model):
    """How long a phase took, in seconds."""

    phase: str
    seconds: float
