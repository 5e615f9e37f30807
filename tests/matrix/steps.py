"""Gateway calls to which several operations come."""

from __future__ import annotations

from tests.fakes.kill import Step
from tests.support.runners import is_pod

REVOKE = Step("revoke_statefulset", "revoke_statefulset")
REMOVE_PODS = Step("remove_runners", "runner_pods")
NOTE_CHANGE = Step("renew_mark", "mark_statefulset")
FORMED = Step("wait_formed", "members")
INSPECT = Step("inspect_cluster", "shape", by_lease=False)
TRY_PODS = Step("try_pods", "try_pod", by_lease=False)
HOLD = Step("hold_names", "create_pod")
LET_GO = Step("release_names", "release_hold")
UNMARK = Step("unmark_statefulset", "mark_statefulset")


def create(part: str, *, by_lease: bool = False) -> Step:
    """An operation, or its undo, creates this runner pod."""
    return Step("run_runner", "create_pod", lambda arguments: is_pod(arguments["pod"].metadata.name, part), by_lease)


def release(part: str, *, by_lease: bool = False) -> Step:
    """It removes the gate of this runner pod."""
    return Step("run_runner", "release_pod", lambda arguments: is_pod(arguments["pod"].name, part), by_lease)


def remove(part: str) -> Step:
    """It removes this runner pod."""
    return Step("remove_runners", "delete_pod", lambda arguments: is_pod(arguments["name"], part), by_lease=False)


def scale_to(replicas: int) -> Step:
    """The lease scales the StatefulSet up to so many."""
    return Step("scale_up", "scale", lambda arguments: bool(arguments["replicas"] == replicas))
