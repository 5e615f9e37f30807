"""The mark and its recipe: what this version can follow, and what only a newer one can."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from galera_backup.errors import MarkUnreadable
from galera_backup.marks import annotations_of, is_unreadable, mark_of
from galera_backup.models.backup import BackupRequest
from galera_backup.models.clone import Clone
from galera_backup.models.common import ClusterRef, LeaseRef, PrimaryLabel
from galera_backup.models.layout import Layout, NamedDirectory
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


MAPS = ("labels", "annotations", "requests", "limits")


def parts(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where the models of a JSON value are; what is in `MAPS` has names of the user's."""
    if path and path[-1] in MAPS:
        return []
    here = [path] if isinstance(value, dict) else []
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return here + [found for key, each in inside for found in parts(each, (*path, key))]


CLONE = Clone(source=START.site.cluster, uuid="11111111-1111-1111-1111-111111111111")
LAYOUT = Layout(directories=(NamedDirectory(variable="log_bin_basename", path="binlog"),))
WHOLE = [mark(ResyncRecipe(moved=MOVED)), mark(START.model_copy(update={"clone": CLONE, "layouts": (LAYOUT,)}))]
NESTED = [(whole, path) for whole in WHOLE for path in parts(json.loads(whole.model_dump_json()))]


def test_every_model_in_a_mark_is_among_them() -> None:
    ends = {path[-1] for _, path in NESTED if path}
    assert ends == {
        "lease",
        "undo",
        "moved",
        "label",
        "site",
        "cluster",
        "credentials",
        "primary_label",
        "clone",
        "source",
        "runner",
        0,  # a layout, and a directory in it
    }


@pytest.mark.parametrize(("whole", "path"), NESTED, ids=lambda each: "/".join(map(str, each or "/")))
def test_a_field_more_in_any_part_of_a_mark_is_ignored(whole: Mark, path: tuple[str | int, ...]) -> None:
    """As a later minor version writes it."""
    written = json.loads(whole.model_dump_json())
    part = written
    for key in path:
        part = part[key]
    part["of_tomorrow"] = {"cluster": {}}
    assert mark_of({LEASE_ANNOTATION: json.dumps(written)}) == whole
    assert Mark.model_validate(written) == whole  # as it travels in the input of an activity


@pytest.mark.parametrize("part", ["cluster", "credentials", "primary_label"])
def test_a_request_refuses_it_in_the_same_models(part: str) -> None:
    request = {"cluster": START.site.cluster.model_dump(), "credentials": {}, "primary_label": {}}
    BackupRequest.model_validate(request)
    request[part] |= {"of_tomorrow": 1}
    with pytest.raises(ValidationError, match=f"{part}.of_tomorrow"):
        BackupRequest.model_validate(request)


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


NEWER = mark({"version": RECIPE_VERSION + 1, "undo": "start", "what": "nobody knows"})


@pytest.mark.parametrize("text", ["", None])
def test_no_mark_is_overwritten(text: str | None) -> None:
    present = {} if text is None else {LEASE_ANNOTATION: text}
    assert not is_unreadable(present)
    assert annotations_of(present, mark(START), "marking") == {LEASE_ANNOTATION: mark(START).model_dump_json()}


@pytest.mark.parametrize("new", [mark(START), None])
def test_a_mark_that_cannot_be_read_is_neither_overwritten_nor_removed(new: Mark | None) -> None:
    present = {LEASE_ANNOTATION: "{", "other": "x"}
    with pytest.raises(MarkUnreadable, match="scaling it: its annotation 'galera-backup/lease' cannot be read"):
        annotations_of(present, new, "scaling it")


def test_a_recipe_of_a_newer_version_is_not_replaced() -> None:
    present = {LEASE_ANNOTATION: NEWER.model_dump_json()}
    with pytest.raises(MarkUnreadable, match="Run the janitor of that version"):
        annotations_of(present, mark(START), "marking")
    same = NEWER.model_copy(update={"tried": "a note"})
    for allowed in (same, None):  # its own lease, or a janitor, writes it back or removes it
        annotations_of(present, allowed, "marking")


def test_a_recipe_is_small() -> None:
    """An object's annotations have 256 KiB together, for all who write some."""
    many = START.model_copy(update={"claims": tuple(f"mysql-data-mariadb-server-{each}" for each in range(99))})
    assert len(mark(START).model_dump_json()) < 2000
    assert len(mark(many).model_dump_json()) < 6000
