"""The passwords of a staged backup: what the server is told, and what its report means."""

from __future__ import annotations

import base64
import shutil
import stat
from pathlib import Path

import pytest

from galera_backup.models.passwords import PasswordReport
from galera_backup.models.reports import StageReport
from galera_backup.models.runner import RunnerResult
from galera_backup.models.volumes import STAGED_RESTORES
from galera_backup.runner.staged.passwords import _some
from tests.unit.runner.pod import Pod, failure

PASSWORD = "it's \"secret\\word"


@pytest.fixture
def data(pod: Pod, tmp_path: Path) -> Path:
    """A backup, and a live data directory that is the volume."""
    assert pod.backup().error is None
    directory = tmp_path / "claim"
    directory.mkdir()
    pod.volume = directory
    return directory


def _row(verdict: str, *names: str) -> str:
    return " ".join([verdict, *(name.encode().hex().upper() for name in names)])


def _report(*rows: str) -> str:
    return "\\n".join([*rows, "end"])


def _passwords(result: RunnerResult[StageReport]) -> PasswordReport:
    assert result.error is None, result.error
    assert result.report is not None
    assert result.report.passwords is not None
    return result.report.passwords


MIXED = _report(
    _row("asked", "backup"),
    _row("same", "backup", "%"),
    _row("different", "backup", "10.%"),
    _row("asked", "gone"),
    _row("asked", "root"),
    _row("1699", "root", "localhost"),
)


def test_what_a_comparison_tells(pod: Pod, data: Path) -> None:
    assert _passwords(pod.stage(data, FAKE_REPORT=MIXED)) == PasswordReport(
        same=1, different=("'backup'@'10.%'",), missing=("'gone'",), not_compared=("'root'@'localhost'",)
    )


def test_what_setting_them_tells(pod: Pod, data: Path) -> None:
    report = _passwords(pod.stage(data, passwords="reset", FAKE_REPORT=MIXED))
    assert (report.reset, report.different) == (("'backup'@'10.%'",), ())
    assert report.missing == ("'gone'",)


@pytest.mark.parametrize(("passwords", "flag"), [("compare", 0), ("reset", 1)])
def test_what_the_server_is_told(pod: Pod, data: Path, passwords: str, flag: int) -> None:
    _passwords(pod.stage(data, passwords=passwords))  # type: ignore[arg-type]
    [arguments] = (pod.fake / "server_arguments").read_text().splitlines()
    assert "--innodb=OFF" in arguments
    assert "--wsrep-on=OFF" in arguments
    assert "--skip-networking" in arguments
    assert f"--datadir={data}/{STAGED_RESTORES}/" in arguments
    statements = (pod.fake / "init.sql").read_text().splitlines()
    assert f"SET @reset = {flag}, @report = '';" in statements
    assert all(line.endswith(";") for line in statements)
    assert statements[-1] == "SHUTDOWN;"
    encoded = base64.b64encode(PASSWORD.encode()).decode()
    assert f"SET @password = CONVERT(FROM_BASE64('{encoded}') USING utf8mb4);" in statements


def test_the_account_of_the_health_check_is_one_of_them(pod: Pod, data: Path) -> None:
    """MariaDB's image has written it with the first data of this cluster, which may be younger than the backup."""
    (data / ".my-healthcheck.cnf").write_text(
        "[mariadb-client]\nport=3306\nskip-ssl\nuser=healthcheck\npassword='p%1'\n[other]\nuser=nobody\n"
    )
    _passwords(pod.stage(data))
    statements = (pod.fake / "init.sql").read_text().splitlines()
    told = [base64.b64decode(line.split("'")[1]).decode() for line in statements if "FROM_BASE64" in line]
    assert told == ["backup", PASSWORD, "healthcheck", "p%1"]
    assert not (pod.work / "accounts").exists()


def test_an_option_file_may_be_left_of_an_account_that_is_no_more(pod: Pod, data: Path) -> None:
    (data / ".my-healthcheck.cnf").write_text("[mariadb-client]\nuser=gone\npassword=p\n")
    assert _passwords(pod.stage(data, FAKE_REPORT=MIXED)).missing == ()


