"""Which lane of the integration tests runs which group when."""

from __future__ import annotations

import threading

from tests.integration.lanes import Group, Outcomes, Queue

ANY = Group(("any",), on_stack=False, alone=False)
LATER = Group(("later",), on_stack=False, alone=False)
STACK = Group(("stack",), on_stack=True, alone=False)
ALONE = Group(("alone",), on_stack=False, alone=True)


def test_the_lane_of_the_stack_begins_with_what_only_it_can_run() -> None:
    queue = Queue([ANY, STACK])
    assert queue.next(has_stack=True) == STACK
    assert queue.next(has_stack=False) == ANY


def test_a_small_cluster_gets_nothing_that_needs_the_stack() -> None:
    queue = Queue([STACK, ALONE])
    assert queue.next(has_stack=False) is None


def test_what_runs_alone_waits_for_all_that_run() -> None:
    queue = Queue([ANY, LATER, ALONE])
    assert queue.next(has_stack=False) == ANY
    assert queue.next(has_stack=True) == LATER
    queue.done()
    found: list[Group | None] = []
    waiting = threading.Thread(target=lambda: found.append(queue.next(has_stack=True)), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert found == []
    queue.done()
    waiting.join(10)
    assert found == [ALONE]


def test_what_runs_alone_waits_for_the_other_clusters_to_be_removed() -> None:
    queue = Queue([ALONE], others=1)
    assert queue.next(has_stack=False) is None
    found: list[Group | None] = []
    waiting = threading.Thread(target=lambda: found.append(queue.next(has_stack=True)), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert found == []
    queue.left()
    waiting.join(10)
    assert found == [ALONE]


def test_nothing_begins_beside_what_runs_alone() -> None:
    queue = Queue([ALONE, ANY])
    assert queue.next(has_stack=True) == ALONE
    found: list[Group | None] = []
    waiting = threading.Thread(target=lambda: found.append(queue.next(has_stack=False)), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert found == []
    queue.done()
    waiting.join(10)
    assert found == [ANY]


def test_a_queue_that_was_stopped_says_what_has_not_begun() -> None:
    queue = Queue([ANY, LATER])
    assert queue.next(has_stack=False) == ANY
    assert queue.stop() == ["later"]
    assert queue.next(has_stack=False) is None


def test_a_test_whose_lane_has_ended_has_no_report() -> None:
    outcomes = Outcomes()
    outcomes.add("reported", {"when": "call"})
    outcomes.end(["reported", "lost"])
    assert outcomes.wait_for("reported") == [{"when": "call"}]
    assert outcomes.wait_for("lost") == []
