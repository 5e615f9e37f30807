"""The mark and its recipe: what this version can follow, and what only a newer one can."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from galera_backup.marks import is_unreadable, mark_of
from galera_backup.models.common import ClusterRef, LeaseRef, PrimaryLabel
from galera_backup.models.mark import (
    RECIPE_VERSION,
    Mark,
    NewerRecipe,
    PrimaryMove,
    ResyncRecipe,
    StartRecipe,
)
from galera_backup.models.restore import Strategy
from galera_backup.models.site import Site
from galera_backup.names import LEASE_ANNOTATION

MOVED = PrimaryMove(label=PrimaryLabel(), successor="mariadb-server-1", successor_role=None)
START = StartRecipe(
    site=Site(cluster=ClusterRef(namespace="openstack", statefulset="mariadb-server")),
    strategy=Strategy.STAGED,
    replicas_before=3,
    replicas=3,
    restore_id="20261122t020000z",
    backup_id="20261122T010000Z-full",
    claims=("data-0", "data-1", "data-2"),
    primary_pod="mariadb-server-0",
    runner_pod_prefix="restore",
    runner_timeout=timedelta(hours=6),
    ready_timeout=timedelta(minutes=30),
)


def mark(undo: Any) -> Mark:
    lease = LeaseRef(workflow_id="galera-lease/openstack/mariadb-server", run_id="run")
    return Mark(lease=lease, owner="backup-by-hand", until=datetime(2026, 11, 22, tzinfo=UTC), undo=undo)


def changed(recipe: Any, **fields: Any) -> str:
    """The annotation with these fields of its recipe changed or added."""
    read = json.loads(mark(recipe).model_dump_json())
    read["undo"] |= fields
    return json.dumps(read)


@pytest.mark.parametrize("undo", [ResyncRecipe(), ResyncRecipe(moved=MOVED), START, None])
def test_what_was_written_is_read(undo: Any) -> None:
    read = Mark.model_validate_json(mark(undo).model_dump_json())
    assert read == mark(undo)
    assert not read.is_newer
    assert read.start == (undo if isinstance(undo, StartRecipe) else None)
    assert read.moved == (undo.moved if isinstance(undo, ResyncRecipe) else None)


def test_the_version_is_written() -> None:
    assert json.loads(mark(START).model_dump_json())["undo"]["version"] == RECIPE_VERSION


@pytest.mark.parametrize("undo", [ResyncRecipe(moved=MOVED), START])
def test_same_version_with_a_field_more_is_read(undo: Any) -> None:
    assert Mark.model_validate_json(changed(undo, of_tomorrow=1)).undo == undo


@pytest.mark.parametrize(
    "fields",
    [{"version": RECIPE_VERSION + 1}, {"undo": "unpause"}, {"version": RECIPE_VERSION + 1, "claims": {"by": "name"}}],
)
def test_what_only_a_newer_version_can_follow_is_kept_and_not_followed(fields: dict[str, Any]) -> None:
    text = changed(START, **fields)
    read = Mark.model_validate_json(text)
    assert isinstance(read.undo, NewerRecipe)
    assert read.is_newer
    assert (read.start, read.moved) == (None, None)
    assert json.loads(read.model_dump_json()) == json.loads(text)


@pytest.mark.parametrize("undo", ["resync", 1, [START.restore_id], {}, {"undo": "start"}, {"version": "two"}])
def test_a_mark_with_a_recipe_that_is_none_cannot_be_read(undo: Any) -> None:
    written = json.loads(mark(None).model_dump_json()) | {"undo": undo}
    annotations = {LEASE_ANNOTATION: json.dumps(written)}
    assert mark_of(annotations) is None
    assert is_unreadable(annotations)


def test_a_recipe_is_small() -> None:
    """An object's annotations have 256 KiB together, for all who write some."""
    many = START.model_copy(update={"claims": tuple(f"mysql-data-mariadb-server-{each}" for each in range(99))})
    assert len(mark(START).model_dump_json()) < 2000
    assert len(mark(many).model_dump_json()) < 6000