@pytest.mark.parametrize("text", [b"user=healthcheck\n", b"\xff\xfe", b"[client]\nuser=healthcheck\n"])
def test_an_option_file_that_says_nothing(pod: Pod, data: Path, text: bytes) -> None:
    (data / ".my-healthcheck.cnf").write_bytes(text)
    assert _passwords(pod.stage(data)).same == 1
    assert (pod.fake / "init.sql").read_text().count("FROM_BASE64") == 2


def test_secrets_stay_in_one_file_that_goes(pod: Pod, data: Path) -> None:
    _passwords(pod.stage(data))
    assert stat.S_IMODE((pod.fake / "init.sql").stat().st_mode) == 0o600
    encoded = base64.b64encode(PASSWORD.encode())
    seen = [path.read_bytes() for path in pod.work.rglob("*") if path.is_file()]
    seen += [pod.script_log.encode(), (pod.fake / "server_arguments").read_bytes()]
    assert not any(secret in text for secret in (PASSWORD.encode(), encoded) for text in seen)


@pytest.mark.parametrize("fault", ["server", "server_half"])
def test_server_that_does_not_answer(pod: Pod, data: Path, fault: str) -> None:
    report = _passwords(pod.stage(data, FAKE_FAULT=fault))
    assert "expected 0 and a report" in str(report.problem)
    again = pod.stage(data, restore_id="galera-restore/2", passwords="reset", FAKE_FAULT=fault)
    kind, message = failure(again)
    assert kind == "RestoreFailed"
    assert "setting the passwords of the backup" in message
    assert not (data / STAGED_RESTORES / "galera-restore-2").exists()


def test_image_without_a_server(pod: Pod, data: Path) -> None:
    (pod.fake / "bin" / "mariadbd").unlink()
    if shutil.which("mariadbd") or shutil.which("mysqld"):
        pytest.skip("this machine has a server of its own")
    assert "exit status is 127" in str(_passwords(pod.stage(data)).problem)


def test_server_with_its_old_name(pod: Pod, data: Path) -> None:
    (pod.fake / "bin" / "mariadbd").rename(pod.fake / "bin" / "mysqld")
    if shutil.which("mariadbd"):
        pytest.skip("this machine has a server of its own")
    assert _passwords(pod.stage(data)).same == 1


@pytest.mark.parametrize("passwords", ["compare", "reset"])
def test_innodb_is_not_touched(pod: Pod, data: Path, passwords: str) -> None:
    kind, message = failure(pod.stage(data, passwords=passwords, FAKE_FAULT="server_innodb"))  # type: ignore[arg-type]
    assert kind == "RestoreFailed"
    assert "expected them untouched" in message


def test_password_that_the_server_does_not_take(pod: Pod, data: Path) -> None:
    rows = _report(_row("asked", "backup"), _row("1819", "backup", "%"))
    assert _passwords(pod.stage(data, FAKE_REPORT=rows)).not_compared == ("'backup'@'%'",)
    again = pod.stage(data, restore_id="galera-restore/2", passwords="reset", FAKE_REPORT=rows)
    assert "MariaDB error 1819 for 'backup'@'%'" in failure(again)[1]


def test_second_pod_tells_what_the_first_found(pod: Pod, data: Path) -> None:
    first = _passwords(pod.stage(data, FAKE_REPORT=MIXED))
    assert _passwords(pod.stage(data, FAKE_FAULT="server")) == first


def test_many_accounts_fit_into_an_answer() -> None:
    names = _some([f"'user-{number:03}'@'%'" for number in range(100)])
    assert sum(map(len, names)) < 600
    assert names[-1] == f"{100 - len(names) + 1} more"


@pytest.mark.parametrize("passwords", ["compare", "reset"])
def test_a_secret_that_cannot_be_read(pod: Pod, data: Path, passwords: str) -> None:
    """It would pass as a comparison that did not come about."""
    Path(pod.environment["ACCOUNTS"], "0", "password").unlink()
    kind, message = failure(pod.stage(data, passwords=passwords))  # type: ignore[arg-type]
    assert kind == "RestoreFailed"
    assert "cannot read the mounted Secrets" in message
