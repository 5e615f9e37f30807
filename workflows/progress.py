"""What a person sees of a running operation: phases, current details, search attributes."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from galera_backup.models.common import ClusterRef, PhaseTime
    from galera_backup.models.progress import Progress
    from galera_backup.temporal.attributes import BACKUP_ID, CLUSTER, PHASE, REPLICA


class ProgressReport:
    """Keeps the phases of one operation and shows them in the Temporal UI."""

    def __init__(self, operation: str, cluster: ClusterRef) -> None:
        self._operation = operation
        self._cluster = cluster
        self._phase = ""
        self._waiting_for = ""
        self._since = workflow.now()
        self._finished: list[PhaseTime] = []
        self._facts: dict[str, str] = {}
        self._notes = ""
        self._replica: str | None = None
        self._backup_id: str | None = None
        workflow.upsert_search_attributes([CLUSTER.value_set(str(cluster))])

    def enter(self, phase: str, waiting_for: str) -> None:
        """A phase begins; `waiting_for` says in a sentence what it does."""
        self._close_phase()
        self._phase, self._waiting_for, self._since = phase, waiting_for, workflow.now()
        workflow.logger.info("phase", extra={"phase": phase, "cluster": str(self._cluster)})
        workflow.upsert_search_attributes([PHASE.value_set(phase)])
        self._show()

    def waiting(self, waiting_for: str) -> None:
        """The phase goes on, and waits for something else."""
        self._waiting_for = waiting_for
        self._show()

    def fail(self, error: Exception) -> None:
        """The operation has failed: show its error first."""
        self._notes = f"**{type(error).__name__}**: {getattr(error, 'message', error)}"
        self.end("failed")

    @contextmanager
    def shows_end(self) -> Generator[None]:
        """Show how the work in this block ends, when it fails or is cancelled."""
        try:
            yield
        except asyncio.CancelledError:
            self.end("cancelled")
            raise
        except Exception as error:
            self.fail(error)
            raise

    def end(self, phase: str) -> tuple[PhaseTime, ...]:
        """The operation is over; `phase` says how: done, failed or cancelled. Returns the seconds of each phase."""
        self._close_phase()
        self._phase, self._waiting_for, self._since = phase, "", workflow.now()
        workflow.upsert_search_attributes([PHASE.value_set(phase)])
        self._show()
        return tuple(self._finished)

    def replica(self, pod: str) -> None:
        """The replica that is worked on."""
        self._replica = pod
        workflow.upsert_search_attributes([REPLICA.value_set(pod)])
        self.fact("replica", f"`{pod}`")

    def backup(self, backup_id: str) -> None:
        """The backup that is made or restored."""
        self._backup_id = backup_id
        workflow.upsert_search_attributes([BACKUP_ID.value_set(backup_id)])
        self.fact("backup", f"`{backup_id}`")

    def fact(self, name: str, value: str) -> None:
        """One line of the details, for example a size."""
        self._facts[name] = value
        self._show()

    def note(self, markdown: str) -> None:
        """A table or a text below the phases."""
        self._notes = markdown
        self._show()

    def now(self) -> Progress:
        """For the query `progress`."""
        return Progress(
            operation=self._operation,
            cluster=self._cluster,
            phase=self._phase,
            waiting_for=self._waiting_for,
            since=self._since,
            finished=tuple(self._finished),
            replica=self._replica,
            backup_id=self._backup_id,
        )

    def _close_phase(self) -> None:
        if self._phase:
            seconds = (workflow.now() - self._since).total_seconds()
            self._finished.append(PhaseTime(phase=self._phase, seconds=round(seconds, 3)))

    def _show(self) -> None:
        lines = [f"### {self._operation} of `{self._cluster}`: {self._phase}", ""]
        if self._waiting_for:
            lines += [f"{self._waiting_for} (since {self._since:%H:%M:%S}Z)", ""]
        lines += [f"- {name}: {value}" for name, value in self._facts.items()]
        if self._finished:
            lines += ["", "| phase | seconds |", "|---|---|"]
            lines += [f"| {each.phase} | {each.seconds:.1f} |" for each in self._finished]
        if self._notes:
            lines += ["", self._notes]
        workflow.set_current_details("\n".join(lines))
