"""The two agents: the real one on local directories with stand-ins for MariaDB's tools, and the fake runner pod."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar
from unittest import mock

from galera_backup.models.common import ClusterRef, Model
from galera_backup.models.jobs import BackupJob, SwapJob
from galera_backup.models.runner import Job, RunnerResult
from galera_backup.runner.handshake import AGENT_CONTAINER
from galera_backup.runner.staged import swap
from galera_backup.storage import layout
from tests.fakes.runner import RunnerPod
from tests.fakes.timeline import Timeline
from tests.fakes.volumes import BackupVolume, Claim
from tests.unit.runner.pod import CLUSTER, Pod

Report = TypeVar("Report", bound=Model)
OLD, RESTORED, MIXED = "old", "restored", "mixed"
"""What a claim's data directory holds: what was on it, the backup, or neither of them whole."""
CLAIMS = 2


class Agents(Protocol):
    """Runner pods, one after the other, on one backup volume and CLAIMS data claims."""

    def run(self, job: Job[Report], claim: int = 0) -> RunnerResult[Report]:
        """One pod to its end."""

    def cut_swap(self, job: SwapJob) -> None:
        """A pod on the first claim that is killed between the two rounds of renames of a swap."""

    def holds(self, claim: int = 0) -> str:
        """OLD, RESTORED or MIXED."""

    def unpacked(self, cluster: ClusterRef = CLUSTER) -> set[str]:
        """Ids of the restores of a cluster that have a scratch directory on the backup volume."""


class RealAgents:
    """`galera_backup.runner.agent.run`; each claim is a directory, the data directory is the volume."""

    def __init__(self, pod: Pod) -> None:
        shutil.rmtree(pod.data)
        _write(pod.data, "backup")
        self._pod = pod
        self._claims = [pod.data.with_name(f"claim-{number}") for number in range(CLAIMS)]
        for claim in self._claims:
            _write(claim, "old")

    def run(self, job: Job[Report], claim: int = 0) -> RunnerResult[Report]:
        source = self._pod.data if isinstance(job, BackupJob) else self._claims[claim]
        return self._pod.run(job, source)

    def cut_swap(self, job: SwapJob) -> None:
        move = swap._Exchange.move

        done: list[Path] = []

        def first_move_only(exchange: Any, *places: Path) -> None:
            if done:
                raise OSError("killed")
            done.extend(places)
            move(exchange, *places)

        with mock.patch.object(swap._Exchange, "move", first_move_only):
            assert self.run(job).error is not None

    def holds(self, claim: int = 0) -> str:
        names = ("ibdata1", "nova/t.ibd")
        found = {path.read_text() if (path := self._claims[claim] / name).exists() else "" for name in names}
        return {"old": OLD, "backup": RESTORED}.get(found.pop(), MIXED) if len(found) == 1 else MIXED

    def unpacked(self, cluster: ClusterRef = CLUSTER) -> set[str]:
        directory = self._pod.root / layout.restores(cluster)
        return set(os.listdir(directory)) if directory.is_dir() else set()


class FakeAgents:
    """`tests.fakes.runner.RunnerPod`."""

    def __init__(self) -> None:
        self._volume = BackupVolume()
        self._claims = [Claim(f"claim-{number}") for number in range(CLAIMS)]

    def run(self, job: Job[Report], claim: int = 0) -> RunnerResult[Report]:
        pod = self._end(job, claim)
        return job.result_type().model_validate(json.loads(pod.ended[AGENT_CONTAINER].message))

    def cut_swap(self, job: SwapJob) -> None:
        self._end(job, 0, end="killed")

    def _end(self, job: Job[Any], claim: int, **plan: Any) -> RunnerPod:
        labels: Mapping[str, str] = {}
        timeline = Timeline()
        pod = RunnerPod(
            name="runner",
            labels=labels,
            job=job,  # type: ignore[arg-type]  # one of the union
            claim=self._claims[claim] if job.needs.data != "none" else None,
            volume=self._volume,
            time=timeline,
            note=lambda text: None,
            check=lambda pod: None,
            seconds=0,
            **plan,
        )
        pod.schedule()
        deadline = time.monotonic() + 20
        while not pod.ended:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            timeline.advance()
        return pod

    def holds(self, claim: int = 0) -> str:
        data = self._claims[claim].data
        return {"live": OLD, "incomplete": MIXED}.get(data, RESTORED)

    def unpacked(self, cluster: ClusterRef = CLUSTER) -> set[str]:
        return {restore_id for owner, restore_id in self._volume.unpacked if owner == cluster}


def _write(directory: Path, text: str) -> None:
    """A small data directory, with this text in each of its files."""
    for name in ("nova", "mysql"):
        (directory / name).mkdir(parents=True)
        (directory / name / "t.ibd").write_text(text)
    (directory / "ibdata1").write_text(text)
