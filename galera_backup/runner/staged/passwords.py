"""Compare the passwords in a staged backup with the Secrets, or set them: by a server of the image, without InnoDB.

InnoDB stays off because accounts are in Aria tables: so the write-set position, which InnoDB keeps, cannot change, and
no InnoDB setting of the backup matters. `SET PASSWORD` lets the account's own plugin hash; an account whose hash did
not change had that password already, and gets its old row back, as do all when passwords are only compared.
"""

from __future__ import annotations

from configparser import ConfigParser
from configparser import Error as ConfigParserError
from pathlib import Path

from galera_backup.failure import AgentError
from galera_backup.models.passwords import PasswordMode, PasswordReport
from galera_backup.runner import scripts
from galera_backup.runner.container import MariadbContainer
from galera_backup.runner.reporting import log
from galera_backup.storage.durable import remove
from galera_backup.text import bounded

PASSWORDS = "passwords"
"""Made by the agent when the staged data is prepared: `1` to set the passwords that differ, `0` to compare only."""
SET_PASSWORD = "set_password.sql"
"""Made by the agent before that: the statement that sets the password of one account, on one line."""
PASSWORDS_LOG = "passwords.log"
PASSWORDS_STATUS = "passwords.status"
PASSWORDS_REPORT = "passwords.report"
"""A line for each Secret (`asked USER`) and account (`same|different|MariaDB error USER HOST`), names in hexadecimal
digits; then `end`."""

HEALTH_CHECK = ".my-healthcheck.cnf"
"""Option file of MariaDB's image, at the top of the data directory."""
ACCOUNTS = "accounts"
"""Directory in WORK: a directory for each account, with the files `username` and `password`."""
_SECRETS_UNREADABLE = 66
"""Exit status of the script, before it has started a server."""
_OF_INNODB = ("ibdata", "ib_logfile", "undo")
_HAS_NO_PASSWORD = ("1699", "1524")
"""MariaDB errors: SET PASSWORD means nothing for the account's plugin; the plugin is not loaded."""
_END = "end"
_NAMES_LIMIT = 500
"""Characters for each list: three of them and a log must fit into a termination message."""


def settle_passwords(
    staged: Path, mode: PasswordMode, container: MariadbContainer, live: Path | None = None
) -> PasswordReport:
    """Compare or reset the passwords of the accounts that the mariadb container has mounted.

    So of that which the servers' probe logs in with, where a file of the data directory that stays names it: MariaDB's
    image makes it with the first data, so that it may be younger than the backup. `live`: that data directory.
    A comparison that does not come about is told in the report. Error: `RestoreFailed` when passwords cannot be set,
    a Secret cannot be read, or InnoDB's files changed.
    """
    before = _innodb_files(staged)
    container.tell(SET_PASSWORD, f"{scripts.statement('set_password.sql')}\n")
    probes = _tell_accounts(live / HEALTH_CHECK, container.work / ACCOUNTS) if live is not None else frozenset[str]()
    container.tell(PASSWORDS, f"{int(mode == 'reset')}\n")
    status = container.status(PASSWORDS_STATUS)
    remove(container.work / ACCOUNTS)
    if status == _SECRETS_UNREADABLE:
        raise _failed(mode, staged, "the script cannot read the mounted Secrets, expected it to", container)
    rows = container.log(PASSWORDS_REPORT).split("\n")
    if _innodb_files(staged) != before:
        raise _failed(mode, staged, "InnoDB's files are not as they were, expected them untouched", container)
    if status or _END not in rows:
        seen = f"the server's exit status is {status}, expected 0 and a report"
        if mode == "reset":
            raise _failed(mode, staged, seen, container)
        problem = bounded(f"{seen}. End of its log: {container.log_tail(PASSWORDS_LOG)}", _NAMES_LIMIT)
        log.warning("passwords not compared: %s", problem)
        return PasswordReport(problem=problem)
    report = _report([row.split(" ") for row in rows if row and row != _END], mode, staged, container)
    missing = tuple(name for name in report.missing if name not in {repr(user) for user in probes})
    return report.model_copy(update={"missing": missing})  # a file that no probe uses any more may be left


def _tell_accounts(file: Path, accounts: Path) -> frozenset[str]:
    """For the script: users and passwords of an option file, each as of a mounted Secret; returns the users."""
    users = set()
    options = ConfigParser(interpolation=None, allow_no_value=True, strict=False)
    try:
        options.read(file)
    except (ConfigParserError, OSError, UnicodeDecodeError) as error:
        log.warning("the passwords in %r are not compared: %s", str(file), error)
        return frozenset()
    for number, section in enumerate(options.sections()):
        said = (options.get(section, name, fallback="") or "" for name in ("user", "password"))
        user, password = (value.strip("'\"") for value in said)
        if user and password:
            account = accounts / str(number)
            account.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, value in (("username", user), ("password", password)):
                (account / name).write_text(value)
            users.add(user)
    return frozenset(users)


def _report(rows: list[list[str]], mode: PasswordMode, staged: Path, container: MariadbContainer) -> PasswordReport:
    """Of rows such as `same`, `different` or an error number, then user and host as hexadecimal digits."""
    accounts: dict[str, list[str]] = {}
    users = {row[1] for row in rows if row[0] != "asked"}
    for verdict, *names in rows:
        if verdict != "asked":
            accounts.setdefault(verdict, []).append("@".join(repr(_text(name)) for name in names))
        elif names[0] not in users:
            accounts.setdefault("missing", []).append(repr(_text(names[0])))
    refused = {each: names for each, names in accounts.items() if each.isdigit() and each not in _HAS_NO_PASSWORD}
    if refused and mode == "reset":
        seen = "; ".join(f"MariaDB error {code} for {', '.join(_some(names))}" for code, names in refused.items())
        raise _failed(mode, staged, seen, container)
    different = _some(accounts.get("different", []))
    report = PasswordReport(
        same=len(accounts.get("same", [])),
        different=() if mode == "reset" else different,
        reset=different if mode == "reset" else (),
        missing=_some(accounts.get("missing", [])),
        not_compared=_some([name for each, names in accounts.items() if each.isdigit() for name in names]),
    )
    log.info("passwords: %s", report)
    return report


def _innodb_files(staged: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of each of InnoDB's files."""
    found = (path for path in staged.rglob("*") if path.suffix == ".ibd" or path.name.startswith(_OF_INNODB))
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def _some(names: list[str]) -> tuple[str, ...]:
    """As many as have room."""
    kept: list[str] = []
    room = _NAMES_LIMIT
    for name in names:
        room -= len(name)
        if room < 0:
            return (*kept, f"{len(names) - len(kept)} more")
        kept.append(name)
    return tuple(kept)


def _text(digits: str) -> str:
    return bytes.fromhex(digits).decode(errors="replace")


def _failed(mode: PasswordMode, staged: Path, seen: str, container: MariadbContainer) -> AgentError:
    doing = "setting" if mode == "reset" else "comparing"
    return AgentError(
        "RestoreFailed",
        f"{doing} the passwords of the backup in {str(staged)!r}: {seen}. The data directory was not touched; start "
        f"the restore without 'reset_passwords_from_secrets', or with strategy 'in_place'. End of the server's log: "
        f"{container.log_tail(PASSWORDS_LOG)}",
    )
