"""The mark that a lease leaves on what it changes, and the recipe in it: how to undo the change without the lease.

One rule for a mark and for all that lies inside it: a field that this version does not know is left out when the mark
is read, because a newer worker may have written it. A field that must not be ignored needs a new `RECIPE_VERSION`. Some
models inside a mark are in requests too (`ClusterRef`, `SecretRef`, ...); there they still refuse an unknown field.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Tag, model_validator

from galera_backup.models.clone import Clone, ClusterUuid
from galera_backup.models.common import LeaseRef, Model, PrimaryLabel
from galera_backup.models.layout import Layout
from galera_backup.models.restore import Strategy
from galera_backup.models.site import Site

RECIPE_VERSION = 1
"""Increased when an older janitor would undo wrongly what a recipe says; not for a new field with a default, which an
older version ignores, and loses when it writes the mark again."""


class _InMark(Model):
    """Base of a mark and of its recipes: fields that this version does not know are left out, at any depth."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_is_newer(cls, value: Any) -> Any:
        return _known(cls, value)


def _known(model: type[BaseModel], value: Any) -> Any:
    """`value` with the fields alone that the model has."""
    if not isinstance(value, dict):
        return value
    fields = model.model_fields
    return {name: _known_to(fields[name].annotation, each) for name, each in value.items() if name in fields}


def _known_to(annotation: Any, value: Any) -> Any:
    """The same for a field of this type. Of several models, as the recipes, each looks for itself."""
    models = set(_models_in(annotation))
    if len(models) != 1:
        return value
    (model,) = models
    return [_known(model, each) for each in value] if isinstance(value, list) else _known(model, value)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for each in get_args(annotation) for model in _models_in(each)]


class PrimaryMove(Model):
    """The primary label was moved from the replica to a successor; undone by moving it back."""

    label: PrimaryLabel
    successor: str
    successor_role: str | None
    """Value of the label on the successor before; None: it had none."""


class Recipe(_InMark):
    """Base of the recipes that this version can follow."""

    version: int = RECIPE_VERSION


class ResyncRecipe(Recipe):
    """On a pod: resync the replica, and move the primary label back."""

    undo: Literal["resync"] = "resync"
    moved: PrimaryMove | None = None
    """None: it did not carry the label."""


class StartRecipe(Recipe):
    """On a StatefulSet: start the cluster, on data that fits together."""

    undo: Literal["start"] = "start"
    site: Site
    strategy: Strategy = Strategy.IN_PLACE
    """`staged`: the previous data is on the volumes, and a mixture goes back to it. `in_place` and `rolling`: a mixture
    is finished; `rolling`: beside the first replica, which may serve already."""
    replicas_before: int
    """Size of the cluster when no claim was touched."""
    first_in_sync: bool = True
    """When the plan was made, the first replica had all that the group had: a stop that takes it last leaves it so."""
    replicas: int
    """Size of the restored cluster."""
    restore_id: str
    backup_id: str = ""
    """What is restored; empty in a rollback."""
    clone: Clone | None = None
    """Of the backup of another cluster."""
    uuid: ClusterUuid | None = None
    """wsrep_cluster_state_uuid of the restored data: a new one for each restore, so that no member on other data can
    join it."""
    previous_uuid: ClusterUuid | None = None
    """Of the previous data; None: no server told it, as where the cluster was down."""
    claims: tuple[str, ...]
    """Data claims by ordinal."""
    claim_uids: tuple[str, ...] = ()
    """Of these, when the plan was made: a claim of the name with another uid is a new one, and empty."""
    first_ordinal: int = 0
    """Of the first claim, whose replica forms the cluster."""
    layouts: tuple[Layout, ...] = ()
    """Where the data directory is on each claim's volume."""
    left_incomplete: tuple[str, ...] = ()
    """Of each claim, as the plan found it: what an earlier restore has left there, on which no server may start."""
    nodes: tuple[str, ...] = ()
    """Where each claim's replica ran."""
    server_volumes: tuple[str, ...] = ()
    """Volumes of the servers' pods whose files the tools need: keys."""
    primary_pod: str | None
    """Pod that carried the primary label before the stop."""
    first_role: str | None = None
    """Value of that label on the first replica before the stop; None: it had none."""
    runner_pod_prefix: str
    runner_timeout: timedelta
    ready_timeout: timedelta
    is_rollback: bool = False
    """The data directories hold the restored data when it begins."""
    keeps_previous: bool = False
    """The previous data stays beside the restored data for a while."""
    data_may_have_changed: bool = False
    """Written before the first pod that changes a claim: until then the claims hold what they held when the cluster was
    stopped; from then on a claim without the journal of a staged restore may hold anything."""
    stopping_from: int = 0
    """Replicas that ran when the stop began, while some of them still do: no claim was touched since. 0: all are
    stopped, or were started again."""
    stopping_to: int = 0
    """Replicas that the stop has left so far."""
    restored_failed: bool = False
    """The cluster did not form on the restored data, or it is a clone's that failed: it is not started again."""

    def layout(self, claim: str) -> Layout:
        """Where the data directory is on a claim's volume."""
        return dict(zip(self.claims, self.layouts, strict=False)).get(claim, Layout())

    def node(self, claim: str) -> str:
        """Where a claim's replica ran; empty: it is not known."""
        return dict(zip(self.claims, self.nodes, strict=False)).get(claim, "")

    @property
    def ordinals(self) -> range:
        """Of the claims."""
        return range(self.first_ordinal, self.first_ordinal + len(self.claims))


class NewerRecipe(Model):
    """Written by a newer version, in words that this one does not know: nobody but that version follows it."""

    model_config = ConfigDict(frozen=True, extra="allow")  # written back as it was read

    version: int


def _kind(value: Any) -> str:
    """Which of the recipes it is."""
    found = value if isinstance(value, dict) else getattr(value, "__dict__", {})  # a person may write anything
    version, undo = found.get("version", RECIPE_VERSION), found.get("undo")
    known = undo in ("resync", "start") and isinstance(version, int) and version <= RECIPE_VERSION
    return str(undo) if known else "newer"


UndoRecipe = Annotated[
    Annotated[ResyncRecipe, Tag("resync")]
    | Annotated[StartRecipe, Tag("start")]
    | Annotated[NewerRecipe, Tag("newer")],
    Discriminator(_kind),
]
"""How to undo one change."""


class Mark(_InMark):
    """The annotation `galera-backup/lease`: on a pod that a lease desynced, or on a StatefulSet that it stopped."""

    lease: LeaseRef
    owner: str
    until: datetime
    namespace: str | None = None
    """Temporal's own namespace, in which the lease is; None: not known."""
    since: datetime | None = None
    """When it was written, just before its effect."""
    undo: UndoRecipe | None = None
    tried_at: datetime | None = None
    """On a StatefulSet: when a janitor last found that its data cannot be started."""
    tried: str = ""
    """What it found then."""

    @property
    def is_newer(self) -> bool:
        """Only a newer version can follow its recipe."""
        return isinstance(self.undo, NewerRecipe)

    @property
    def start(self) -> StartRecipe | None:
        """The recipe of a stopped cluster, as far as this version can follow it."""
        return self.undo if isinstance(self.undo, StartRecipe) else None

    @property
    def moved(self) -> PrimaryMove | None:
        """The move of the primary label that is to be undone."""
        return self.undo.moved if isinstance(self.undo, ResyncRecipe) else None
