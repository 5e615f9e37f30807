"""The agent's process: its answer, its exit status, and what a signal does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from galera_backup.models.jobs import CheckJob, ListJob, RestoreJob, RunnerJob, StageJob, SwapJob, TidyJob
from galera_backup.models.manifest import Manifest
from galera_backup.models.reports import CheckReport, ListReport
from galera_backup.models.runner import AnyJob, RunnerError, RunnerResult
from galera_backup.runner import agent, handshake, scripts
from galera_backup.runner.reporting import listed
from tests.unit.runner.pod import BACKUP_ID, CLUSTER, Pod

PRIORITY = """
import os, sys
from galera_backup.models.reports import SwapReport
from galera_backup.runner import agent

def run(job, places):
    print(os.nice(0), os.sched_getscheduler(0) == os.SCHED_IDLE)
    return SwapReport(state="swapped")

agent.run = run
sys.exit(agent.main(os.environ))
"""
STAGE = StageJob(cluster=CLUSTER, backup_id=BACKUP_ID, restore_id="r", safe_to_bootstrap=True)
SWAP = SwapJob(cluster=CLUSTER, restore_id="r", direction="in")
RESTORE = RestoreJob(
    cluster=CLUSTER, backup_id=BACKUP_ID, restore_id="r", ordinal=0, last=False, safe_to_bootstrap=True
)


def _start(pod: Pod, job: str, *program: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "GALERA_BACKUP_ROOT": str(pod.root),
        "GALERA_BACKUP_DATA_DIRECTORY": str(pod.data),
        "GALERA_BACKUP_WORK": str(pod.work),
        "GALERA_BACKUP_TERMINATION_LOG": str(pod.work / "answer"),
        handshake.JOB_VARIABLE: job,
    }
    command = [sys.executable, *(program or ("-m", "galera_backup.runner"))]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _answer(pod: Pod, job: AnyJob = SWAP) -> RunnerResult[Any]:
    return job.result_type().model_validate_json((pod.work / "answer").read_bytes())


def test_success(pod: Pod) -> None:
    pod.places()
    script = pod.start_script(scripts.program("client", "backup"))
    process = _start(pod, pod.backup_job().model_dump_json())
    _, log = process.communicate(timeout=20)
    script.communicate(timeout=20)
    assert process.returncode == 0, log
    assert isinstance(_answer(pod, pod.backup_job()).report, Manifest)
    assert (pod.work / "done").exists()


def test_sigterm_leaves_nothing_half(pod: Pod) -> None:
    pod.places()
    script = pod.start_script(scripts.program("client", "backup"), FAKE_FAULT="hangs")
    process = _start(pod, pod.backup_job().model_dump_json())
    deadline = time.monotonic() + 10
    while not (pod.directory() / "backup.mbs.zst.part").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert time.monotonic() - began < 5
    assert process.returncode == 1
    error = _answer(pod).error
    assert error is not None
    assert error.type == "RunnerFailed"
    assert error.message.startswith("stopped")
    assert sorted(path.name for path in pod.directory().iterdir()) == [".worker", "runner.log"]
    script.terminate()
    script.communicate(timeout=10)


@pytest.mark.parametrize(
    ("job", "yields"),
    [
        (Pod.backup_job(), True),
        (STAGE, True),
        (TidyJob(cluster=CLUSTER), True),
        (CheckJob(cluster=CLUSTER), True),
        (SWAP, False),
        (RESTORE, False),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_it_yields_to_a_server_and_to_nobody_in_the_outage(pod: Pod, job: RunnerJob, yields: bool) -> None:
    pod.places()
    out, _ = _start(pod, job.model_dump_json(), "-c", PRIORITY).communicate(timeout=20)
    assert out.split() == (["19", "True"] if yields else [str(os.nice(0)), "False"])


def test_a_long_report_is_cut_to_what_kubernetes_keeps() -> None:
    long = tuple(f"database_{number}/{'t' * 500}: of another user" for number in range(10))
    report = CheckReport(
        data_total_kb=1,
        data_free_kb=1,
        data_used_kb=1,
        data_at=(".", "old"),
        elsewhere=long,
        not_backed_up=(*long, "and 7 more"),
        in_the_way=long,
        staying=("ca.pem",),
        left_incomplete="x" * 5000,
    )
    answer = agent.encode(RunnerResult(report=report))
    assert len(answer) <= agent.ANSWER_LIMIT
    cut = RunnerResult[CheckReport].model_validate_json(answer).report
    assert cut is not None
    assert (cut.data_at, cut.staying) == ((".", "old"), ("ca.pem",))
    for names, before in ((cut.elsewhere, 10), (cut.not_backed_up, 17), (cut.in_the_way, 10)):
        *first, more = names
        assert more == f"and {before - len(first)} more"
        assert all(name.startswith("database_") and name.endswith("of another user") for name in first)


def test_a_list_says_how_many_more_there_are() -> None:
    assert listed(("a", "b"), 2) == ("a", "b")
    assert listed(("a", "b", "c"), 2) == ("a", "b", "and 1 more")
    assert listed(("a", "b", "and 1 more"), 2) == ("a", "b", "and 1 more")
    assert listed(("a", "b", "and 1 more"), 1) == ("a", "and 2 more")
    assert listed((), 1) == ()


def test_job_that_it_does_not_know(pod: Pod) -> None:
    pod.places()
    process = _start(pod, '{"mode": "fly"}')
    process.communicate(timeout=20)
    error = _answer(pod).error
    assert process.returncode == 1
    assert error is not None
    assert error.type == "RunnerFailed"
    assert "'fly'" in error.message


def test_unexpected_error_is_answered_and_logged(pod: Pod) -> None:
    pod.places()
    pod.data = pod.data / "not-mounted"
    process = _start(pod, CheckJob(cluster=CLUSTER).model_dump_json())
    _, log = process.communicate(timeout=20)
    error = _answer(pod).error
    assert error is not None
    assert error.type == "RunnerFailed"
    assert "not-mounted" in error.message
    assert "Traceback" in log


def test_pod_without_a_work_volume(pod: Pod, tmp_path: Path) -> None:
    pod.places()
    environment = {
        "GALERA_BACKUP_ROOT": str(pod.root),
        "GALERA_BACKUP_WORK": str(tmp_path / "not-mounted"),
        "GALERA_BACKUP_TERMINATION_LOG": str(pod.work / "answer"),
        handshake.JOB_VARIABLE: ListJob(cluster=CLUSTER).model_dump_json(),
    }
    command = [sys.executable, "-m", "galera_backup.runner"]
    assert subprocess.run(command, env=os.environ | environment, check=False).returncode == 0
    assert _answer(pod, ListJob(cluster=CLUSTER)).report == ListReport(count=0)


def test_answer_fits_a_termination_message(pod: Pod) -> None:
    manifest = pod.backup().report
    assert manifest is not None
    long = manifest.model_copy(update={"problems": tuple(f"mariadb-server-{n} is not synced €" for n in range(500))})
    error = RunnerError(type="RunnerFailed", message="\x01" * 1500)
    results = [RunnerResult[Manifest](report=long), RunnerResult[Manifest](error=error)]
    for result in results:
        encoded = agent.encode(result)
        assert len(encoded) <= 4096
        seen = RunnerResult[Manifest].model_validate_json(encoded)
        assert (seen.error is None, seen.report is None) == (result.error is None, result.report is None)
    whole = RunnerResult[Manifest](report=manifest)
    assert RunnerResult[Manifest].model_validate_json(agent.encode(whole)) == whole
