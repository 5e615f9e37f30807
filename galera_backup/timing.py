"""The times on which safety depends, and the argument that ties them together. Checked when this is imported.

**No activity acts after it was given up.** A worker can freeze in an activity, be taken for dead, and go on later. The
server gives an attempt up when it has had no heartbeat for `HEARTBEAT_TIMEOUT`. When the worker freezes, its last
heartbeat may be `BEAT` old, and the SDK may have held it back for another `HEARTBEAT_THROTTLE`. What is left of the
timeout is certain to pass before another attempt, or an undo, begins. MariaDB has no compare-and-set, so `SET GLOBAL
wsrep_desync` is fenced by the server's clock instead: it has no effect later than `DESYNC_WINDOW` after the check of
lease and mark, and that is shorter than what is left.

**An undo begins within `UNDO_WITHIN`,** after a worker that died as after a call that hangs: heartbeat timeout and the
first retry take less together, and so do one call and the longest pause between two attempts.

Limits that only their user needs, and that nothing else depends on, are beside their user.
"""

from __future__ import annotations

from datetime import timedelta

# --- heartbeats; tests never scale these

BEAT = timedelta(seconds=2)
"""An activity heartbeats at least this often, also while a blocking call runs in a thread."""
HEARTBEAT_THROTTLE = timedelta(seconds=2)
"""The SDK sends a heartbeat at least this often. By default it holds them back for 80 % of their timeout: an attempt
could then be given up 2 s after its last sign of life. Cancels reach activities sooner, too."""
HEARTBEAT_TIMEOUT = timedelta(seconds=10)
"""An activity whose worker is silent for so long is tried again; its owner hears of a cancel within this time."""
DESYNC_WINDOW = timedelta(seconds=5)
"""From the checks before `SET GLOBAL wsrep_desync` to the last moment at which the server obeys it."""

# --- undo

UNDO_WITHIN = timedelta(seconds=10)
"""From a failure to the begin of the next attempt of an undo."""
UNDO_HEARTBEAT_TIMEOUT = timedelta(seconds=9.2)
UNDO_FIRST_RETRY, UNDO_LONGEST_RETRY = timedelta(seconds=0.3), timedelta(seconds=2)
"""Pauses between two attempts of an undo."""

# --- calls to servers: none may outlive the patience of those who wait for an undo

KUBERNETES_CONNECT, KUBERNETES_READ = timedelta(seconds=3), timedelta(seconds=7)
"""For each call to the API server. One that hangs while the API server comes back delays an undo by this much."""
SQL_LIMIT = timedelta(seconds=5)
"""For connecting to a MariaDB server, and for each statement: a frozen server must not hold a thread."""
LONGEST_CALL = timedelta(seconds=10)
"""Of any call: a cancelled activity waits for the one that it is in, and so does a worker that drains."""

# --- the end of a lease

RUNNER_GRACE = timedelta(seconds=10)
"""Between SIGTERM and SIGKILL of a runner pod: the agent stops at once and reports."""
OWNER_LIMIT = timedelta(minutes=2)
"""For an owner to stop its runner pod when its lease ends before it was released."""

# --- pauses between two looks of an activity

pace = 1.0
"""Factor of these pauses. Tests of workflows on fakes make it smaller, at this one place."""
START_LIMIT = timedelta(minutes=5)
"""For scheduling, mounting and pulling images of a runner pod; after that its own deadline counts."""
NOT_STARTABLE_LIMIT = timedelta(minutes=1)
"""The same, where an image cannot be pulled or a container not be made. A registry may fail for a moment, but the
replica is out of the cluster's flow meanwhile."""


def start_limit(work_limit: timedelta, *, in_outage: bool) -> timedelta:
    """For the start of a runner pod whose work has this limit: an outage leaves nothing better than to wait."""
    return max(work_limit, START_LIMIT) if in_outage else START_LIMIT


_FROZEN = BEAT + HEARTBEAT_THROTTLE
"""Age of the last heartbeat that the server has of a worker, when the worker freezes."""

assert DESYNC_WINDOW < HEARTBEAT_TIMEOUT - _FROZEN
assert DESYNC_WINDOW < UNDO_HEARTBEAT_TIMEOUT - _FROZEN  # the OFF is fenced as the ON is
assert UNDO_HEARTBEAT_TIMEOUT + UNDO_FIRST_RETRY < UNDO_WITHIN
assert KUBERNETES_CONNECT + KUBERNETES_READ <= LONGEST_CALL
assert 2 * SQL_LIMIT <= LONGEST_CALL
assert max(KUBERNETES_READ, SQL_LIMIT) + UNDO_LONGEST_RETRY < UNDO_WITHIN
assert 2 * (HEARTBEAT_TIMEOUT + RUNNER_GRACE) < OWNER_LIMIT
assert NOT_STARTABLE_LIMIT < START_LIMIT
