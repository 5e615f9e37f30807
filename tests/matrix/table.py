"""What the table of the kill matrix is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol

from tests.fakes.faults import ALWAYS, Fault
from tests.fakes.kill import Step
from tests.fakes.stage import Handle, Stage
from tests.fakes.world import RunnerPlan, World
from tests.support.scope import scope


class Way(StrEnum):
    """What happens to an operation in a step. In all but the first three the step's call is held meanwhile."""

    FAILS = "fails"
    """No attempt of the call has an effect, and no retry helps; `Row.fails` attempts."""
    FAILS_AFTER = "fails after effect"
    RESULT_LOST = "result lost"
    """The call has its effect, its attempt fails, and the activity runs again."""
    WORKER_KILLED = "worker killed"
    """Both workers end, the call's result is lost, and two new workers replay everything."""
    CANCEL = "cancel"
    TERMINATE = "terminate"
    TIME_OUT = "time out"
    CANCEL_LEASE = "cancel lease"
    TERMINATE_LEASE = "terminate lease"
    BOTH = "both terminated"
    """Operation and lease; the call has its effect, and then a janitor runs."""
    BOTH_LOST = "both terminated, effect lost"
    """As BOTH, but the call never has its effect."""
    BOTH_LATE = "both terminated, effect late"
    """As BOTH, but the call has its effect while the janitor runs."""
    MARK_REMOVED = "mark removed"
    """Nothing dies: somebody removes the mark, and the operation goes on."""
    ANNOTATIONS_REMOVED = "annotations removed"
    """As MARK_REMOVED, but somebody sets all annotations whole."""
    TERMINATE_MARK_REMOVED = "terminate, mark removed"
    """The operation is terminated at `Operation.dies`; the mark goes in a step of the undo."""
    TERMINATE_ANNOTATIONS_REMOVED = "terminate, annotations removed"
    TERMINATE_LEASE_ANNOTATIONS_REMOVED = "terminate lease, annotations removed"


KILLS = (Way.CANCEL, Way.TERMINATE, Way.CANCEL_LEASE, Way.TERMINATE_LEASE)
ALL = (Way.FAILS, Way.FAILS_AFTER, Way.RESULT_LOST, Way.WORKER_KILLED, *KILLS)
UNDONE = (Way.FAILS, Way.RESULT_LOST, Way.WORKER_KILLED, *KILLS)
"""Of a step that is tried until it works: a failure after its effect is the same as a result that is lost."""
WORKING = (Way.WORKER_KILLED, *KILLS)
"""Of a step that is no call but a time."""
JANITOR = (Way.BOTH, Way.BOTH_LOST)
REPEATS = (Way.RESULT_LOST, Way.WORKER_KILLED)
"""The step's activity runs again, and the operation ends well."""
REMOVED = (Way.MARK_REMOVED, Way.ANNOTATIONS_REMOVED)
REMOVED_IN_UNDO = (
    Way.TERMINATE_MARK_REMOVED,
    Way.TERMINATE_ANNOTATIONS_REMOVED,
    Way.TERMINATE_LEASE_ANNOTATIONS_REMOVED,
)


@dataclass
class Hold:
    """An operation that comes to a place and stays there."""

    entered: Callable[[], bool]
    go: Callable[[], None] = lambda: None
    """After a kill: let the held call have its effect."""
    resume: Callable[[], None] = lambda: None
    """Let the operation go on as if nothing had been held."""
    fault: Fault | None = None


class Place(Protocol):
    """Where an operation can be held: at a call, or while something works."""

    @property
    def by_lease(self) -> bool:
        """The lease is there; else the operation is."""

    def hold(self, world: World, *, result_is_lost: bool = False) -> Hold:
        """Hold the operation there, the next time that it comes."""


@dataclass(frozen=True)
class Call:
    """At one gateway call of one activity."""

    step: Step

    @property
    def by_lease(self) -> bool:
        return self.step.by_lease

    def hold(self, world: World, *, result_is_lost: bool = False) -> Hold:
        fault = world.faults.add(self.step.held(result_is_lost=result_is_lost))
        assert fault.gate is not None
        return Hold(fault.gate.entered.is_set, fault.gate.open, fault.gate.open, fault)


@dataclass(frozen=True)
class Later:
    """At the first such call after this event of the world."""

    step: Step
    event: str

    @property
    def by_lease(self) -> bool:
        return self.step.by_lease

    def hold(self, world: World, *, result_is_lost: bool = False) -> Hold:
        def is_due(arguments: Mapping[str, Any]) -> bool:
            return self.event in world.events and self.step.when(arguments)

        return Call(replace(self.step, when=is_due)).hold(world, result_is_lost=result_is_lost)


