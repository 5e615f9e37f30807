"""Gateway calls to which several operations come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.fakes.kill import Step

Fits = Callable[[Mapping[str, Any]], bool]

REVOKE = Step("revoke_statefulset", "revoke_statefulset")
REMOVE_PODS = Step("remove_runners", "runner_pods")
NOTE_SWAP = Step("renew_mark", "mark_statefulset")
FORMED = Step("wait_formed", "members")
UNMARK = Step("unmark_statefulset", "mark_statefulset")


def pod_of_a_restore(name: str) -> Fits:
    """A runner pod is created that a restore, or its undo, calls so."""
    return lambda arguments: str(arguments["pod"].metadata.name).endswith(f"z-{name}")


def create(name: str, *, by_lease: bool = False) -> Step:
    """A restore, or its undo, creates this runner pod."""
    return Step("run_runner", "create_pod", pod_of_a_restore(name), by_lease)


def release(name: str, *, by_lease: bool = False) -> Step:
    """It removes the gate of this runner pod."""
    return Step("run_runner", "release_pod", lambda arguments: arguments["pod"].name.endswith(f"z-{name}"), by_lease)


def scale_to(replicas: int) -> Step:
    """The lease scales the StatefulSet up to so many."""
    return Step("scale_up", "scale", lambda arguments: bool(arguments["replicas"] == replicas))
