"""What is kept of a runner pod: the path of its log."""

from __future__ import annotations

import pytest

from galera_backup.models.clone import Clone
from galera_backup.models.common import ClusterRef
from galera_backup.models.jobs import AnyJob, ListJob, UnpackJob
from tests.fakes.bench import Bench

BACKUP_ID = "20261122T010000Z-full"
CLONE = Clone(
    source=ClusterRef(namespace="elsewhere", statefulset="galera"), uuid="aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
)


def _unpack(bench: Bench, clone: Clone | None) -> AnyJob:
    return UnpackJob(cluster=bench.world.cluster, clone=clone, backup_id=BACKUP_ID, restore_id="galera-restore/1")


@pytest.mark.parametrize("clone", [None, CLONE], ids=["own backup", "clone"])
async def test_log_path_is_where_the_agent_writes(bench: Bench, clone: Clone | None) -> None:
    """The agent's side of it: `test_clone.test_logs_are_where_the_jobs_say`."""
    owner = clone.source if clone else bench.world.cluster
    outcome = await bench.run(bench.runner.run_runner, bench.job(job=_unpack(bench, clone)))
    assert outcome.log.path == f"/var/backup/{owner}/{BACKUP_ID}/restore-galera-restore_1-unpack.log"


async def test_job_without_a_log_on_the_backup_volume(bench: Bench) -> None:
    outcome = await bench.run(bench.runner.run_runner, bench.job(job=ListJob(cluster=bench.world.cluster)))
    assert outcome.log.path is None