@dataclass(frozen=True)
class Works:
    """While a runner pod works that does not end."""

    mode: str
    ordinal: int | None = None
    started: int = 1
    """Pods of this mode that the operation has started when it works."""
    times: int = 1
    """How many of the next pods do not end."""
    by_lease: bool = False

    def hold(self, world: World, *, result_is_lost: bool = False) -> Hold:
        world.plan(RunnerPlan(self.mode, ordinal=self.ordinal, held=True, times=self.times))
        before = started(world, self.mode)
        return Hold(lambda: started(world, self.mode) - before >= self.started, resume=world.let_go)


@dataclass(frozen=True)
class Blocked:
    """While `SET GLOBAL wsrep_desync=ON` is blocked: its client has timed out, it has its effect later."""

    by_lease: bool = True

    def hold(self, world: World, *, result_is_lost: bool = False) -> Hold:
        world.member(2).blocks_for = 6
        return Hold(lambda: any("blocked" in event for event in world.look().events))


def started(world: World, mode: str) -> int:
    """How many runner pods of this mode have started."""
    return sum(f"started: {mode}" in event for event in world.look().events)


@dataclass(frozen=True)
class Row:
    """One step of an operation, and the ways to die in it."""

    step: str
    place: Place
    ways: tuple[Way, ...] = ALL
    fails: int = ALWAYS
    """Attempts that fail in the way `fails`."""
    part_of: str = ""
    """The step that it is a part of: one cell covers the step with all its parts."""


@dataclass
class Scene:
    """One cell while it is played."""

    stage: Stage
    world: World
    row: Row
    way: Way
    restore_id: str = ""
    """Of the restore that was made before, where the operation needs one."""
    source: World | None = None
    """Of a clone."""
    fault: Fault | None = None
    """What the step's call met, where it was not held."""
    left: tuple[str, ...] = ()
    """What the operation had left when it was killed with its lease, before the janitor ran."""
    replicas_left: int = 0
    data_left: tuple[str, ...] = ()
    """Of each claim, at the same moment."""
    _handle: Handle | None = None
    _janitor: Handle | None = field(default=None)

    @property
    def step(self) -> str:
        """Its name."""
        return self.row.step

    @property
    def handle(self) -> Handle:
        """The operation."""
        assert self._handle is not None
        return self._handle

    @handle.setter
    def handle(self, handle: Handle) -> None:
        self._handle = handle

    @property
    def janitor(self) -> Handle:
        """The janitor that ran after both had been terminated."""
        assert self._janitor is not None
        return self._janitor

    @janitor.setter
    def janitor(self, handle: Handle) -> None:
        self._janitor = handle

    def data(self) -> set[str]:
        """What the claims hold."""
        return {claim.data for claim in self.world.look().claims.values()}


@dataclass(frozen=True)
class Operation:
    """One operation of the table."""

    name: str
    reaches: str
    """Key of `scope.ROOTS`."""
    rows: tuple[Row, ...]
    prepare: Callable[[Scene], Awaitable[None]]
    """Make what is there before it starts; the scene's world is a whole cluster."""
    start: Callable[..., Awaitable[Handle]]
    """Of a scene and the options of the start."""
    check: Callable[[Scene], Awaitable[None]]
    """What must hold in the end, of every way in every step."""
    held: Callable[[Scene], Awaitable[None]] | None = None
    """What must hold between a kill and the effect of the call that is held meanwhile."""
    world: dict[str, Any] = field(default_factory=dict)
    """Arguments of `Stage.world`."""
    times_out: tuple[str, timedelta] | None = None
    """The one step in which it times out, and the execution timeout with which it comes there on a busy machine. For
    the lease it is the same event as a termination of the operation; it takes that much of wall clock."""
    marked: int | None = None
    """Ordinal of the replica that has its mark; None: the StatefulSet has it."""
    dies: Place | None = None
    """Where it dies, of an operation whose rows are the steps of its undo."""

    def ways(self, row: Row) -> tuple[Way, ...]:
        """All ways to die in a step."""
        here = self.times_out is not None and self.times_out[0] == row.step
        return (*row.ways, Way.TIME_OUT) if here else row.ways


@dataclass(frozen=True)
class Cell:
    """One way to die in one step of one operation."""

    operation: Operation
    row: Row
    way: Way

    @property
    def name(self) -> str:
        """As `ever_failed.txt` and the records name it."""
        return f"{self.operation.name}/{self.row.step}/{self.way}"

    @property
    def step_name(self) -> str:
        """Of its step, with its operation."""
        return f"{self.operation.name}/{self.row.part_of or self.row.step}"

    @property
    def scope(self) -> str:
        """Hash of what it can reach."""
        janitor = self.way in (*JANITOR, Way.BOTH_LATE)
        return scope(self.operation.reaches, janitor=janitor)


def cells(operations: tuple[Operation, ...]) -> tuple[Cell, ...]:
    """All cells of these operations, in the order of their rows."""
    return tuple(Cell(each, row, way) for each in operations for row in each.rows for way in each.ways(row))
