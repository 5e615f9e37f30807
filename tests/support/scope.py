"""Which source a case of the kill matrix or of chaos can reach: a record of it counts as long as that is unchanged."""

from __future__ import annotations

from functools import cache

from tests.support.reach import reach

RESTORE = ("workflows.restore.restore", "workflows.tidy", "workflows.lease.lease")
ROOTS = {
    "backup": ("workflows.backup", "workflows.lease.lease"),
    "restore": RESTORE,
    "rollback": ("workflows.rollback", *RESTORE),
    "tidy": RESTORE,
    "janitor": ("workflows.janitor", "workflows.lease.lease"),
}
"""Modules of the workflows that run in a case of an operation; `restore`: of any strategy, and of a clone."""


@cache
def scope(operation: str, *, janitor: bool = False) -> str:
    """Hash of what an operation can reach. `janitor`: a janitor runs after it."""
    roots = {*ROOTS[operation], *(ROOTS["janitor"] if janitor else ())}
    return reach(sorted(roots))
