"""dev/demo: a backup, a disaster and a restore on the local stack, and the proof that everything came back."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dev.stack import cli, cluster, console, environment, lifecycle, paths, programs, settings
from dev.stack.console import StackError, say
from dev.tools import checksums
from dev.tools.checksums import Checksums

_CLUSTER = f"{settings.NAMESPACE}/{settings.STATEFULSET}"
_LEASE = f"galera-lease/{_CLUSTER}"
_QUEUE = "galera-backup-demo"
_PODS = tuple(f"{settings.STATEFULSET}-{ordinal}" for ordinal in range(settings.REPLICAS))
_SERVICE = f"mariadb.{settings.NAMESPACE}.svc.cluster.local"
_USER = "demo"
_CLEANUP_SECONDS = 180
_WORKER_SECONDS = 60

_DISASTER = """
DROP TABLE cinder.attachment;
DROP TABLE nova.instance_action;
UPDATE keystone.account SET email = CONCAT('lost-', id, '@nowhere.example') WHERE id % 2 = 0;
DELETE FROM glance.chunk WHERE image_id % 3 = 0;
UPDATE cinder.volume SET size_gb = 0;
DROP TABLE dev_data.loaded;
"""
"""The last one lets dev/up load the sample data anew, should no restore bring it back."""


def main() -> int:
    """Run the demo; 0 only when every table is as it was on every replica."""
    argparse.ArgumentParser(
        prog="dev/demo",
        description="Schedule, backup, disaster, restore on the local stack; compares every table on every replica.",
    ).parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _demo()
    except StackError as error:
        console.show(error)
        return 1
    except KeyboardInterrupt:
        print("\nINTERRUPTED")
        return 130


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _demo() -> int:
    started = time.monotonic()
    lifecycle.up()
    up_seconds = time.monotonic() - started
    venv = environment.ensure()
    variables = environment.variables(venv) | cli.environment() | {"GALERA_BACKUP_TASK_QUEUE": _QUEUE}
    command = _CommandLine([str(venv / "bin" / "python"), "-m", "starters.cli"], variables)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    runs = (f"demo-backup-{stamp}", f"demo-restore-{stamp}")
    with _worker(venv, variables), _cleaned_up(command, runs):
        _step("a schedule: daily at 01:00, the last 10 backups are kept")
        command.show("schedule", "set", _CLUSTER)
        _step("what is in the database now, on each replica")
        before = _checksums()
        if not _compare(before, before[_PODS[0]]):
            raise StackError("demo", "the replicas differ before anything was done")
        _step("a backup, asked for by hand")
        backup = command.result("backup", _CLUSTER, "--workflow-id", runs[0])
        _step(f"a disaster, through the Service {_SERVICE}")
        _disaster()
        lost = checksums.different(checksums.of(_PODS[0]), before[_PODS[0]])
        print(f"      {len(lost)} tables are gone or changed: {', '.join(lost)}")
        if not lost:
            raise StackError("demo", "the disaster changed nothing")
        _step("a restore of that backup")
        backup_id = backup["manifest"]["backup_id"]
        restore = command.result("restore", _CLUSTER, backup_id, "--confirm", _CLUSTER, "--workflow-id", runs[1])
        _step("what is in the database now, on each replica")
        same = _compare(_checksums(), before[_PODS[0]])
    _summary(backup, restore, runs, up_seconds, time.monotonic() - started)
    print("\nEvery table is as it was before the disaster." if same else "\nNOT EQUAL", flush=True)
    return 0 if same else 1


# --- the worker and the command line


class _CommandLine:
    """`galera-backup` as a person types it."""

    def __init__(self, program: list[str], variables: dict[str, str]) -> None:
        self._program = program
        self._variables = variables

    def show(self, *arguments: str) -> None:
        """Run a command whose output is for the person."""
        print(f"      $ galera-backup {' '.join(arguments)}", flush=True)
        self._run(arguments, stdout=None)

    def result(self, *arguments: str) -> dict[str, Any]:
        """Run an operation; its progress is on stderr, its result is returned."""
        print(f"      $ galera-backup {' '.join(arguments)} --json", flush=True)
        answer: dict[str, Any] = json.loads(self._run([*arguments, "--json"], stdout=subprocess.PIPE))
        return answer

    def quietly(self, *arguments: str) -> None:
        """Run a command whose failure does not matter."""
        subprocess.run([*self._program, *arguments], env=self._variables, capture_output=True, check=False)

    def _run(self, arguments: Sequence[str], stdout: int | None) -> str:
        done = subprocess.run(
            [*self._program, *arguments], env=self._variables, cwd=paths.CHECKOUT, stdout=stdout, text=True, check=False
        )
        if done.returncode:
            words = f"'galera-backup {arguments[0]}' ended with {done.returncode}: {done.stdout or ''}"
            raise StackError("demo", words, _worker_log())
        return done.stdout or ""


def _worker_log() -> Path:
    return paths.LOGS / "demo-worker.log"


@contextmanager
def _worker(venv: Path, variables: dict[str, str]) -> Iterator[None]:
    """A worker in a process of its own, as long as the block runs."""
    with _worker_log().open("wb") as output:
        process = subprocess.Popen(
            [str(venv / "bin" / "python"), str(paths.CHECKOUT / "worker.py")],
            cwd=paths.CHECKOUT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the demo: the worker has to clean up after it
        )
    say("worker", f"started, pid {process.pid}, log {_worker_log()}")
    try:
        _await_polling(process)
        yield
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
        say("worker", "ended")


def _await_polling(process: subprocess.Popen[bytes]) -> None:
    """A worker that cannot start must not leave the demo waiting for it."""
    deadline = time.monotonic() + _WORKER_SECONDS
    while " polling " not in _worker_log().read_text():
        if process.poll() is not None:
            raise StackError("worker", f"ended with {process.returncode}", _worker_log())
        if time.monotonic() > deadline:
            raise StackError("worker", f"does not poll after {_WORKER_SECONDS} s", _worker_log())
        time.sleep(0.2)


@contextmanager
def _cleaned_up(command: _CommandLine, runs: tuple[str, ...]) -> Iterator[None]:
    """Nothing of the demo goes on afterwards: no schedule, no operation, and the cluster is free."""
    try:
        yield
    except BaseException:
        say("demo", "cleaning up: cancelling what runs, waiting until the cluster is free")
        for run in runs:
            _temporal("workflow", "cancel", "--workflow-id", run)
        deadline = time.monotonic() + _CLEANUP_SECONDS
        while _lease_is_open() and time.monotonic() < deadline:
            time.sleep(1)
        raise
    finally:
        command.quietly("schedule", "delete", _CLUSTER)
        with_user = f"DROP USER IF EXISTS {_USER}@'%'"
        try:
            cluster.sql(with_user)
        except StackError as error:
            say("demo", f"{with_user}: {error}")


def _temporal(*arguments: str) -> str | None:
    """Output of the `temporal` command; None when it failed."""
    argv = [programs.path("temporal"), *arguments, f"--address={settings.TEMPORAL_ADDRESS}", "--output=json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout if done.returncode == 0 else None


def _lease_is_open() -> bool:
    described = _temporal("workflow", "describe", "--workflow-id", _LEASE)
    if described is None:
        return False
    info: dict[str, Any] = json.loads(described)["workflowExecutionInfo"]
    return str(info["status"]).endswith("RUNNING")


# --- the database


def _disaster() -> None:
    password = os.urandom(12).hex()
    cluster.sql(f"CREATE OR REPLACE USER {_USER}@'%' IDENTIFIED BY '{password}'; GRANT ALL ON *.* TO {_USER}@'%'")
    for line in _DISASTER.strip().splitlines():
        print(f"      {line}")
    client = ["env", f"MYSQL_PWD={password}", "mariadb", f"--host={_SERVICE}", f"--user={_USER}"]
    cluster.execute(_PODS[-1], client, stdin=_DISASTER)


def _checksums() -> dict[str, Checksums]:
    return {pod: checksums.of(pod) for pod in _PODS}


def _compare(now: dict[str, Checksums], before: Checksums) -> bool:
    """Say for each replica whether its tables are those of `before`."""
    same = True
    for pod, tables in now.items():
        different = checksums.different(tables, before)
        words = f"different: {', '.join(different)}" if different else "all equal"
        print(f"      {pod}: {len(tables)} tables, {words}")
        same = same and not different
    return same


# --- what a person sees


def _step(text: str) -> None:
    print(flush=True)
    say("demo", text)


def _summary(
    backup: dict[str, Any], restore: dict[str, Any], runs: tuple[str, str], up_seconds: float, seconds: float
) -> None:
    manifest = backup["manifest"]
    print("\nseconds of each phase")
    for name, result in (("backup", backup), ("restore", restore)):
        for phase in result["phases"]:
            print(f"  {name:<8} {phase['phase']:<12} {phase['seconds']:8.1f}")
    print(f"  {'backup':<8} {'replica desynced':<12} {backup['desynced_seconds']:4.1f}")
    print(f"  {'restore':<8} {'database down':<12} {restore['outage_seconds']:7.1f}")
    print(f"  {'dev/up':<21} {up_seconds:8.1f}")
    print(f"  {'the whole demo':<21} {seconds:8.1f}")
    print(
        f"\nbackup {manifest['backup_id']} of {manifest['replica']} at {manifest['position']['uuid']}:"
        f"{manifest['position']['seqno']}, {manifest['data_bytes'] / 1e6:.0f} MB data stored as "
        f"{manifest['stored_bytes'] / 1e6:.0f} MB"
    )
    print("\nin the Temporal UI")
    for run in (*runs, _LEASE):
        quoted = run.replace("/", "%2F")
        print(f"  http://127.0.0.1:{settings.TEMPORAL_UI_PORT}/namespaces/default/workflows/{quoted}")
