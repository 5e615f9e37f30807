"""The jobs of a runner pod: each says what it needs, what it reports and where its log is."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from galera_backup.models.clone import Clone
from galera_backup.models.common import ClusterRef
from galera_backup.models.jobs import BackupJob, ListJob, RestoreJob, RunnerJob, TidyJob, UnpackJob
from galera_backup.models.manifest import Manifest
from galera_backup.models.reports import CheckReport, Done, ListReport, PruneReport
from galera_backup.models.runner import StoredLog
from galera_backup.runner import agent
from galera_backup.storage import layout

CLUSTER = ClusterRef(namespace="openstack", statefulset="mariadb-server")
SOURCE = ClusterRef(namespace="elsewhere", statefulset="galera")
JOBS = get_args(get_args(RunnerJob)[0])


def test_the_agent_knows_every_job() -> None:
    assert agent.WITH_TOOLS.keys() | agent.ALONE.keys() == set(JOBS)
    assert not agent.WITH_TOOLS.keys() & agent.ALONE.keys()


def test_only_a_job_with_tools_needs_a_script() -> None:
    for job in JOBS:
        needs = job.model_construct(cluster=CLUSTER, backup_id="b", clone=None, while_serving=False).needs
        assert bool(needs.script) == (job in agent.WITH_TOOLS), job
        assert needs.secrets == "none" or needs.script, job
        assert needs.backups != "none" or needs.data != "none", job


def test_result_is_read_as_the_job_says() -> None:
    assert BackupJob.report_type() is Manifest
    assert TidyJob.report_type() is Done
    assert ListJob.report_type() is ListReport
    result = TidyJob.result_type().model_validate_json('{"report": {}}')
    assert result.report == Done()
    for answer in ("", "{}", '{"report": {"pruned": [], "kept": 1}}', '{"report": {}, "error": null, "x": 1}'):
        with pytest.raises(ValidationError):
            TidyJob.result_type().model_validate_json(answer)
    assert PruneReport.model_fields.keys() != CheckReport.model_fields.keys()


def test_log_of_a_restore_is_beside_the_backup_that_it_reads() -> None:
    clone = Clone(source=SOURCE, uuid="aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
    backup_id, restore_id = "20261122T010000Z-full", "galera-restore/1"
    unpack = UnpackJob(cluster=CLUSTER, clone=clone, backup_id=backup_id, restore_id=restore_id)
    restore = RestoreJob(
        **unpack.model_dump(exclude={"mode"}), ordinal=2, last=True, safe_to_bootstrap=False, while_serving=True
    )
    beside = f"elsewhere/galera/{backup_id}"
    assert str(layout.log(unpack.stored_log)) == f"{beside}/restore-galera-restore_1-unpack.log"
    assert str(layout.log(restore.stored_log)) == f"{beside}/restore-galera-restore_1-2.log"
    assert str(layout.log(StoredLog(CLUSTER, backup_id))) == f"openstack/mariadb-server/{backup_id}/runner.log"
