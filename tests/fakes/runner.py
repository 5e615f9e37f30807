"""Runner pods that do their job in an instant, with the effects of the real agent on volumes and backups."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import TypeAdapter

from galera_backup import names
from galera_backup.failure import AgentError
from galera_backup.kube.facts import ContainerEnd, PodFacts
from galera_backup.models.common import ClusterRef, Model
from galera_backup.models.jobs import (
    BackupJob,
    BootstrapJob,
    CheckJob,
    DiscardJob,
    EmptyJob,
    InspectJob,
    ListJob,
    PruneJob,
    RestoreJob,
    RunnerJob,
    StageJob,
    SwapJob,
    TidyJob,
    UnpackJob,
)
from galera_backup.models.manifest import Manifest
from galera_backup.models.passwords import PasswordReport
from galera_backup.models.reports import (
    CheckReport,
    Done,
    ListReport,
    PruneReport,
    RestoreReport,
    StageReport,
    UnpackReport,
)
from galera_backup.models.runner import AnyJob, RunnerError, RunnerErrorType, RunnerResult
from galera_backup.models.volumes import ClaimMarker, SwapState
from galera_backup.runner.handshake import AGENT_CONTAINER, BEGINS, JOB_VARIABLE, MARIADB_CONTAINER
from galera_backup.storage.archive import Entry, surplus
from tests.fakes.timeline import Timeline
from tests.fakes.volumes import BackupVolume, Claim

_JOB: TypeAdapter[RunnerJob] = TypeAdapter(RunnerJob)

End = Literal["answers", "fails", "fails early", "killed", "evicted", "vanishes", "never starts", "starts in part"]
"""How a pod ends. `fails early`: before it touches anything; `fails` and the rest: in the middle of its work.
`starts in part`: its agent works and answers, its other container never starts."""


@dataclass
class RunnerPod:
    """One runner pod; what it does to claims and backups happens when it is due."""

    name: str
    labels: Mapping[str, str]
    job: RunnerJob
    claim: Claim | None
    volume: BackupVolume
    time: Timeline
    note: Callable[[str], None]
    check: Callable[[RunnerPod], None]
    """Looks whether this pod may work at this moment."""
    end: End = "answers"
    error: RunnerErrorType = "RunnerFailed"
    seconds: float = 0.05
    held: bool = False
    """Works until it is let go."""
    phase: str = "Pending"
    working: bool = False
    deleting: bool = False
    gone: bool = False
    reason: str = ""
    ended: dict[str, ContainerEnd] = field(default_factory=dict)
    log: str = "working\n"
    gated: bool = False
    annotations: dict[str, str] = field(default_factory=dict)
    version: str = field(default_factory=lambda: str(uuid.uuid4()))
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))

    @staticmethod
    def job_of(environment: Mapping[str, str]) -> RunnerJob:
        """The job that the agent would read."""
        return _JOB.validate_json(environment[JOB_VARIABLE])

    def schedule(self) -> None:
        """Start in a moment."""
        if self.end == "never starts":
            return
        self.time.after(0.02, self._start)

    def facts(self) -> PodFacts:
        """As the API server shows it."""
        hopeless = ContainerEnd(None, "ImagePullBackOff", "Back-off pulling image")
        wait = hopeless if "starts" in self.end else ContainerEnd(None, "ContainerCreating", "")
        waiting = MARIADB_CONTAINER if self.working else AGENT_CONTAINER
        return PodFacts(
            name=self.name,
            uid=self.uid,
            phase=self.phase,
            ready=self.working,
            deleting=self.deleting,
            node="" if self.gated else "node-1",
            ip="" if self.phase == "Pending" else "10.0.1.1",
            labels=dict(self.labels),
            annotations=dict(self.annotations),
            resource_version=self.version,
            reason=self.reason,
            message="",
            ended=dict(self.ended),
            waiting={waiting: wait} if self.phase == "Pending" and not self.gated else {},
            unscheduled="Scheduling is blocked due to non-empty scheduling gates" if self.gated else "",
            gated=self.gated,
            begun=(AGENT_CONTAINER,) if self.working or self.ended else (),
        )

    def release(self) -> None:
        """Its gate is removed: the scheduler sees it."""
        if self.gated:
            self.gated, self.version = False, str(uuid.uuid4())
            self.schedule()

    def let_go(self) -> None:
        """A held pod finishes."""
        self.held = False
        self.time.after(0, self._finish)

    def delete(self) -> None:
        """Ask it to stop; it is gone a moment later."""
        if not self.deleting:
            self.deleting, self.version = True, str(uuid.uuid4())
            self.time.after(0.05, self._go)

    def _go(self) -> None:
        if self.working:
            self.note(f"runner {self.name} stopped")
        self.working, self.gone = False, True

    def _start(self) -> None:
        if self.deleting:
            return
        self.phase = "Running" if self.end != "starts in part" else "Pending"
        self.working, self.version = True, str(uuid.uuid4())
        self.note(f"runner {self.name} started: {self.job.mode}")
        self.check(self)
        if isinstance(self.job, RestoreJob) and self.end != "fails early" and self._writes(self.job):
            self._mark("restoring")
            self.log = f"{BEGINS}\n"
        if isinstance(self.job, SwapJob) and self.end != "fails early":
            self._data_claim().begin_to_swap(self.job)
        if not self.held:
            self.time.after(self.seconds, self._finish)

    def _finish(self) -> None:
        if not self.working or self.held:
            return
        self.check(self)
        self.working = False
        self.note(f"runner {self.name} ended: {self.end}")
        if self.end == "vanishes":
            self.deleting = self.gone = True
        elif self.end == "evicted":
            self.phase, self.reason = "Failed", "Evicted"
        elif self.end == "killed":
            self.phase = "Failed"
            self.ended = {AGENT_CONTAINER: ContainerEnd(137, "OOMKilled", "")}
        else:
            result = self._result()
            code = 0 if result.error is None else 1
            self.phase = "Succeeded" if code == 0 else "Failed"
            self.ended = {
                AGENT_CONTAINER: ContainerEnd(code, "Completed", result.model_dump_json()),
                MARIADB_CONTAINER: ContainerEnd(code, "Completed", ""),
            }

    # --- what the agent does

    def _result(self) -> RunnerResult[Any]:
        if self.end in ("fails", "fails early"):
            error = RunnerError(type=self.error, message=f"the fake {self.job.mode} failed as told. Try again")
            return RunnerResult(error=error)
        work: Mapping[type[AnyJob], Callable[[Any], Model]] = {
            BackupJob: self._backup,
            CheckJob: self._check_volumes,
            InspectJob: lambda job: self._data_claim().inspect(job),
            RestoreJob: self._restore,
            UnpackJob: self._unpack,
            DiscardJob: self._discard,
            StageJob: self._stage,
            SwapJob: lambda job: self._data_claim().swap(job),
            EmptyJob: lambda job: self._data_claim().empty(job),
            BootstrapJob: lambda job: self._data_claim().bootstrap(job),
            TidyJob: self._tidy,
            PruneJob: self._prune,
            ListJob: self._list,
        }
        try:
            return RunnerResult(report=work[type(self.job)](self.job))
        except AgentError as error:
            return RunnerResult(error=error.error)

    def _data_claim(self) -> Claim:
        assert self.claim is not None
        return self.claim

    def _backup(self, job: BackupJob) -> Manifest:
        assert self.claim is not None
        earlier = self.volume.manifests.get(job.backup_id)
        if earlier is not None and earlier.lease_run == job.lease_run:
            return earlier
        if earlier is not None:
            raise AgentError("BackupExists", f"there is already a backup {job.backup_id!r} of another lease run")
        self.volume.remove_unpacked(job.cluster)
        if self.volume.free_kb <= self.claim.used_kb * job.required_space_ratio:
            message = f"expected more than {self.claim.used_kb * job.required_space_ratio} KB free, make room"
            raise AgentError("NotEnoughSpace", message)
        return self.volume.store(job.backup_id, job.cluster, job=job)

    def _check_volumes(self, job: CheckJob) -> CheckReport:
        assert self.claim is not None
        manifest = self._stored(job.owner, job.backup_id) if job.backup_id else None
        return CheckReport(
            data_total_kb=self.claim.free_kb + self.claim.used_kb,
            data_free_kb=self.claim.free_kb,
            data_used_kb=self.claim.used_kb,
            backup_free_kb=self.volume.free_kb,
            manifest=manifest,
            **{"left_incomplete": self.claim.left_incomplete(), **self.claim.seen},
        )

    def _restore(self, job: RestoreJob) -> RestoreReport:
        assert self.claim is not None
        self._stored(job.owner, job.backup_id)
        self.volume.remove_unpacked(job.cluster, keep=job.restore_id)
        unpacks = copies = 0
        if not self._is_restored(job):
            unpacks, copies = int(self._unpacks(job)), 1
            self._mark("restored")
            self.claim.identify(job)
            self.claim.data, self.claim.safe_to_bootstrap = job.backup_id, job.safe_to_bootstrap
            self.claim.written += 1
        if job.last:
            self.volume.remove_unpacked(job.cluster)
        return RestoreReport(
            unpack_seconds=unpacks, prepare_seconds=unpacks, copy_seconds=copies, restored_bytes=1_000_000 * 1024
        )

    def _writes(self, job: RestoreJob) -> bool:
        manifest = self.volume.manifests.get(job.backup_id)
        return manifest is not None and manifest.cluster == job.owner and not self._is_restored(job)

    def _is_restored(self, job: RestoreJob) -> bool:
        assert self.claim is not None
        marker = self.claim.marker
        return marker is not None and (marker.restore_id, marker.state) == (job.restore_id, "restored")

    def _unpack(self, job: UnpackJob) -> UnpackReport:
        self._stored(job.owner, job.backup_id)
        self.volume.remove_unpacked(job.cluster, keep=job.restore_id)
        seconds = 2 * self._unpacks(job)
        return UnpackReport(
            unpack_seconds=seconds,
            prepare_seconds=seconds,
            prepared_bytes=1_000_000 * 1024,
            passwords=self.volume.passwords,
        )

    def _discard(self, job: DiscardJob) -> Done:
        self.volume.remove_unpacked(job.cluster, keep=job.keep)
        return Done()

    def _unpacks(self, job: RestoreJob | UnpackJob) -> bool:
        """Whether it had to: afterwards the backup is unpacked."""
        unpacked = (job.cluster, job.restore_id)
        had_to = unpacked not in self.volume.unpacked
        self.volume.unpacked.add(unpacked)
        return had_to

    def _stored(self, owner: ClusterRef, backup_id: str) -> Manifest:
        """The manifest of a backup that must be complete."""
        manifest = self.volume.manifests.get(backup_id)
        if manifest is None or manifest.cluster != owner:
            message = f"there is no complete backup {backup_id!r} of {owner}. List the backups"
            raise AgentError("BackupNotFound", message)
        return manifest

    def _stage(self, job: StageJob) -> StageReport:
        assert self.claim is not None
        self._stored(job.owner, job.backup_id)
        journal = self.claim.journal_of(job.restore_id)
        if journal is not None and journal.state not in (SwapState.STAGING, SwapState.STAGED):
            raise AgentError("RestoreFailed", f"expected no swap yet, the journal says {journal.state}")
        self.claim.identify(job)
        self.claim.staged, self.claim.safe_to_bootstrap = job.backup_id, job.safe_to_bootstrap
        self.claim.enter(job.restore_id, job.backup_id, SwapState.STAGED)
        return StageReport(
            unpack_seconds=1, prepare_seconds=1, staged_bytes=1_000_000 * 1024, passwords=self._passwords(job)
        )

    def _passwords(self, job: StageJob) -> PasswordReport:
        found = self.volume.passwords
        if job.passwords == "compare":
            return found
        return found.model_copy(update={"different": (), "reset": found.different})

    def _tidy(self, job: TidyJob) -> Done:
        assert self.claim is not None
        journal = self.claim.journal
        if journal is not None and journal.restore_id != job.keep and job.only in (None, journal.restore_id):
            self.claim.journal = self.claim.staged = self.claim.previous = None
        return Done()

    def _mark(self, state: Literal["restoring", "restored"]) -> None:
        job = self.job
        assert isinstance(job, RestoreJob)
        assert self.claim is not None
        self.claim.data = "incomplete"
        self.claim.journal = self.claim.staged = self.claim.previous = None
        self.claim.marker = ClaimMarker(
            restore_id=job.restore_id, backup_id=job.backup_id, state=state, at=datetime.now(UTC)
        )

    def _prune(self, job: PruneJob) -> PruneReport:
        self.volume.remove_unpacked(job.cluster)
        found = [Entry(each.backup_id, each) for each in self._complete(job.cluster)]
        pruned = surplus(found, job.keep, job.own)
        for each in pruned:
            del self.volume.manifests[each]
        future = tuple(each.backup_id for each in found if each.backup_id > job.own)
        return PruneReport(pruned=tuple(pruned), kept=len(found) - len(pruned) - len(future), future=future)

    def _list(self, job: ListJob) -> ListReport:
        complete = self._complete(job.cluster)
        older = [each for each in complete if job.before is None or each.backup_id < job.before]
        page = older[-job.limit :]
        rows = [f'{{"backup": {each.model_dump_json()}}}' for each in page]
        self.log = "\n".join(["listing", *rows])
        return ListReport(count=len(page), next=page[0].backup_id if len(older) > len(page) else None)

    def _complete(self, cluster: ClusterRef) -> list[Manifest]:
        """The complete backups of a cluster, oldest first."""
        stored = self.volume.manifests
        return [stored[each] for each in sorted(stored) if stored[each].cluster == cluster]


def lease_run_of(pod: RunnerPod) -> str | None:
    """Under which lease it works."""
    return pod.labels.get(names.LEASE_LABEL)
