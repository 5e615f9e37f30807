"""What is kept of a runner pod: the path of its log, its tail, and what a list printed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from kubernetes.client import ApiClient

from activities.pods import _stuck
from galera_backup.kube.facts import ContainerEnd
from galera_backup.kube.gateway import KubeGateway
from galera_backup.models.clone import Clone
from galera_backup.models.common import ClusterRef
from galera_backup.models.jobs import InspectJob, ListJob, RestoreJob, UnpackJob
from galera_backup.models.runner import AnyJob
from tests.fakes.bench import Bench
from tests.fakes.gateways import FakeKube
from workflows._runner import activity_limit

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


async def test_page_of_a_long_list(bench: Bench) -> None:
    world = bench.world
    ids = [f"2026{month:02}{day:02}T010000Z-full" for month in range(1, 13) for day in range(1, 29)]
    for backup_id in ids:
        world.volume.store(backup_id, world.cluster)
    job = ListJob(cluster=world.cluster, before=ids[300], limit=250)
    outcome = await bench.run(bench.runner.run_runner, bench.job(job=job))
    assert [each.backup_id for each in outcome.listed] == ids[50:300]
    assert outcome.report == {"count": 250, "next": ids[50]}
    assert ids[299] in outcome.log.tail, "the end of the log, not its start"
    assert len(outcome.log.tail) <= 2000


async def test_list_whose_log_was_cut(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.world.volume.store(BACKUP_ID, bench.world.cluster)
    monkeypatch.setattr(FakeKube, "log", lambda *arguments: "listing")
    outcome = await bench.run(bench.runner.run_runner, bench.job())
    assert outcome.error is not None
    assert "0 manifests instead of 1" in outcome.error.message


def test_log_is_read_from_its_end() -> None:
    gateway = KubeGateway(ApiClient())
    with mock.patch.object(gateway, "_core") as core:
        core.read_namespaced_pod_log.return_value = "the end"
        assert gateway.log("openstack", "runner", "agent", 20) == "the end"
    options = core.read_namespaced_pod_log.call_args.kwargs
    assert options["tail_lines"] == 20
    assert "limit_bytes" not in options, "it gives the first bytes"


@pytest.mark.parametrize(
    ("mode", "fence", "reason", "lasts"),
    [
        ("look", "none", "", 5),
        ("look", "none", "ErrImagePull", 0),
        ("inspect", "stopped", "", 30),
        ("inspect", "stopped", "ImagePullBackOff", 30),
        ("restore", "stopped", "", 30),
        ("restore", "stopped", "ImagePullBackOff", 0),
        ("restore", "undo", "ImagePullBackOff", 30),
    ],
)
def test_how_long_a_pod_may_wait_for_its_start(bench: Bench, mode: str, fence: Any, reason: str, lasts: int) -> None:
    """The first that writes may still give up, at once; what undoes has nothing else to do than to wait."""
    cluster, outage = bench.world.cluster, mode == "inspect"
    job: AnyJob = InspectJob(cluster=cluster, restore_id="galera-restore/1", in_outage=outage)
    if mode == "restore":
        fields = {"ordinal": 0, "last": False, "safe_to_bootstrap": True}
        job = RestoreJob(cluster=cluster, backup_id=BACKUP_ID, restore_id="galera-restore/1", **fields)
    task = bench.job(fence, job=job).model_copy(update={"timeout": timedelta(minutes=30)})
    waiting = {"agent": ContainerEnd(exit_code=0, reason=reason, message="")} if reason else {}
    pod = replace(bench.world.member(0).facts(), phase="Pending", waiting=waiting, unscheduled="0/3 nodes")
    assert lasts == 0 or _stuck(task, pod, timedelta(minutes=lasts - 0.5)) is None
    assert _stuck(task, pod, timedelta(minutes=lasts + 0.5)) is not None
    assert activity_limit(task) > timedelta(minutes=lasts) + task.timeout, "the activity waits as long as the pod may"
