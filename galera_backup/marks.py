"""The annotations of a lease on a pod or StatefulSet: its mark, the note that its changes are undone, its holds."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from galera_backup.errors import MarkUnreadable
from galera_backup.models.common import LeaseRef
from galera_backup.models.mark import Mark
from galera_backup.names import HOLD_OWNER_ANNOTATION, LAST_LEASE_ANNOTATION, LEASE_ANNOTATION


def mark_of(annotations: Mapping[str, str]) -> Mark | None:
    """The lease's mark among an object's annotations; None when there is none, or it cannot be read."""
    text = annotations.get(LEASE_ANNOTATION)
    try:
        return Mark.model_validate_json(text) if text else None
    except ValidationError:
        return None


def is_held_for(annotations: Mapping[str, str], owner: str) -> bool:
    """Whether a pod that holds a name does so for this `HoldTask.owner`: one stop of a lease, or all of them."""
    stop = annotations.get(HOLD_OWNER_ANNOTATION, "")
    return owner in (stop, stop.partition(" ")[0])


def is_unreadable(annotations: Mapping[str, str]) -> bool:
    """Whether the object has a mark that this version cannot read: a newer version wrote it, or it is damaged."""
    return bool(annotations.get(LEASE_ANNOTATION)) and mark_of(annotations) is None


def check_overwrite(present: Mapping[str, str], mark: Mark | None, doing: str) -> None:
    """Before a mark is written over the annotations that are present, or removed (None).

    Error: `MarkUnreadable`, where that would lose a recipe which this version cannot read or follow.
    """
    if is_unreadable(present):
        raise MarkUnreadable(
            f"{doing}: its annotation {LEASE_ANNOTATION!r} cannot be read: a newer version of galera-backup wrote it, "
            "or it is damaged. It may say how to undo what an operation did, so it was not overwritten. Nothing was "
            "changed. Run the janitor of the newer version; or read the annotation, undo by hand what it says, and "
            "remove it. An undo that waits for this then goes on by itself; start anything else again"
        )
    carried = mark_of(present)
    if carried is not None and carried.is_newer and mark is not None and mark.undo != carried.undo:
        raise MarkUnreadable(
            f"{doing}: it carries the mark of {carried.owner!r}, and a newer version of galera-backup wrote how to "
            "undo what that did. So it was not overwritten, and nothing was changed. Run the janitor of that version, "
            f"or remove the annotation {LEASE_ANNOTATION!r}; then start this again"
        )


def annotations_of(
    present: Mapping[str, str], mark: Mark | None, doing: str, revoked_run: str | None = None
) -> dict[str, str | None]:
    """The annotations of a patch that writes a mark over those that are present, or removes it (None), and revokes a
    lease's run. Error: `MarkUnreadable`."""
    check_overwrite(present, mark, doing)
    revoked = {} if revoked_run is None else revocation(revoked_run)
    return {LEASE_ANNOTATION: mark.model_dump_json() if mark else None} | revoked


def revocation(lease_run: str) -> dict[str, str | None]:
    """The annotations of a patch after which this run of a lease may not change the object any more."""
    return {LAST_LEASE_ANNOTATION: lease_run}


def is_revoked(annotations: Mapping[str, str], lease: LeaseRef) -> bool:
    """Whether the undo of what this lease changed has begun."""
    return annotations.get(LAST_LEASE_ANNOTATION) == lease.run_id
