"""One pod of the StatefulSet with its MariaDB server: wsrep_desync as measured on a real cluster."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from galera_backup.errors import DatabaseUnavailable
from galera_backup.kube.facts import ContainerEnd, PodFacts
from galera_backup.models.blocked import BackupWait
from galera_backup.models.cluster import WsrepStatus
from galera_backup.rules.health import DONOR_DESYNCED, SYNCED
from tests.fakes.timeline import Timeline

_VERSIONS = itertools.count(1, 1_000_000)


@dataclass(frozen=True)
class Delays:
    """Seconds; a tenth or less of what a real cluster takes."""

    synced: float = 0.05
    """From OFF to Synced: SET GLOBAL returns before the state changes."""
    probe: float = 0.05
    """From a change of the wsrep state to the Ready condition."""
    endpoints: float = 0.03
    """From Ready, or a label, to the Services' endpoints."""
    pod: float = 0.05
    """For a pod to come or go; its server is gone after half of that."""


@dataclass
class Member:
    """A pod and its server. `events` gets what is worth asserting on."""

    name: str
    ordinal: int
    labels: dict[str, str]
    time: Timeline
    events: list[str]
    delays: Delays
    network: str = "10.0.0"
    node: str = "node-1"
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    annotations: dict[str, str] = field(default_factory=dict)
    version: int = field(default_factory=lambda: next(_VERSIONS))
    """No later pod of this name has it."""
    phase: str = "Running"
    deleting: bool = False
    ended: bool = False
    """Its server has, and the pod is still there."""
    ready: bool = False
    listed: bool = False
    listed_labels: dict[str, str] = field(default_factory=dict)

    restarts: int = 0
    up: bool = True
    """The server answers."""
    cluster_status: str = "Primary"
    state: int = SYNCED
    desync: bool = False
    other_holders: int = 0
    """SST donations, FTWRL, BACKUP STAGE: each counts as one in wsrep_desync_count."""
    queue: int = 0
    applied_per_look: int = 0
    late: list[float] = field(default_factory=list)
    """ONs that are still to land."""
    late_is_hidden: bool = False
    """The processlist does not show them."""
    backup_wait: BackupWait | None = None
    """mariadb-backup waits for a lock there."""
    blocked_until: float = 0
    blocks_for: float = 0
    """The first ON that comes is blocked for so many seconds."""
    on_changed: Callable[[], None] = lambda: None

    # --- the pod

    def facts(self) -> PodFacts:
        """As the API server shows it."""
        return PodFacts(
            name=self.name,
            uid=self.uid,
            phase=self.phase,
            ready=self.ready and not self.deleting,
            deleting=self.deleting,
            node=self.node,
            ip=f"{self.network}.{self.ordinal + 1}",
            labels=dict(self.labels),
            annotations=dict(self.annotations),
            resource_version=str(self.version),
            reason="",
            message="",
            ended={"mariadb": ContainerEnd(0, "Completed", "")} if self.ended else {},
            waiting={},
            unscheduled="",
            restarts={"mariadb": self.restarts},
        )

    def follow_state(self) -> None:
        """Readiness follows the wsrep state, the endpoints follow readiness, each a little later."""
        self.time.after(self.delays.probe, self._probe)

    def follow_labels(self) -> None:
        """The endpoints follow the labels."""
        self.time.after(self.delays.endpoints, self._list)

    def _probe(self) -> None:
        ready = self.up and self.state == SYNCED and not self.deleting
        if ready != self.ready:
            self.ready = ready
            self.version += 1
            self.events.append(f"{self.name} {'Ready' if ready else 'Not Ready'}")
            self.on_changed()
        self.follow_labels()

    def _list(self) -> None:
        self.listed, self.listed_labels = self.ready and not self.deleting, dict(self.labels)

    def is_listed_by(self, selector: Mapping[str, str]) -> bool:
        """In the ready endpoints of a Service."""
        return self.listed and selector.items() <= self.listed_labels.items()

    # --- the server

    @property
    def desync_count(self) -> int:
        """Ours, and the others'."""
        return int(self.desync) + self.other_holders

    def set_desync(self, on: bool) -> None:
        """Idempotent; ON waits while the provider is paused, and nothing calls it back; OFF does not wait."""
        self.answer()
        if on and self.blocks_for:
            self.blocked_until, self.blocks_for = self.time.now() + self.blocks_for, 0
        if on and self.time.now() < self.blocked_until:
            due = self.blocked_until
            self.late.append(due)
            self.events.append(f"desync ON {self.name} blocked")
            self.time.after(due - self.time.now(), lambda: self._land(due))
            raise DatabaseUnavailable(f"setting wsrep_desync=ON on {self.name!r}: MariaDB error 2013: timed out")
        self._set(on)

    def _land(self, due: float) -> None:
        """Each of several lost ONs counts, though the variable does not nest: one OFF takes back one of them."""
        self.late.remove(due)
        self.other_holders += self.desync
        self._set(True)

    def _set(self, on: bool) -> None:
        if on != self.desync:
            self.events.append(f"desync {'ON' if on else 'OFF'} {self.name}")
        self.desync = on
        self.settle()

    def settle(self) -> None:
        """Donor/Desynced at once while anybody holds the provider; Synced some time after the last let go."""
        if self.desync_count:
            self.state = DONOR_DESYNCED
            self.follow_state()
        else:
            self.time.after(self.delays.synced, self._catch_up)

    def _catch_up(self) -> None:
        if not self.desync_count:
            self.state = SYNCED
            self.follow_state()

    def answer(self) -> None:
        """Error: `DatabaseUnavailable` while the server is down."""
        if not self.up:
            raise DatabaseUnavailable(f"MariaDB error 2003: {self.name!r} refuses the connection")

    def status(self, size: int, cluster_uuid: str) -> WsrepStatus:
        """One reading; it applies a part of the receive queue."""
        self.answer()
        queue, self.queue = self.queue, max(self.queue - self.applied_per_look, 0)
        return WsrepStatus(
            ready=self.cluster_status == "Primary",
            connected=True,
            cluster_status=self.cluster_status,
            local_state=self.state,
            local_state_comment={4: "Synced", 2: "Donor/Desynced", 1: "Joining"}[self.state],
            cluster_size=size,
            cluster_state_uuid=cluster_uuid,
            cluster_conf_id=7,
            desync=self.desync,
            desync_count=self.desync_count,
            recv_queue=queue,
            pending_desync=bool(self.late) and not self.late_is_hidden,
        )
