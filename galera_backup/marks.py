"""The lease's annotations on a pod or StatefulSet: its mark, and the note that its changes are undone."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from galera_backup.models.common import LeaseRef
from galera_backup.models.mark import Mark
from galera_backup.names import LAST_LEASE_ANNOTATION, LEASE_ANNOTATION


def mark_of(annotations: Mapping[str, str]) -> Mark | None:
    """The lease's mark among an object's annotations; None when there is none, or it cannot be read."""
    text = annotations.get(LEASE_ANNOTATION)
    try:
        return Mark.model_validate_json(text) if text else None
    except ValidationError:
        return None


def is_unreadable(annotations: Mapping[str, str]) -> bool:
    """Whether the object has the annotation of a mark with a text that is not ours."""
    return LEASE_ANNOTATION in annotations and mark_of(annotations) is None


def annotations_of(mark: Mark | None, revoked_run: str | None = None) -> dict[str, str | None]:
    """The annotations of a patch that writes a mark, or removes it (None), and revokes a lease's run."""
    revoked = {} if revoked_run is None else revocation(revoked_run)
    return {LEASE_ANNOTATION: mark.model_dump_json() if mark else None} | revoked


def revocation(lease_run: str) -> dict[str, str | None]:
    """The annotations of a patch after which this run of a lease may not change the object any more."""
    return {LAST_LEASE_ANNOTATION: lease_run}


def is_revoked(annotations: Mapping[str, str], lease: LeaseRef) -> bool:
    """Whether the undo of what this lease changed has begun."""
    return annotations.get(LAST_LEASE_ANNOTATION) == lease.run_id
