"""The scripts of the mariadb container: credentials, signals, and a script that nobody needs."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from galera_backup.models.jobs import RunnerJob
from galera_backup.runner import adopt, handshake, scripts
from galera_backup.runner.container import MariadbContainer, dismiss
from galera_backup.runner.pipeline import ahead
from galera_backup.runner.staged import passwords
from tests.unit.runner.pod import Pod

PASSWORDS = [
    "double \" and single ' quote",
    r"back\slash \n \t \s end\\",
    "# hash ; semicolon # again",
    "  spaces around  ",
    "$HOME `id` $(id) ${x} * ? [a]",
    "ünïcödé€",
    "a" * 64,
    "%s %d \\",
    "line\nbreak",
    "=",
    "-n",
]


def _eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("password", PASSWORDS)
def test_password_survives_and_stays_secret(pod: Pod, password: str) -> None:
    Path(pod.environment["CREDENTIALS"], "password").write_text(password)
    assert pod.backup().error is None
    options = pod.fake / "client.cnf"
    escaped = password.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    written = f'[client]\nuser="backup"\npassword="{escaped}"\nloose-ssl-verify-server-cert=0\n'
    assert options.read_text() == written
    assert stat.S_IMODE(options.stat().st_mode) == 0o600
    if shutil.which("my_print_defaults"):
        command = ["my_print_defaults", f"--defaults-file={options}", "client"]
        seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert seen == f"--user=backup\n--password={password}\n--loose-ssl-verify-server-cert=0\n"
    assert not (pod.work / "client.cnf").exists()
    if len(password) > 2:
        for place in (pod.fake / "arguments", pod.fake / "environment", pod.directory() / "runner.log"):
            assert password not in place.read_text()
        assert password not in pod.script_log


def test_tls_where_the_server_has_it(pod: Pod) -> None:
    assert pod.backup(MARIADB_TLS="1").error is None
    assert (pod.fake / "client.cnf").read_text().endswith("\nloose-ssl-verify-server-cert=0\nssl\n")


def test_what_mariadb_backup_is_asked(pod: Pod) -> None:
    pod.backup()
    arguments = (pod.fake / "arguments").read_text().split()
    assert arguments[0].startswith("--defaults-file="), "mariadb-backup wants it first"
    assert {"--backup", "--galera-info", "--stream=mbstream", "--host=10.0.0.3", "--port=3306"} <= set(arguments)
    outside = [a for a in arguments if "=/" in a and not a.startswith(("--datadir=",)) and str(pod.work) not in a]
    assert outside == [], "every file it writes is in WORK"


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every directory")
def test_lost_and_found_of_root(pod: Pod) -> None:
    (pod.data / "lost+found").mkdir(mode=0)
    pod.backup()
    assert "--databases-exclude=lost+found" in (pod.fake / "arguments").read_text()


def test_readable_lost_and_found(pod: Pod, claims: list[Path]) -> None:
    (pod.data / "lost+found").mkdir()
    (pod.data / "lost+found" / "#12.ibd").write_bytes(b"found by fsck")
    pod.backup()
    assert "exclude" not in (pod.fake / "arguments").read_text()
    assert pod.restore(claims[0]).error is None
    assert list((claims[0] / "lost+found").iterdir()) == []


@pytest.mark.parametrize(
    "script",
    [
        scripts.program("client", "backup"),
        scripts.program("version", "client", "log_in"),
        scripts.program("unpack"),
        scripts.program("unpack", "passwords"),
        scripts.program("unpack", "adopt"),
        scripts.program("unpack", "adopt", "passwords"),
        scripts.program("version"),
    ],
)
def test_script_that_is_not_needed_ends(pod: Pod, script: str) -> None:
    pod.places()
    dismiss(pod.work)
    process = pod.start_script(script)
    assert process.wait(timeout=5) == 0
    process.communicate()


def test_term_while_it_waits(pod: Pod) -> None:
    pod.places()
    process = pod.start_script(scripts.program("client", "backup"))
    time.sleep(0.3)
    process.terminate()
    assert process.wait(timeout=2) == 143
    process.communicate()


def test_term_stops_mariadb_backup_too(pod: Pod) -> None:
    places = pod.places()
    container = MariadbContainer(places.work, places.start_timeout)
    process = pod.start_script(scripts.program("client", "backup"), FAKE_FAULT="hangs")
    blocks = ahead(container.read_stream())
    assert next(block for block in blocks if block or (pod.fake / "pid").exists()) is not None
    _eventually(lambda: (pod.fake / "pid").exists() and (pod.fake / "pid").read_text().strip() != "")
    tool = int((pod.fake / "pid").read_text())
    os.kill(tool, 0)
    process.terminate()
    assert process.wait(timeout=2) == 143
    _eventually(lambda: not Path(f"/proc/{tool}").exists())
    assert sum(len(block) for block in blocks) <= 5000, "the stream ends with the tool"
    process.communicate()


def test_log_reaches_the_container_while_it_runs(pod: Pod) -> None:
    pod.backup()
    assert "Connecting to MariaDB server" in pod.script_log
    assert "completed OK!" in pod.script_log


@pytest.mark.parametrize(("asked", "added"), [(None, 19), ("0", 0)])
def test_niceness_of_the_tools(pod: Pod, tmp_path: Path, asked: str | None, added: int) -> None:
    pod.backup()
    data = tmp_path / "volume"
    data.mkdir()
    if asked is not None:
        pod.environment["NICENESS"] = asked
    assert pod.restore(data).error is None
    assert int((pod.fake / "niceness").read_text()) == min(os.nice(0) + added, 19)


FILES = sorted(Path(scripts.__file__).parent.glob("*.sh"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_scripts_and_agent_use_the_same_names(path: Path) -> None:
    """Names of WORK that a script waits for, publishes or reads are those of the agent."""
    text = path.read_text()
    used = set(re.findall(r"(?:await|publish|run|serve_alone) ([a-z_.]+)", text)) | set(
        re.findall(r"\$WORK/([a-z_]+(?:\.report|_password\.sql)?)\b(?![/.])", text)
    )
    modules = (handshake, adopt, passwords)
    names = {
        value for module in modules for name, value in vars(module).items() if name.isupper() and isinstance(value, str)
    }
    of_the_script_alone = {"tmp", "backup", "log"}
    assert used - names <= of_the_script_alone


def test_every_part_is_a_file_and_every_file_a_part() -> None:
    parts = {
        part
        for job in get_args(get_args(RunnerJob)[0])
        for uuid in (None, "a uuid")
        for before in (False, True)
        for part in job.model_construct(
            backup_id="b", uuid=uuid, while_serving=False, before_backup=before
        ).needs.script
    }
    assert {path.stem for path in FILES} == {"prelude", *parts}


def test_statement_is_one_line_without_comments() -> None:
    """`--init-file` takes each line for a statement; a comment would swallow the rest of it."""
    statement = scripts.statement("set_password.sql")
    assert statement.startswith("BEGIN NOT ATOMIC SET @report")
    assert statement.endswith("END; END FOR; END;")
    assert "\n" not in statement
    assert "--" not in statement
